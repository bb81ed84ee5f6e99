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
