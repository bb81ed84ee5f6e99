package dependency

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

var update = flag.Bool("update", false, "rewrite testdata")

// resolved is the record of annotations on web's workload.
func resolved(t *testing.T, a map[string]string) Record {
	t.Helper()
	s, problems := annotation.Parse(a)
	if problems != nil {
		t.Fatal(problems.Err())
	}
	_, ns, account, fallback := web()
	r, problems := Resolve(s, ns, account, fallback)
	if problems != nil {
		t.Fatal(problems.Err())
	}
	return r
}

// A running pod's class must never change, so neither may these files: another
// class for the same record needs another version of the record.
func TestClassGolden(t *testing.T) {
	cases := map[string]map[string]string{
		"files": {annotation.Objects: "db-password,db-username"},
		"env": {
			annotation.Objects: "key/sign=sign.pub,cert/web=web.crt,0815@" + someVersion + "=pinned",
			annotation.Env:     "PINNED=0815",
		},
		"secret": {annotation.Objects: "db-password", annotation.Secret: "app-secrets"},
		"tls": {
			annotation.Objects: "web=web.pem,key/sign",
			annotation.Secret:  "web-tls", annotation.SecretType: annotation.SecretTypeTLS,
		},
	}
	for name, annotations := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".yaml")
			got, err := yaml.Marshal(resolved(t, annotations).Class("shop"))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) != len(cases) {
		t.Errorf("%d files for %d cases: %v", len(files), len(cases), err)
	}
}

// The provider reads YAML, then YAML in its strings, and takes names that look
// like numbers, truths or nothing for what they are unless they are quoted.
func TestClassObjectsAreWhatTheProviderReads(t *testing.T) {
	r := resolved(t, map[string]string{annotation.Objects: "123,true=null,key/null=1e5,0x1F=.5,cert/-=---,1e3@" + someVersion})
	var list struct {
		Array []string `json:"array"`
	}
	if err := yaml.UnmarshalStrict([]byte(r.Class("shop").Spec.Parameters["objects"]), &list); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for _, s := range list.Array {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(s), &o); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		got = append(got, o)
	}
	want := []map[string]any{
		{"objectType": "cert", "objectName": "-", "objectAlias": "---"},
		{"objectType": "key", "objectName": "null", "objectAlias": "1e5"},
		{"objectType": "secret", "objectName": "0x1F", "objectAlias": ".5"},
		{"objectType": "secret", "objectName": "123"},
		{"objectType": "secret", "objectName": "1e3", "objectVersion": someVersion},
		{"objectType": "secret", "objectName": "true", "objectAlias": "null"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestClassNameIsItsContent(t *testing.T) {
	base := map[string]string{annotation.Objects: "a,b"}
	with := func(changes map[string]string) string {
		a := map[string]string{}
		for _, m := range []map[string]string{base, changes} {
			for k, v := range m {
				a[k] = v
			}
		}
		return resolved(t, a).SecretProviderClass
	}
	name := with(nil)
	if !regexp.MustCompile(`^keyroll-[0-9a-f]{32}$`).MatchString(name) {
		t.Errorf("name %q", name)
	}

	named := with(map[string]string{annotation.Secret: "s"})
	same := map[string][2]string{
		"objects in another order":        {name, with(map[string]string{annotation.Objects: "secret/b\n\na=a"})},
		"what only the pod sees":          {name, with(map[string]string{annotation.MountPath: "/s", annotation.Containers: "app", annotation.ServiceAccount: "x"})},
		"the default Secret type":         {named, with(map[string]string{annotation.Secret: "s", annotation.SecretType: "Opaque"})},
		"env through a Secret that is":    {named, with(map[string]string{annotation.Secret: "s", annotation.Env: "A=a"})},
		"other variables from one Secret": {with(map[string]string{annotation.Env: "A=a"}), with(map[string]string{annotation.Env: "B=b,C=a"})},
	}
	for what, names := range same {
		if names[0] != names[1] {
			t.Errorf("%s: another class, %s instead of %s", what, names[1], names[0])
		}
	}

	different := map[string]string{
		"nothing":                name,
		"another object":         with(map[string]string{annotation.Objects: "a,c"}),
		"an object more":         with(map[string]string{annotation.Objects: "a,b,c"}),
		"another type":           with(map[string]string{annotation.Objects: "a,key/b"}),
		"a version":              with(map[string]string{annotation.Objects: "a,b@" + someVersion}),
		"a file name":            with(map[string]string{annotation.Objects: "a,b=c"}),
		"another vault":          with(map[string]string{annotation.Vault: "other-kv"}),
		"another directory":      with(map[string]string{annotation.TenantID: otherTenant}),
		"another identity":       with(map[string]string{annotation.ClientID: otherClient}),
		"a generated Secret":     with(map[string]string{annotation.Env: "A=a"}),
		"a named Secret":         named,
		"another Secret":         with(map[string]string{annotation.Secret: "t"}),
		"one object in a Secret": with(map[string]string{annotation.Objects: "a", annotation.Secret: "s"}),
		"a certificate's Secret": with(map[string]string{annotation.Objects: "a", annotation.Secret: "s", annotation.SecretType: "kubernetes.io/tls"}),
	}
	seen := map[string]string{}
	for what, n := range different {
		if other, ok := seen[n]; ok {
			t.Errorf("%s and %s have the same class", what, other)
		}
		seen[n] = what
	}
}

func TestClassSharesNothingWithItsRecord(t *testing.T) {
	r := resolved(t, map[string]string{annotation.Objects: "a,b", annotation.Env: "A=a"})
	first := r.Class("shop")
	first.Spec.Parameters["objects"] = "x"
	first.Spec.SecretObjects[0].Data[0].Key = "x"
	first.Labels[ManagedByLabel] = "x"
	second := r.Class("shop")
	if got := second.Labels[ManagedByLabel]; got != ManagedBy {
		t.Errorf("label %q", got)
	}
	if diff := cmp.Diff(r.Class("shop"), second); diff != "" {
		t.Errorf("the class is not the same each time:\n%s", diff)
	}
	want := []*secretsstore.SecretObject{{
		SecretName: r.SecretProviderClass, Type: "Opaque",
		Data: []*secretsstore.SecretObjectData{{ObjectName: "a", Key: "a"}, {ObjectName: "b", Key: "b"}},
	}}
	if diff := cmp.Diff(want, second.Spec.SecretObjects); diff != "" {
		t.Errorf("secret objects (-want +got):\n%s", diff)
	}
}
