package repo

import (
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, f := range folders(t) {
		if f.tests {
			continue
		}
		begins := "Package " + path.Base(f.path) + " "
		documented := 0
		for name, file := range f.files {
			if isTest(name) {
				continue
			}
			if file.Name.Name == "main" {
				begins = "Command "
			}
			if file.Doc == nil {
				continue
			}
			documented++
			if text := file.Doc.Text(); !strings.HasPrefix(text, begins) {
				line, _, _ := strings.Cut(text, "\n")
				t.Errorf("%s/%s: the package doc begins %q, want %q", f.path, name, line, begins)
			}
		}
		if documented != 1 {
			t.Errorf("%s: %d files have a package doc, want 1", f.path, documented)
		}
	}
}

// arrows: what of the product a package may import. The binaries share internal/
// only, and nothing points back up.
var arrows = map[string][]string{
	"certs":                 {"internal"},
	"cmd/watcher":           {"internal", "watcher"},
	"cmd/webhook":           {"certs", "internal", "webhook"},
	"internal/annotation":   {},
	"internal/dependency":   {"internal/annotation", "internal/secretsstore"},
	"internal/document":     {},
	"internal/golden":       {},
	"internal/jsonread":     {},
	"internal/jsonwrite":    {},
	"internal/kube":         {"internal/kube"},
	"internal/process":      {},
	"internal/repo":         {},
	"internal/secretsstore": {"internal/jsonread", "internal/secretsstore"},
	"manifests":             {},
	"watcher":               {"internal", "watcher"},
	"watcher/reloader":      {},
	"watcher/rollout":       {"internal/annotation", "internal/dependency"},
	"webhook":               {"internal", "webhook"},
	"webhook/inject":        {"internal/annotation", "internal/dependency", "internal/jsonread", "internal/jsonwrite", "internal/secretsstore"},
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, f := range product(t) {
		allowed, listed := arrowsOf(f.path)
		if !listed {
			t.Errorf("%s is not listed: say what it may import", f.path)
			continue
		}
		for imported := range f.imports(t) {
			ours, is := strings.CutPrefix(imported, "keyroll.dev/")
			if is && !within(ours, append(allowed, f.path)) {
				t.Errorf("%s imports %s", f.path, imported)
			}
		}
	}
}

// arrowsOf finds the rule for a package: its own, or that of a package around it.
func arrowsOf(pkg string) ([]string, bool) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if allowed, listed := arrows[p]; listed {
			return slices.Clone(allowed), true
		}
	}
	return nil, false
}

func within(pkg string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return pkg == f || strings.HasPrefix(pkg, f+"/") })
}

// The pure cores decide from plain data: no client, log, metric, clock, environment or file.
var pure = []string{"internal/annotation", "internal/dependency", "watcher/reloader", "watcher/rollout", "webhook/inject"}

func TestCoresArePure(t *testing.T) {
	impure := []string{
		"context", "log", "net", "os", "sync", "syscall",
		"github.com/cert-manager", "github.com/go-logr", "github.com/prometheus", "k8s.io/client-go", "k8s.io/klog",
	}
	clock := []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}
	seen := 0
	for _, f := range product(t) {
		if !slices.Contains(pure, f.path) {
			continue
		}
		seen++
		for imported := range f.imports(t) {
			if within(imported, impure) {
				t.Errorf("%s imports %s", f.path, imported)
			}
		}
		for name, file := range f.files {
			if isTest(name) {
				continue
			}
			for _, used := range selected(file, "time") {
				if slices.Contains(clock, used) {
					t.Errorf("%s/%s reads the clock: time.%s", f.path, name, used)
				}
			}
			for _, used := range selected(file, "metav1") {
				if used == "Now" {
					t.Errorf("%s/%s reads the clock: metav1.%s", f.path, name, used)
				}
			}
		}
	}
	if seen != len(pure) {
		t.Errorf("%d of %d cores found", seen, len(pure))
	}
}

// selected are the names that a file takes from a package.
func selected(file *ast.File, pkg string) []string {
	names := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok && x.Name == pkg {
				names[selector.Sel.Name] = true
			}
		}
		return true
	})
	return slices.Sorted(maps.Keys(names))
}
