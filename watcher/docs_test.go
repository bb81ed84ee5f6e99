package watcher

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/document"
	"keyroll.dev/watcher/rollout"
)

const troubleshootDocs = "../docs/troubleshoot.md"

func TestDocsExplainTheEvents(t *testing.T) {
	want := eventReasons(t)
	for _, reason := range rollout.Reasons {
		// Of decisions that roll the rollout itself is told.
		if !quiet[reason] && !slices.Contains(rollout.RollReasons, reason) {
			want = append(want, string(reason))
		}
	}
	want = append(want, string(rollout.RolloutStuck)) // told by itself
	document.CheckNames(t, troubleshootDocs, "## Events", want)
}

func TestDocsExplainWhatNoEventTells(t *testing.T) {
	var want []string
	for _, reason := range slices.Concat(rollout.RollReasons, rollout.WaitReasons, rollout.LeaveReasons) {
		roll := slices.Contains(rollout.RollReasons, reason)
		if (quiet[reason] || roll) && reason != rollout.RolloutStuck {
			want = append(want, string(reason))
		}
	}
	got := document.First(document.Rows(document.Section(t, troubleshootDocs, "## Why a workload waits")))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-code +docs):\n%s", troubleshootDocs, diff)
	}
}

// eventReasons are the values of the constants reason....
func eventReasons(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "reason") || len(spec.Values) != 1 {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				reason, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				reasons = append(reasons, reason)
			}
			return true
		})
	}
	return reasons
}
