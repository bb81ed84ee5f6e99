package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"keyroll.dev/e2e/internal/repo"
)

// variant is a way to build the binaries.
type variant struct {
	dir  string   // of the binaries, in the cache folder
	args []string // of go build
}

var (
	shipped = variant{dir: "bin"}
	racing  = variant{dir: "bin-race", args: []string{"-race"}}
)

// build compiles ./cmd/NAME for each keyroll-NAME and returns the binaries'
// paths. go build does nothing where nothing has changed.
func build(ctx context.Context, v variant, names ...string) (map[string]string, error) {
	root, err := repo.Root()
	if err != nil {
		return nil, err
	}
	cache, err := repo.Cache()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, v.dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := repo.WaitLock(ctx, filepath.Join(dir, "lock"), nil)
	if err != nil {
		return nil, err
	}
	defer lock.Release() //nolint:errcheck // closing it is all that matters

	paths := map[string]string{}
	for _, name := range names {
		paths[name] = filepath.Join(dir, name)
		pkg := "./cmd/" + strings.TrimPrefix(name, "keyroll-")
		cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, v.args, []string{"-o", paths[name], pkg})...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return paths, nil
}
