package reloader

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docs = "../../docs/migrate-from-reloader.md"

func TestDocsHaveTheTable(t *testing.T) {
	want := "| annotation | on | here |\n| --- | --- | --- |\n"
	for _, r := range Table {
		want += "| `" + r.Key + "` | " + r.On + " | " + r.Here + " |\n"
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	start := strings.Index(string(text), "| annotation |")
	if start < 0 {
		t.Fatalf("no table in %s", docs)
	}
	got, _, _ := strings.Cut(string(text[start:]), "\n\n")
	if diff := cmp.Diff(want, got+"\n"); diff != "" {
		t.Errorf("table in %s (-code +docs):\n%s\nfrom the code:\n%s", docs, diff, want)
	}
}

// Every constant that names an annotation has its row, once.
func TestTheTableHasEveryConstant(t *testing.T) {
	file, err := goparser.ParseFile(token.NewFileSet(), "keys.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, s := range g.Specs {
				if s.(*ast.ValueSpec).Names[0].IsExported() {
					constants++
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range Table {
		if seen[r.Key] || !IsKey(r.Key) {
			t.Errorf("%s stands there twice, or is no key of Reloader's", r.Key)
		}
		seen[r.Key] = true
	}
	if len(seen) != constants {
		t.Errorf("%d constants, %d rows", constants, len(seen))
	}
}
