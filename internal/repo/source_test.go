package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// folder is a package of the repository, by its path from the root.
type folder struct {
	path  string
	files map[string]*ast.File
	tests bool // it holds nothing but tests
}

// folders parses every Go package of the product and of the e2e module.
func folders(t *testing.T) []*folder {
	t.Helper()
	byPath := map[string]*folder{}
	var all []*folder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		f := byPath[dir]
		if f == nil {
			f = &folder{path: filepath.ToSlash(dir), files: map[string]*ast.File{}, tests: true}
			byPath[dir], all = f, append(all, f)
		}
		f.files[filepath.Base(path)] = file
		f.tests = f.tests && isTest(path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

// product are the packages of the product's own module, without tests.
func product(t *testing.T) []*folder {
	t.Helper()
	var out []*folder
	for _, f := range folders(t) {
		if f.path != "e2e" && !strings.HasPrefix(f.path, "e2e/") && !f.tests {
			out = append(out, f)
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d packages found", len(out))
	}
	return out
}

// imports are what the package's code imports, its tests aside.
func (f *folder) imports(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for name, file := range f.files {
		if isTest(name) {
			continue
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[path] = true
		}
	}
	return out
}
