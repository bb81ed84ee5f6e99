// Package golden compares what tests make of YAML files with files beside them:
//
//	testdata/NAME.in.yaml     what goes in, one or more objects
//	testdata/NAME.out.yaml    what comes out
//	testdata/NAME.denied.txt  or: why it is refused
//
// Cases are found by scanning, so a new file is a new case. A file that belongs
// to no case fails the test. "go test -update" writes what comes out now.
package golden

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite golden files with what comes out now")

const (
	in     = ".in.yaml"
	out    = ".out.yaml"
	denied = ".denied.txt"
)

// Object is one object of a NAME.in.yaml.
type Object struct {
	Kind string
	JSON []byte
}

// Result is what comes out. Exactly one of Out and Denied is set.
type Result struct {
	Out      []byte // an object, as JSON
	Denied   string
	Warnings []string // stand at the head of the file
}

// Test makes a subtest of each case in dir.
func Test(t *testing.T, dir string, run func(t *testing.T, objects []Object) Result) {
	t.Helper()
	cases := Cases(t, dir)
	if len(cases) == 0 {
		t.Fatalf("no case in %s", dir)
	}
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			compare(t, filepath.Join(dir, name), run(t, Read(t, filepath.Join(dir, name+in))))
		})
	}
	for _, file := range orphans(t, dir, cases) {
		t.Errorf("%s belongs to no case", filepath.Join(dir, file))
	}
}

// Cases names the cases in dir.
func Cases(tb testing.TB, dir string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+in))
	if err != nil {
		tb.Fatal(err)
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), in))
	}
	return names
}

// Read reads the objects of a YAML file.
func Read(tb testing.TB, file string) []Object {
	tb.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var objects []Object
	reader := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(raw)))
	for {
		document := make([]byte, len(raw)+1)
		n, err := reader.Read(document)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, object(tb, file, document[:n]))
	}
}

func object(tb testing.TB, file string, document []byte) Object {
	tb.Helper()
	json, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	var head struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(json, &head); err != nil || head.Kind == "" {
		tb.Fatalf("%s: document without kind: %v", file, err)
	}
	return Object{Kind: head.Kind, JSON: json}
}

// compare compares a result with the files that begin with path.
func compare(t *testing.T, path string, r Result) {
	t.Helper()
	suffix, other, text := out, denied, r.text(t)
	if r.Out == nil {
		suffix, other = denied, out
	}
	if *update {
		if err := os.Remove(path + other); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := os.Stat(path + other); err == nil {
		t.Errorf("%s is stale: the result belongs into %s", path+other, path+suffix)
	}
	want, err := os.ReadFile(path + suffix)
	if err != nil {
		t.Fatalf("%v; write it with -update:\n%s", err, text)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path+suffix, diff)
	}
}

func (r Result) text(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, w := range r.Warnings {
		b.WriteString("# Warning: " + w + "\n")
	}
	if r.Out == nil {
		b.WriteString(r.Denied + "\n")
		return b.String()
	}
	y, err := yaml.JSONToYAML(r.Out)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(y)
	return b.String()
}

// orphans answers the files of dir that belong to no case.
func orphans(t *testing.T, dir string, cases []string) []string {
	t.Helper()
	known := map[string]bool{}
	for _, name := range cases {
		known[name+in], known[name+out], known[name+denied] = true, true, true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && !known[e.Name()] {
			files = append(files, e.Name())
		}
	}
	return files
}
