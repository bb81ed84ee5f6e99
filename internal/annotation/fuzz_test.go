package annotation

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse throws two annotations at a time at the parser: it neither panics
// nor repeats much of what it refuses nor depends on the order of a map, and
// what it accepts is accepted again in canonical form with the same meaning.
func FuzzParse(f *testing.F) {
	for _, key := range append([]string{"unknown", "injection", "dependencies"}, keyNames()...) {
		f.Add("a,key/b@"+someVersion+"=c\ncert/a=d", key, "A=a,B=cert/a", "env", "X=secret/a")
		f.Add("web", key, "kubernetes.io/tls", "secret", "s")
		f.Add("", key, "secret/a,secret/b", "secret-provider-class", "akv")
		f.Add("a=b/c,\xff", key, "https://a.b/", "containers", "a,b")
	}
	f.Fuzz(func(t *testing.T, objects, key1, value1, key2, value2 string) {
		a := map[string]string{Prefix + key1: value1, Prefix + key2: value2}
		if objects != "" {
			a[Objects] = objects
		}
		settings, problems := Parse(a)
		_, again := Parse(a)
		if diff := cmp.Diff(problems, again); diff != "" {
			t.Errorf("second parse (-first +second):\n%s", diff)
		}
		defaults, more := ParseNamespace(a)
		for _, p := range append(problems, more...) {
			if len(p.Key) > maxEcho+3 || len(p.Value) > maxEcho+3 || len(p.Mend) > 500 || p.Mend == "" {
				t.Errorf("problem of %d, %d and %d bytes: %v", len(p.Key), len(p.Value), len(p.Mend), p)
			}
		}
		if _, ok := a[AllowedVaults]; ok && defaults.AllowedVaults == nil {
			t.Error("an annotation of allowed vaults allows all of them")
		}
		if problems != nil {
			return
		}
		canonical := canonicalAnnotations(settings)
		parsed, problems := Parse(canonical)
		if diff := cmp.Diff(settings, parsed); diff != "" || problems != nil {
			t.Errorf("parse of canonical %q: %v (-want +got):\n%s", canonical, problems.Err(), diff)
		}
	})
}

func keyNames() []string {
	var names []string
	for _, r := range Table {
		names = append(names, strings.TrimPrefix(r.Key, Prefix))
	}
	return names
}

// canonicalAnnotations writes settings as annotations.
func canonicalAnnotations(s Settings) map[string]string {
	a := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	join := func(n int, item func(int) string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = item(i)
		}
		return strings.Join(items, ",")
	}
	when := func(yes bool, value string) string {
		if yes {
			return value
		}
		return ""
	}
	set(Objects, join(len(s.Objects), func(i int) string { return s.Objects[i].String() }))
	set(Env, join(len(s.Env), func(i int) string { return s.Env[i].Name + "=" + s.Env[i].Object.ID() }))
	set(RestartOn, join(len(s.RestartOn.Secrets), func(i int) string { return "secret/" + s.RestartOn.Secrets[i] }))
	set(RestartOn, when(s.RestartOn.Auto, "auto"))
	set(Containers, strings.Join(s.Containers, ","))
	set(Vault, s.Vault)
	set(TenantID, s.TenantID)
	set(ClientID, s.ClientID)
	set(ServiceAccount, s.ServiceAccount)
	set(MountPath, s.MountPath)
	set(Secret, s.Secret)
	set(SecretType, s.SecretType)
	set(SecretProviderClass, s.SecretProviderClass)
	set(WorkloadIdentity, when(s.NoWorkloadIdentity, "false"))
	set(Restart, when(s.RestartNever, "never"))
	set(Inject, when(s.InjectFalse, "false"))
	return a
}
