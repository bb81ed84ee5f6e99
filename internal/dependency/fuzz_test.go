package dependency

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"

	"keyroll.dev/internal/annotation"
)

// FuzzResolve: whatever parses and resolves, encodes, decodes to the same,
// verifies, and has a class whose parts Kubernetes accepts.
func FuzzResolve(f *testing.F) {
	f.Add("a,key/b=c", "shop-kv", "contoso.com", webClient, "A=a", "", "", "")
	f.Add("web\ncert/web=x@"+someVersion, "shop-kv", someTenant, webClient, "", "web-tls", "kubernetes.io/tls", "shop-kv")
	f.Add("a@"+someVersion, "Shop-KV", someTenant, webClient, "X=secret/a,Y=a", "s", "Opaque", "other-kv,SHOP-KV")
	f.Fuzz(func(t *testing.T, objects, vault, tenant, client, env, secret, secretType, allowedVaults string) {
		a := map[string]string{}
		for key, value := range map[string]string{
			annotation.Objects: objects, annotation.Vault: vault, annotation.Env: env,
			annotation.Secret: secret, annotation.SecretType: secretType,
		} {
			if value != "" {
				a[key] = value
			}
		}
		s, problems := annotation.Parse(a)
		ns, more := annotation.ParseNamespace(map[string]string{annotation.AllowedVaults: allowedVaults})
		if problems != nil {
			return
		}
		if more != nil {
			ns.AllowedVaults = nil
		}
		account := &ServiceAccount{Name: "web", Annotations: map[string]string{
			annotation.IdentityClientID: client, annotation.IdentityTenantID: tenant,
		}}
		r, problems := Resolve(s, ns, account, Fallback{})
		if problems != nil || !s.Asked() {
			if diff := cmp.Diff(Record{}, r); diff != "" {
				t.Errorf("a record of nothing:\n%s", diff)
			}
			return
		}
		checkRecord(t, r, ns)
	})
}

// FuzzDecode: what is believed is what Encode writes, and has a class.
func FuzzDecode(f *testing.F) {
	r := Record{
		V: 1, Vault: "shop-kv", TenantID: someTenant, ClientID: webClient, Env: true,
		Objects: []string{"cert/web=web.pem", "secret/a@" + someVersion},
	}
	r.SecretProviderClass = r.ClassName()
	r.Secret = r.SecretProviderClass
	f.Add(r.Encode())
	f.Add(Record{V: 1, SecretProviderClass: "akv-app-secrets", ClientID: webClient}.Encode())
	f.Add(`{"v":1,"secretProviderClass":"x","objects":[]}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Decode(s)
		if err != nil {
			return
		}
		if r.Encode() != s {
			t.Errorf("%q is believed, and written %q", s, r.Encode())
		}
		checkRecord(t, r, annotation.Defaults{})
	})
}

func checkRecord(t *testing.T, r Record, ns annotation.Defaults) {
	t.Helper()
	decoded, err := Decode(r.Encode())
	if err != nil {
		t.Fatalf("decode %s: %v", r.Encode(), err)
	}
	if diff := cmp.Diff(r, decoded); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	if err := r.Verify(ns); err != nil {
		t.Errorf("verify %s: %v", r.Encode(), err)
	}
	class := r.Class("shop")
	if !r.Generated() {
		if class != nil {
			t.Errorf("somebody else's class is made: %v", class)
		}
		return
	}
	if class.Name != r.SecretProviderClass || len(class.Name) > 100 || len(validation.IsDNS1123Subdomain(class.Name)) > 0 {
		t.Errorf("class %q for record of %q", class.Name, r.SecretProviderClass)
	}
	files := map[string]bool{}
	for _, secret := range class.Spec.SecretObjects {
		if secret.SecretName != r.Secret || len(validation.IsDNS1123Subdomain(secret.SecretName)) > 0 || secret.Type == "" {
			t.Errorf("secret %+v for record of %q", secret, r.Secret)
		}
		for _, d := range secret.Data {
			if len(validation.IsConfigMapKey(d.Key)) > 0 || files[d.Key] {
				t.Errorf("key %q", d.Key)
			}
			files[d.Key] = true
		}
	}
	if synced := len(files) > 0; synced != (r.Secret != "") {
		t.Errorf("%d keys for Secret %q", len(files), r.Secret)
	}
}
