// Package image holds the test of the image's build. It makes no image, which would
// need more than Go.
package image

import (
	"bytes"
	"debug/buildinfo"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"keyroll.dev/e2e/internal/repo"
)

// The Dockerfile's own commands, run here in two copies of what it copies: the
// copies suffice, the binaries are the same byte for byte, hold no path of either
// place, tell the version that they were given, and list what they are made of.
func TestImageIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds both binaries twice")
	}
	checkout, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := string(readFile(t, filepath.Join(checkout, "Dockerfile")))
	const version = "v1.2.3-test"
	builds := buildCommands(t, dockerfile, version)
	here, there := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "elsewhere", "b")
	for _, dir := range []string{here, there} {
		copySources(t, checkout, dockerfile, dir)
		for _, args := range builds {
			run(t, dir, "go", args...)
		}
	}
	for _, name := range []string{"keyroll-webhook", "keyroll-watcher"} {
		binary := readFile(t, filepath.Join(here, "out", name))
		if !bytes.Equal(binary, readFile(t, filepath.Join(there, "out", name))) {
			t.Errorf("%s differs from one build to the other", name)
		}
		if bytes.Contains(binary, []byte(filepath.Dir(here))) {
			t.Errorf("%s tells where it was built", name)
		}
		if got := strings.TrimSpace(run(t, here, filepath.Join(here, "out", name), "--version")); got != version {
			t.Errorf("%s is version %q, want %q", name, got, version)
		}
		checkBill(t, binary)
	}
}

// buildCommands are the arguments of go in the Dockerfile, with the variables filled in.
func buildCommands(t *testing.T, dockerfile, version string) [][]string {
	t.Helper()
	flags := regexp.MustCompile(`flags="([^"]*)"`).FindStringSubmatch(dockerfile)
	if flags == nil || !strings.Contains(dockerfile, "CGO_ENABLED=0") {
		t.Fatal("the Dockerfile sets no flags, or leaves cgo on")
	}
	t.Setenv("CGO_ENABLED", "0")
	t.Setenv("GOFLAGS", "")
	var out [][]string
	for _, m := range regexp.MustCompile(`go (build [^&\n]*)`).FindAllStringSubmatch(dockerfile, -1) {
		args := strings.Fields(strings.ReplaceAll(m[1], "/out/", "out/"))
		for i, arg := range args {
			if arg == `"$flags"` {
				args[i] = strings.ReplaceAll(flags[1], "$VERSION", version)
			}
		}
		out = append(out, args)
	}
	if len(out) != 2 {
		t.Fatalf("the Dockerfile builds %d binaries", len(out))
	}
	return out
}

// copySources copies what the Dockerfile copies and .dockerignore lets pass.
func copySources(t *testing.T, checkout, dockerfile, dir string) {
	t.Helper()
	sources := []string{"go.mod", "go.sum"}
	for _, m := range regexp.MustCompile(`(?m)^COPY (\w+) \w+$`).FindAllStringSubmatch(dockerfile, -1) {
		sources = append(sources, m[1])
	}
	for _, source := range sources {
		err := filepath.WalkDir(filepath.Join(checkout, source), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && entry.Name() == "testdata":
				return filepath.SkipDir
			case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			relative, err := filepath.Rel(checkout, path)
			if err != nil {
				return err
			}
			target := filepath.Join(dir, relative)
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			return os.WriteFile(target, readFile(t, path), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkBill: the bill of materials that Go writes into a binary names every
// module with its checksum.
func checkBill(t *testing.T, binary []byte) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) < 20 {
		t.Errorf("%s lists %d modules", info.Path, len(info.Deps))
	}
	for _, m := range info.Deps {
		if m.Sum == "" || m.Replace != nil {
			t.Errorf("%s: module %s has no checksum, or is replaced", info.Path, m.Path)
		}
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
