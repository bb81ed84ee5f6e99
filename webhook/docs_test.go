package webhook

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/document"
	"keyroll.dev/webhook/inject"
)

const metricsDocs, troubleshootDocs = "../docs/metrics.md", "../docs/troubleshoot.md"

func TestDocsExplainRefusalsAndErrors(t *testing.T) {
	var want []string
	for _, reason := range slices.Concat(Reasons[Refused], Reasons[Failed]) {
		want = append(want, string(reason))
	}
	document.CheckNames(t, troubleshootDocs, "## Refusals", want)
}

func TestDocsListTheReasonsOfEachOutcome(t *testing.T) {
	got := map[Outcome]string{}
	for _, row := range document.Rows(document.Section(t, metricsDocs, "## Webhook")) {
		if len(row) == 2 {
			got[Outcome(row[0])] = row[1]
		}
	}
	want := map[Outcome]string{}
	for outcome, reasons := range Reasons {
		var names []string
		for _, reason := range reasons {
			names = append(names, string(reason))
		}
		slices.Sort(names)
		want[outcome] = strings.Join(names, ", ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-code +docs):\n%s", metricsDocs, diff)
	}
}

// A reason that is declared is also in the list of its outcome.
func TestReasonsListsEachConstant(t *testing.T) {
	listed := map[inject.Reason]bool{}
	for _, reasons := range Reasons {
		for _, reason := range reasons {
			listed[reason] = true
		}
	}
	declared := map[inject.Reason]bool{}
	for _, file := range append(sources(t, "."), sources(t, "inject")...) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if ok && isReason(spec.Type) && len(spec.Values) == 1 {
				declared[inject.Reason(text(t, spec.Values[0]))] = true
			}
			return true
		})
	}
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("Reasons (-declared +listed):\n%s", diff)
	}
}

func isReason(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "Reason"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Reason"
	}
	return false
}

// Each row quotes a part of one warning or more, and each warning is quoted.
func TestDocsExplainTheWarnings(t *testing.T) {
	quotes := document.First(document.Rows(document.Section(t, troubleshootDocs, "## Warnings")))
	formats := warnings(t)
	for _, f := range formats {
		if !slices.ContainsFunc(quotes, func(q string) bool { return strings.Contains(f, q) }) {
			t.Errorf("%s does not explain the warning %q", troubleshootDocs, f)
		}
	}
	for _, q := range quotes {
		if !slices.ContainsFunc(formats, func(f string) bool { return strings.Contains(f, q) }) {
			t.Errorf("%s explains %q, which no warning says", troubleshootDocs, q)
		}
	}
}

// warnings are the formats of all warnings: what is given to a method warn, and
// what is formatted where a variable warnings is set.
func warnings(t *testing.T) []string {
	t.Helper()
	formats := map[string]bool{}
	collect := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if ok && len(call.Args) > 0 && regexp.MustCompile(`^(warn|Sprintf)$`).MatchString(called(call)) {
			formats[text(t, call.Args[0])] = true
		}
		return true
	}
	for _, file := range sources(t, "inject") {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if called(n) == "warn" {
					collect(n)
				}
			case *ast.AssignStmt:
				if name, ok := n.Lhs[0].(*ast.Ident); ok && name.Name == "warnings" {
					ast.Inspect(n, collect)
				}
			}
			return true
		})
	}
	if len(formats) < 8 {
		t.Fatalf("only %d warnings found", len(formats))
	}
	return slices.Sorted(maps.Keys(formats))
}

func called(call *ast.CallExpr) string {
	if selector, ok := call.Fun.(*ast.SelectorExpr); ok {
		return selector.Sel.Name
	}
	return ""
}

func text(t *testing.T, e ast.Expr) string {
	t.Helper()
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		t.Fatalf("%T where a string is expected", e)
	}
	s, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sources are the parsed files of a folder, tests aside.
func sources(t *testing.T, folder string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
