package golden

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadFindsEveryDocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "two.in.yaml")
	text := "# what this is\nkind: Namespace\nmetadata: {name: shop}\n---\nkind: Pod\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []Object{
		{Kind: "Namespace", JSON: []byte(`{"kind":"Namespace","metadata":{"name":"shop"}}`)},
		{Kind: "Pod", JSON: []byte(`{"kind":"Pod"}`)},
	}
	if diff := cmp.Diff(want, Read(t, file)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestTextShowsWarningsFirst(t *testing.T) {
	tests := map[string]struct {
		result Result
		want   string
	}{
		"an object is YAML with its keys in order": {
			result: Result{Out: []byte(`{"b":1,"a":{"c":[true]}}`), Warnings: []string{"odd"}},
			want:   "# Warning: odd\na:\n  c:\n  - true\nb: 1\n",
		},
		"a refusal is its message": {
			result: Result{Denied: "no vault"},
			want:   "no vault\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.result.text(t)); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOrphansAreFound(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.in.yaml", "a.out.yaml", "b.out.yaml", "c.denied.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"b.out.yaml", "c.denied.txt"}
	if diff := cmp.Diff(want, orphans(t, dir, Cases(t, dir))); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
}
