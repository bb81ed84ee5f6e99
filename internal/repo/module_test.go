package repo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the product is built with, and what only its tests need. The tools and the
// control plane of the end-to-end tests have modules of their own.
var requirements = []string{
	"github.com/cert-manager/cert-manager",
	"github.com/go-json-experiment/json", // the standard library's JSON of Go 1.27, for earlier ones
	"github.com/go-logr/logr",            // how cert-manager's library logs
	"github.com/prometheus/client_golang",
	"gomodules.xyz/jsonpatch/v2",
	"k8s.io/api",
	"k8s.io/apimachinery",
	"k8s.io/client-go",
	"k8s.io/klog/v2",                 // how client-go logs
	"sigs.k8s.io/json",               // how the API server decodes
	"github.com/google/go-cmp",       // tests
	"gopkg.in/evanphx/json-patch.v4", // tests: how the API server applies a patch
	"sigs.k8s.io/yaml",               // tests
}

func TestProductRequiresLittle(t *testing.T) {
	directs := 0
	for _, line := range strings.Split(read(t, "go.mod"), "\n") {
		line = strings.TrimPrefix(strings.TrimSpace(line), "require ")
		if strings.HasPrefix(line, "replace") {
			t.Errorf("go.mod replaces: %s", line)
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "v") || strings.HasSuffix(line, "// indirect") {
			continue
		}
		directs++
		if !slices.Contains(requirements, fields[0]) {
			t.Errorf("go.mod requires %s, which is not listed", fields[0])
		}
	}
	if directs == 0 {
		t.Error("go.mod requires nothing directly: run go mod tidy")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
