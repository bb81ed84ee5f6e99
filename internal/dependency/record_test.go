package dependency

import (
	"strings"
	"testing"

	"keyroll.dev/internal/annotation"
)

// example is a record as the webhook writes it for web with env.
func example(t *testing.T) Record {
	t.Helper()
	s, ns, account, fallback := web()
	s.Env = []annotation.EnvVar{{Name: "A", Object: s.Objects[0]}}
	r, problems := Resolve(s, ns, account, fallback)
	if problems != nil {
		t.Fatal(problems.Err())
	}
	return r
}

func TestEncode(t *testing.T) {
	const want = `{"v":1,"secretProviderClass":"CLASS","secret":"CLASS","vault":"shop-kv",` +
		`"tenantID":"99999999-89ab-cdef-0123-456789abcdef","clientID":"11111111-89ab-cdef-0123-456789abcdef",` +
		`"objects":["secret/db-password","secret/db-username"],"env":true}`
	r := example(t)
	if got := strings.ReplaceAll(r.Encode(), r.SecretProviderClass, "CLASS"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Nothing that Resolve would not have made is believed, however near it is.
func TestDecodeRefuses(t *testing.T) {
	edit := func(change func(*Record)) func(string, Record) string {
		return func(_ string, r Record) string {
			change(&r)
			return r.Encode()
		}
	}
	// renamed keeps the class's name in step with the content, as a careful forger would.
	renamed := func(change func(*Record)) func(string, Record) string {
		return edit(func(r *Record) {
			generated := r.Secret == r.SecretProviderClass
			change(r)
			if generated && r.Secret != "" {
				r.Secret = r.SecretProviderClass
			}
			r.SecretProviderClass = r.ClassName()
			if generated && r.Secret != "" {
				r.Secret = r.SecretProviderClass
			}
		})
	}
	replace := func(old, new string) func(string, Record) string {
		return func(s string, _ Record) string { return strings.Replace(s, old, new, 1) }
	}
	cases := map[string]struct {
		forge func(string, Record) string
		want  string
	}{
		"nothing":                  {func(string, Record) string { return "" }, "record is not JSON"},
		"something after it":       {func(s string, _ Record) string { return s + "{}" }, "record is not JSON"},
		"null":                     {func(string, Record) string { return "null" }, "record has version 0"},
		"another version":          {edit(func(r *Record) { r.V = 2 }), "record has version 2, known is 1"},
		"white space":              {replace(`,`, `, `), "not in the form"},
		"an unknown field":         {replace(`{`, `{"x":1,`), "not in the form"},
		"a field twice":            {replace(`"env":true`, `"env":false,"env":true`), "not in the form"},
		"a field in other letters": {replace(`"env"`, `"Env"`), "not in the form"},
		"an escape where none is":  {replace(`shop-kv`, `shop\u002dkv`), "not in the form"},
		"too long":                 {func(s string, _ Record) string { return s + strings.Repeat(" ", maxEncoded) }, "more than 65536"},
		"another class": {edit(func(r *Record) {
			r.SecretProviderClass = "keyroll-" + someVersion
			r.Secret = r.SecretProviderClass
		}), "its content makes"},
		"another vault, same class":    {edit(func(r *Record) { r.Vault = "other-kv" }), "its content makes"},
		"another identity, same class": {edit(func(r *Record) { r.ClientID = otherClient }), "its content makes"},
		"no vault":                     {renamed(func(r *Record) { r.Vault = "" }), "keyroll.dev/vault: is needed"},
		"no tenant":                    {renamed(func(r *Record) { r.TenantID = "" }), "keyroll.dev/tenant-id: is needed"},
		"no client":                    {renamed(func(r *Record) { r.ClientID = "" }), "keyroll.dev/client-id: is needed"},
		"a vault that is an address":   {renamed(func(r *Record) { r.Vault = "evil.example.com/x" }), "is not a Key Vault name"},
		"a vault with white space":     {renamed(func(r *Record) { r.Vault = " shop-kv" }), "record"},
		"a client that is none":        {renamed(func(r *Record) { r.ClientID = "x\ny" }), "is not a client id"},
		"objects in another order":     {renamed(func(r *Record) { r.Objects = []string{"secret/db-username", "secret/db-password"} }), "record"},
		"an object not in its form":    {renamed(func(r *Record) { r.Objects = []string{"db-password"} }), "record"},
		"an object that is two":        {renamed(func(r *Record) { r.Objects = []string{"secret/a,secret/b"} }), "record"},
		"an object that is none":       {renamed(func(r *Record) { r.Objects = []string{"secret/a\nsecret/b", "x"} }), "record"},
		"an empty object":              {renamed(func(r *Record) { r.Objects = []string{""} }), "record"},
		"an object with a path":        {renamed(func(r *Record) { r.Objects = []string{"secret/a=../../x"} }), "record"},
		"no objects":                   {edit(func(r *Record) { r.Objects = nil }), "keyroll.dev/secret-provider-class"},
		"env without a Secret":         {renamed(func(r *Record) { r.Secret = "" }), "contradicts itself"},
		"a generated Secret for none":  {renamed(func(r *Record) { r.Env = false }), "its content makes"},
		"a Secret of a generated name": {edit(func(r *Record) {
			r.Secret = "keyroll-" + someVersion
			r.SecretProviderClass = r.ClassName()
		}), "is kept for names that Keyroll generates"},
		"a Secret's name that is none": {edit(func(r *Record) { r.Secret = "A/b"; r.SecretProviderClass = r.ClassName() }), "is not a name of a Secret"},
		"Opaque spelled out":           {renamed(func(r *Record) { r.SecretType = "Opaque" }), "keyroll.dev/secret-type"},
		"an unknown Secret type":       {renamed(func(r *Record) { r.SecretType = "x" }), "keyroll.dev/secret-type"},
		"a certificate's Secret with env": {
			renamed(func(r *Record) { r.SecretType = "kubernetes.io/tls"; r.Secret = "web-tls" }), "keyroll.dev/secret-type",
		},
		"an own class of a generated name": {
			func(_ string, r Record) string {
				return Record{V: 1, SecretProviderClass: r.SecretProviderClass}.Encode()
			}, "is a class that Keyroll generates",
		},
		"an own class that names a vault": {
			func(string, Record) string {
				return Record{V: 1, SecretProviderClass: "akv", Vault: "shop-kv"}.Encode()
			}, "cannot stand beside",
		},
		"an own class that names a tenant": {
			func(string, Record) string {
				return Record{V: 1, SecretProviderClass: "akv", TenantID: someTenant}.Encode()
			}, "contradicts itself",
		},
		"an own class with env": {
			func(string, Record) string {
				return Record{V: 1, SecretProviderClass: "akv", Env: true}.Encode()
			}, "contradicts itself",
		},
		"no class": {func(string, Record) string { return Record{V: 1}.Encode() }, "is empty"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := example(t)
			forged := tc.forge(r.Encode(), r)
			got, err := Decode(forged)
			if err == nil {
				t.Fatalf("believed: %s", forged)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q says nothing of %q", err, tc.want)
			}
			if got.V != 0 {
				t.Errorf("the error came with a record: %+v", got)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	cases := map[string]struct {
		change  func(*Record)
		allowed []string
		want    string
	}{
		"every vault is allowed":          {},
		"the vault is allowed":            {allowed: []string{"a-kv", "Shop-KV"}},
		"the vault is not allowed":        {allowed: []string{"a-kv"}, want: `record: vault "shop-kv" is not in keyroll.dev/allowed-vaults of the namespace`},
		"no vault is allowed":             {allowed: []string{}, want: `record: vault "shop-kv" is not in keyroll.dev/allowed-vaults of the namespace`},
		"the class is named for another":  {change: func(r *Record) { r.Vault = "x-kv" }, want: "record: it names class"},
		"an own class is not ours to ask": {change: func(r *Record) { *r = Record{V: 1, SecretProviderClass: "akv"} }, allowed: []string{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := example(t)
			if tc.change != nil {
				tc.change(&r)
			}
			err := r.Verify(annotation.Defaults{AllowedVaults: tc.allowed})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("not believed: %v", err)
			case tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)):
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// The largest record that annotations can ask for is still one that is read.
func TestLargestRecordFits(t *testing.T) {
	s, ns, account, fallback := web()
	s.Objects = nil
	long := strings.Repeat("n", 124)
	for i := range 100 {
		n := string(rune('0'+i/10)) + string(rune('0'+i%10))
		s.Objects = append(s.Objects, annotation.Object{
			Type: annotation.TypeSecret, Name: long + n, Version: someVersion, File: strings.Repeat("f", 251) + n,
		})
	}
	r, problems := Resolve(s, ns, account, fallback)
	if problems != nil {
		t.Fatal(problems.Err())
	}
	if _, err := Decode(r.Encode()); err != nil {
		t.Errorf("%d bytes: %v", len(r.Encode()), err)
	}
}
