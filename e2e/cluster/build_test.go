package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestKeyChangesWithWhateverChangesTheBinaries(t *testing.T) {
	base := key([]byte("mod"), []byte("sum"), "flags")
	if again := key([]byte("mod"), []byte("sum"), "flags"); again != base {
		t.Fatal("not stable")
	}
	others := map[string]string{
		"go.mod":               key([]byte("Mod"), []byte("sum"), "flags"),
		"go.sum":               key([]byte("mod"), []byte("Sum"), "flags"),
		"flags":                key([]byte("mod"), []byte("sum"), "Flags"),
		"where the files part": key([]byte("mods"), []byte("um"), "flags"),
	}
	for what, other := range others {
		if other == base {
			t.Errorf("%s does not count", what)
		}
	}
}

func TestLinkerFlagsCarryTheVersionOfGoMod(t *testing.T) {
	flags, err := linkerFlags([]byte("require (\n\tk8s.io/kubernetes v1.37.2 // indirect\n\tk8s.io/kubectl v0.1.0\n)\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-s -w ", "version.gitVersion=v1.37.2", "version.gitMajor=1 ", "version.gitMinor=37 "} {
		if !strings.Contains(flags, want) {
			t.Errorf("%q lacks %q", flags, want)
		}
	}
	if _, err := linkerFlags([]byte("require k8s.io/kubectl v0.1.0")); err == nil {
		t.Error("no version is no error")
	}
}

func TestReadyMadeBinariesAreUsedIfComplete(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(BinariesVariable, dir)
	for _, tool := range tools[1:] {
		if err := os.WriteFile(filepath.Join(dir, tool.name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Binaries(t.Context(), os.Stderr); err == nil || !strings.Contains(err.Error(), "lacks etcd") {
		t.Fatalf("incomplete: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Binaries(t.Context(), os.Stderr); err != nil || got != dir {
		t.Fatalf("%s %v", got, err)
	}
}

// smallTools are a stand-in for the control plane: commands that build in no time.
func smallTools(t *testing.T) builder {
	t.Helper()
	b := builder{module: t.TempDir(), parent: filepath.Join(t.TempDir(), "binaries"), progress: t.Output()}
	files := map[string][]byte{
		filepath.Join(b.module, "go.mod"): []byte("module small\n\ngo 1.26\n\nreplace (\n\tk8s.io/kubernetes v1.37.2 => ./none\n)\n"),
		filepath.Join(b.module, "go.sum"): nil,
	}
	for _, name := range []string{"one", "two", "three"} {
		b.tools = append(b.tools, tool{name, "small/" + name})
		if err := os.Mkdir(filepath.Join(b.module, name), 0o755); err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(b.module, name, "main.go")] = []byte("package main\n\nfunc main() {}\n")
	}
	if err := writeFiles(files); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuildAgainBuildsOnlyWhatIsMissing(t *testing.T) {
	b := smallTools(t)
	dir, err := b.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lacking := missing(dir, b.tools); len(lacking) != 0 {
		t.Fatalf("lacks %v", lacking)
	}
	before, err := os.Stat(filepath.Join(dir, "one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "three")); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	b.progress = &said
	if again, err := b.run(t.Context()); err != nil || again != dir || len(missing(dir, b.tools)) != 0 {
		t.Fatalf("again in %s: %v, lacking %v", again, err, missing(dir, b.tools))
	}
	after, err := os.Stat(filepath.Join(dir, "one"))
	if err != nil || !os.SameFile(before, after) || !strings.Contains(said.String(), "[1/1] three") {
		t.Errorf("one was built again (%v):\n%s", err, said.String())
	}
	said.Reset()
	if _, err := b.run(t.Context()); err != nil || said.Len() != 0 {
		t.Errorf("with all there: %v, said %q", err, said.String())
	}
}

func TestABuildThatFailsSaysWhyAndLeavesNothingHalf(t *testing.T) {
	b := smallTools(t)
	broken := filepath.Join(b.module, "two", "main.go")
	if err := os.WriteFile(broken, []byte("package main\n\nfunc main() { undefined() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := b.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "build two") || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Fatalf("error: %v", err)
	}
	folders, _ := filepath.Glob(filepath.Join(b.parent, "*", "*"))
	var built []string
	for _, path := range folders {
		built = append(built, filepath.Base(path))
	}
	if want := []string{"one"}; !slices.Equal(built, want) {
		t.Errorf("in place: %v, want %v", built, want)
	}
}

func TestBuildsAtTheSameTimeAreOneBuild(t *testing.T) {
	b := smallTools(t)
	var said [2]strings.Builder
	var both sync.WaitGroup
	for i := range said {
		mine := b
		mine.progress = &said[i]
		both.Go(func() {
			if dir, err := mine.run(t.Context()); err != nil || len(missing(dir, b.tools)) != 0 {
				t.Errorf("run %d: %v", i, err)
			}
		})
	}
	both.Wait()
	all := said[0].String() + said[1].String()
	if n := strings.Count(all, "[1/3] one"); n != 1 {
		t.Errorf("one was built %d times:\n%s", n, all)
	}
}
