package repo

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The image is built from the folders that the Dockerfile copies, and the builder
// is given those that .dockerignore lets pass: exactly what the binaries import.
func TestImageIsBuiltFromWhatTheBinariesImport(t *testing.T) {
	want := slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for pkg := range closure(t, "cmd/webhook", "cmd/watcher") {
			top, _, _ := strings.Cut(pkg, "/")
			if !yield(top) {
				return
			}
		}
	}))
	if diff := cmp.Diff(want, copied(t)); diff != "" {
		t.Errorf("Dockerfile (-imported +copied)\n%s", diff)
	}
	var passing []string
	for _, line := range strings.Split(read(t, ".dockerignore"), "\n") {
		if folder, ok := strings.CutPrefix(line, "!"); ok && !strings.HasPrefix(folder, "go.") {
			passing = append(passing, folder)
		}
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(passing))); diff != "" {
		t.Errorf(".dockerignore (-imported +passing)\n%s", diff)
	}
}

// copied are the folders that the Dockerfile copies into the build.
func copied(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^COPY (\w+) (\w+)$`).FindAllStringSubmatch(read(t, "Dockerfile"), -1) {
		if m[1] != m[2] {
			t.Errorf("the Dockerfile copies %s to %s", m[1], m[2])
		}
		out = append(out, m[1])
	}
	return slices.Sorted(slices.Values(out))
}

// closure are the packages of ours that the named ones are built from.
func closure(t *testing.T, from ...string) map[string]bool {
	t.Helper()
	byPath := map[string]*folder{}
	for _, f := range product(t) {
		byPath[f.path] = f
	}
	seen := map[string]bool{}
	for len(from) > 0 {
		pkg := from[0]
		from = from[1:]
		if seen[pkg] {
			continue
		}
		seen[pkg] = true
		f := byPath[pkg]
		if f == nil {
			t.Fatalf("no package in %s", pkg)
		}
		for imported := range f.imports(t) {
			if ours, is := strings.CutPrefix(imported, "keyroll.dev/"); is {
				from = append(from, ours)
			}
		}
	}
	return seen
}
