package reloader

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/document"
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

// The flags of Reloader v1.4 (internal/pkg/util/util.go).
var flags = []string{
	"auto-reload-all", "enable-csi-integration", "is-Argo-Rollouts", "reload-strategy", "reload-on-create", "reload-on-delete", "sync-after-restart",
	"resources-to-ignore", "ignored-workload-types", "resource-label-selector", "namespaces", "namespaces-to-ignore", "namespace-selector",
	"auto-annotation", "configmap-annotation", "configmap-auto-annotation", "secret-annotation", "secret-auto-annotation", "ignore-annotation",
	"auto-search-annotation", "search-match-annotation", "pause-deployment-annotation", "pause-deployment-time-annotation",
	"webhook-url", "log-format", "log-level", "enable-pprof", "pprof-addr",
	"enable-ha", "leader-election-lease-duration", "leader-election-renew-deadline", "leader-election-retry-period",
}

func TestDocsNameEveryFlag(t *testing.T) {
	var named []string
	for _, row := range document.Rows(document.Section(t, docs, "## What becomes of each flag")) {
		for _, flag := range regexp.MustCompile("`--([A-Za-z-]+)`").FindAllStringSubmatch(row[0], -1) {
			named = append(named, flag[1])
		}
	}
	slices.Sort(named)
	if diff := cmp.Diff(slices.Sorted(slices.Values(flags)), named); diff != "" {
		t.Errorf("%s (-Reloader's +docs):\n%s", docs, diff)
	}
}
