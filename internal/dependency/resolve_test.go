package dependency

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/annotation"
)

const (
	someVersion = "0123456789abcdef0123456789abcdef"
	webClient   = "11111111-89ab-cdef-0123-456789abcdef"
	otherClient = "22222222-89ab-cdef-0123-456789abcdef"
	someTenant  = "99999999-89ab-cdef-0123-456789abcdef"
	otherTenant = "88888888-89ab-cdef-0123-456789abcdef"
)

// web is a workload that has all it needs, for cases to change.
func web() (annotation.Settings, annotation.Defaults, *ServiceAccount, Fallback) {
	s := annotation.Settings{Objects: []annotation.Object{
		{Type: annotation.TypeSecret, Name: "db-username"}, {Type: annotation.TypeSecret, Name: "db-password"},
	}}
	account := &ServiceAccount{Name: "web", Annotations: map[string]string{
		annotation.IdentityClientID: webClient, annotation.IdentityTenantID: someTenant,
	}}
	return s, annotation.Defaults{Vault: "shop-kv"}, account, Fallback{}
}

func TestResolve(t *testing.T) {
	type input struct {
		s        annotation.Settings
		ns       annotation.Defaults
		account  *ServiceAccount
		fallback Fallback
	}
	objects := []string{"secret/db-password", "secret/db-username"}
	base := Record{V: 1, Vault: "shop-kv", TenantID: someTenant, ClientID: webClient, Objects: objects}
	cases := map[string]struct {
		change func(*input)
		want   func(*Record)
	}{
		"from namespace and ServiceAccount, objects sorted": {
			change: func(*input) {},
			want:   func(*Record) {},
		},
		"the workload's own word wins": {
			change: func(in *input) {
				in.s.Vault, in.s.TenantID, in.s.ClientID = "own-kv", otherTenant, otherClient
				in.ns.TenantID, in.ns.ClientID, in.fallback.TenantID = "ns", "ns", "flag"
			},
			want: func(r *Record) { r.Vault, r.TenantID, r.ClientID = "own-kv", otherTenant, otherClient },
		},
		"the ServiceAccount before the namespace and the flag": {
			change: func(in *input) {
				in.ns.TenantID, in.ns.ClientID, in.fallback.TenantID = otherTenant, otherClient, otherTenant
			},
			want: func(*Record) {},
		},
		"the namespace before the flag, where there is no ServiceAccount": {
			change: func(in *input) {
				in.account = nil
				in.ns.TenantID, in.ns.ClientID, in.fallback.TenantID = otherTenant, otherClient, "flag"
			},
			want: func(r *Record) { r.TenantID, r.ClientID = otherTenant, otherClient },
		},
		"the flag last": {
			change: func(in *input) {
				in.account.Annotations = map[string]string{annotation.IdentityClientID: " " + webClient + "\n"}
				in.fallback.TenantID = "contoso.com"
			},
			want: func(r *Record) { r.TenantID = "contoso.com" },
		},
		"a wrong ServiceAccount does not matter to a workload that names its identity": {
			change: func(in *input) {
				in.account.Annotations = map[string]string{annotation.IdentityClientID: "x", annotation.IdentityTenantID: "?"}
				in.s.TenantID, in.s.ClientID = someTenant, webClient
			},
			want: func(*Record) {},
		},
		"an allowed vault, in any case of letters": {
			change: func(in *input) { in.ns.AllowedVaults = []string{"other-kv", "SHOP-KV"} },
			want:   func(*Record) {},
		},
		"env without a Secret of its own gets the class's name": {
			change: func(in *input) { in.s.Env = []annotation.EnvVar{{Name: "A", Object: in.s.Objects[0]}} },
			want:   func(r *Record) { r.Env = true; r.Secret = "generated" },
		},
		"env through a named Secret": {
			change: func(in *input) {
				in.s.Env = []annotation.EnvVar{{Name: "A", Object: in.s.Objects[0]}}
				in.s.Secret, in.s.SecretType = "app-secrets", "Opaque"
			},
			want: func(r *Record) { r.Env = true; r.Secret = "app-secrets" },
		},
		"a certificate's Secret": {
			change: func(in *input) {
				in.s.Objects = in.s.Objects[:1]
				in.s.Secret, in.s.SecretType = "web-tls", "kubernetes.io/tls"
			},
			want: func(r *Record) {
				r.Objects = []string{"secret/db-username"}
				r.Secret, r.SecretType = "web-tls", "kubernetes.io/tls"
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var in input
			in.s, in.ns, in.account, in.fallback = web()
			tc.change(&in)
			got, problems := Resolve(in.s, in.ns, in.account, in.fallback)
			if problems != nil {
				t.Fatal(problems.Err())
			}
			want := base
			tc.want(&want)
			want.SecretProviderClass = want.ClassName()
			if want.Secret == "generated" {
				want.Secret = got.SecretProviderClass
				want.SecretProviderClass = got.SecretProviderClass
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			if err := got.Verify(in.ns); err != nil {
				t.Errorf("verify: %v", err)
			}
			decoded, err := Decode(got.Encode())
			if err != nil {
				t.Fatalf("decode %s: %v", got.Encode(), err)
			}
			if diff := cmp.Diff(got, decoded); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveOverAnExistingClass(t *testing.T) {
	cases := map[string]struct {
		client  string // on the workload
		account *ServiceAccount
		ns      annotation.Defaults
		want    string
	}{
		"nothing is known of the identity": {},
		"the workload's client id": {
			client: webClient, account: &ServiceAccount{Annotations: map[string]string{annotation.IdentityClientID: otherClient}},
			want: webClient,
		},
		"the ServiceAccount's client id": {
			account: &ServiceAccount{Annotations: map[string]string{annotation.IdentityClientID: otherClient}},
			ns:      annotation.Defaults{ClientID: webClient, TenantID: someTenant, Vault: "shop-kv"},
			want:    otherClient,
		},
		"a ServiceAccount's client id that is none": {
			account: &ServiceAccount{Annotations: map[string]string{annotation.IdentityClientID: "x"}},
		},
		"the namespace's client id, and a vault that nobody asks for": {
			ns:   annotation.Defaults{ClientID: webClient, AllowedVaults: []string{}},
			want: webClient,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := annotation.Settings{SecretProviderClass: "akv-app-secrets", ClientID: tc.client}
			got, problems := Resolve(s, tc.ns, tc.account, Fallback{TenantID: someTenant})
			if problems != nil {
				t.Fatal(problems.Err())
			}
			if diff := cmp.Diff(Record{V: 1, SecretProviderClass: "akv-app-secrets", ClientID: tc.want}, got); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			if got.Generated() || got.Class("shop") != nil || got.ClassName() != "akv-app-secrets" || got.Verify(tc.ns) != nil {
				t.Errorf("Keyroll would make the class of %+v", got)
			}
			if decoded, err := Decode(got.Encode()); err != nil || !cmp.Equal(decoded, got) {
				t.Errorf("%s is read back as %+v, %v", got.Encode(), decoded, err)
			}
		})
	}
}

func TestResolveAsksNothingOfWhatIsNotInjected(t *testing.T) {
	for name, s := range map[string]annotation.Settings{
		"no annotations":  {},
		"restart-on only": {RestartOn: annotation.Triggers{Auto: true}},
		"opted out":       {InjectFalse: true},
	} {
		got, problems := Resolve(s, annotation.Defaults{}, nil, Fallback{})
		if problems != nil || !cmp.Equal(got, Record{}) {
			t.Errorf("%s: %+v, %v", name, got, problems.Err())
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	type told struct {
		Text  string
		Later bool
	}
	cases := map[string]struct {
		change func(*annotation.Settings, *annotation.Defaults, *ServiceAccount)
		lost   bool // there is no ServiceAccount
		want   []told
	}{
		"nothing is known": {
			change: func(_ *annotation.Settings, ns *annotation.Defaults, _ *ServiceAccount) { ns.Vault = "" },
			lost:   true,
			want: []told{
				{`keyroll.dev/vault: is needed, and the namespace has none either; write the Key Vault's name on one of the two`, false},
				{`keyroll.dev/tenant-id: is needed, and neither the namespace, the webhook's --tenant-id nor the ServiceAccount has one; annotate the ServiceAccount with azure.workload.identity/tenant-id`, true},
				{`keyroll.dev/client-id: is needed, and neither the namespace nor the ServiceAccount has one; annotate the ServiceAccount with azure.workload.identity/client-id`, true},
			},
		},
		"a ServiceAccount without identity": {
			change: func(_ *annotation.Settings, _ *annotation.Defaults, a *ServiceAccount) {
				delete(a.Annotations, annotation.IdentityClientID)
			},
			want: []told{
				{`keyroll.dev/client-id: is needed, and neither the namespace nor ServiceAccount web has one; annotate the ServiceAccount with azure.workload.identity/client-id`, true},
			},
		},
		"a ServiceAccount whose identity is wrong, told even where the namespace has one": {
			change: func(_ *annotation.Settings, ns *annotation.Defaults, a *ServiceAccount) {
				a.Annotations = map[string]string{annotation.IdentityClientID: "web", annotation.IdentityTenantID: "my tenant"}
				ns.ClientID, ns.TenantID = webClient, someTenant
			},
			want: []told{
				{`azure.workload.identity/tenant-id: "my tenant": on ServiceAccount web is not a directory; write its id, such as 01234567-89ab-cdef-0123-456789abcdef`, true},
				{`azure.workload.identity/client-id: "web": on ServiceAccount web is not a client id; write the identity's client id, such as 01234567-89ab-cdef-0123-456789abcdef`, true},
			},
		},
		"a vault that is not allowed": {
			change: func(s *annotation.Settings, ns *annotation.Defaults, _ *ServiceAccount) {
				s.Vault, ns.AllowedVaults = "own-kv", []string{"shop-kv", "b-kv"}
			},
			want: []told{{`keyroll.dev/vault: "own-kv": is not allowed in this namespace; write one of its keyroll.dev/allowed-vaults: shop-kv, b-kv`, false}},
		},
		"a vault where very many others are allowed": {
			change: func(_ *annotation.Settings, ns *annotation.Defaults, _ *ServiceAccount) {
				ns.AllowedVaults = strings.Fields("a-kv b-kv c-kv d-kv e-kv f-kv g-kv")
			},
			want: []told{{`keyroll.dev/vault: "shop-kv": is not allowed in this namespace; write one of its keyroll.dev/allowed-vaults: a-kv, b-kv, c-kv, d-kv, e-kv and 2 more`, false}},
		},
		"a vault where as many are allowed as are told": {
			change: func(_ *annotation.Settings, ns *annotation.Defaults, _ *ServiceAccount) {
				ns.AllowedVaults = strings.Fields("a-kv b-kv c-kv d-kv e-kv")
			},
			want: []told{{`keyroll.dev/vault: "shop-kv": is not allowed in this namespace; write one of its keyroll.dev/allowed-vaults: a-kv, b-kv, c-kv, d-kv, e-kv`, false}},
		},
		"a vault where the allowed ones could not be read": {
			change: func(_ *annotation.Settings, ns *annotation.Defaults, _ *ServiceAccount) {
				ns.AllowedVaults = []string{}
			},
			want: []told{{`keyroll.dev/vault: "shop-kv": is not allowed in this namespace; its keyroll.dev/allowed-vaults names no valid vault`, false}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, ns, account, fallback := web()
			tc.change(&s, &ns, account)
			if tc.lost {
				account = nil
			}
			record, problems := Resolve(s, ns, account, fallback)
			var got []told
			for _, p := range problems {
				got = append(got, told{p.String(), p.Later})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if !cmp.Equal(record, Record{}) {
				t.Errorf("a record came with the problems: %+v", record)
			}
			s.Objects = nil
			if diff := cmp.Diff(problems, Missing(s, ns, account, fallback)); diff != "" {
				t.Errorf("without an object (-with +without):\n%s", diff)
			}
		})
	}
}
