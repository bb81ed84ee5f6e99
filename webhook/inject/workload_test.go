package inject

import "testing"

// An answer is held back for lagging caches only where it matters.
func TestUnsettled(t *testing.T) {
	const (
		bare  = `{"spec":{"template":{"spec":{"containers":[{"name":"app"}]}}}}`
		asks  = `{"metadata":{"annotations":{"keyroll.dev/objects":"db-password","keyroll.dev/service-account":"nobody"}},"spec":{"template":{"spec":{"containers":[{"name":"app"}]}}}}`
		image = `{"metadata":{"annotations":{"keyroll.dev/objects":"db-password","keyroll.dev/service-account":"nobody"}},"spec":{"template":{"spec":{"containers":[{"name":"app","image":"app:2"}]}}}}`
	)
	tests := map[string]struct {
		old, sent string
		labelled  bool
		want      bool
	}{
		"a new one whose account is missing":               {"", asks, true, true},
		"a new one whose namespace is not labelled":        {"", asks, false, true},
		"a new one that asks for nothing":                  {"", bare, false, false},
		"asking where the account is missing":              {bare, asks, true, true},
		"asking where the namespace is not labelled":       {bare, asks, false, true},
		"a new image where the account is missing":         {asks, image, true, false},
		"a new image where the namespace is not labelled":  {asks, image, false, false},
		"the watcher's question, where it is not labelled": {asks, asks, false, true},
		"asking no more": {asks, bare, true, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			if !tc.labelled {
				c.namespace.Labels = nil
			}
			var old []byte
			if tc.old != "" {
				old = []byte(tc.old)
			}
			if got := c.planWorkload(t, "Deployment", old, []byte(tc.sent)).Unsettled; got != tc.want {
				t.Errorf("unsettled: %v, want %v", got, tc.want)
			}
		})
	}
}

// A slip on a namespace stays there until somebody mends it: only those wait for
// that who need it.
func TestASlipOnTheNamespaceIsWaitedForWhereItMatters(t *testing.T) {
	const own = `"keyroll.dev/vault":"own-kv",`
	tests := map[string]struct {
		key, value string
		own        string // annotations of the pod's
		account    string
		want       bool
	}{
		"an unknown key":                           {"keyroll.dev/owner", "team-a", own, "web", false},
		"a vault that the pod does not take":       {"keyroll.dev/vault", "shop_kv", own, "web", false},
		"a vault that it takes":                    {"keyroll.dev/vault", "shop_kv", "", "web", true},
		"allowed vaults, its own among them":       {"keyroll.dev/allowed-vaults", "own-kv, a_b", own, "web", false},
		"allowed vaults, its own not among them":   {"keyroll.dev/allowed-vaults", "a_b", own, "web", true},
		"an account, where the pod names one":      {"keyroll.dev/service-account", "A_B", own, "web", false},
		"an account, where it would take this one": {"keyroll.dev/service-account", "A_B", own + `"keyroll.dev/client-id":"22222222-2222-2222-2222-222222222222",`, "default", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.namespace.Annotations[tc.key] = tc.value
			p := c.plan(t, []byte(`{"metadata":{"annotations":{`+tc.own+`"keyroll.dev/objects":"db-password"}},"spec":{"serviceAccountName":"`+tc.account+`","containers":[{"name":"app"}]}}`))
			if p.Unsettled != tc.want || tc.want != (len(p.Problems) > 0) {
				t.Errorf("unsettled: %v, problems %v, want %v", p.Unsettled, p.Problems, tc.want)
			}
		})
	}
}
