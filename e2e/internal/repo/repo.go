// Package repo finds the checkout that a test or the demo runs in, and the
// folder inside it that keeps what takes long to build.
package repo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CacheVariable names the environment variable that moves the cache folder.
const CacheVariable = "KEYROLL_CACHE"

const module = "keyroll.dev"

// Root is the folder of module keyroll.dev: the nearest one at or above the
// working directory. Tests run in their package's folder, the demo anywhere in
// the checkout, so both find it without being told.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		name, err := moduleName(filepath.Join(dir, "go.mod"))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", err
		case name == module:
			return dir, nil
		case dir == filepath.Dir(dir):
			return "", fmt.Errorf("no go.mod of module %s at or above %s", module, start)
		}
	}
}

func moduleName(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", lines.Err()
}

// Cache is the git-ignored folder for built binaries and the files of running
// clusters. It exists when Cache returns.
func Cache() (string, error) {
	dir := os.Getenv(CacheVariable)
	if dir == "" {
		root, err := Root()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, ".cache")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}
