package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"keyroll.dev/e2e/internal/repo"
)

const namespace = "keyroll-system"

// helmBinary builds the Helm that the repository pins, where make has its own: it
// takes minutes once, and nothing afterwards.
var helmBinary = sync.OnceValues(func() (string, error) {
	root, err := repo.Root()
	if err != nil {
		return "", err
	}
	cache, err := repo.Cache()
	if err != nil {
		return "", err
	}
	lock, err := repo.WaitLock(context.Background(), filepath.Join(cache, "helm.lock"), nil)
	if err != nil {
		return "", err
	}
	defer lock.Release() //nolint:errcheck // closing it is all that matters
	path := filepath.Join(root, "bin", "helm")
	if upToDate(path, filepath.Join(root, "tools", "go.mod")) {
		return path, nil
	}
	build := exec.Command("go", "build", "-trimpath", "-o", path, "helm.sh/helm/v3/cmd/helm")
	build.Dir = filepath.Join(root, "tools")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build helm: %w\n%s", err, out)
	}
	return path, nil
})

// upToDate is make's own rule.
func upToDate(target, source string) bool {
	made, err := os.Stat(target)
	if err != nil {
		return false
	}
	of, err := os.Stat(source)
	return err == nil && !made.ModTime().Before(of.ModTime())
}

// helm runs Helm in the cluster. Its own files are the test's.
func helm(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	path, err := helmBinary()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "KUBECONFIG="+shared.Kubeconfig(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "HOME="+home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// chartFolder is the chart.
func chartFolder(t *testing.T) string {
	t.Helper()
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "manifests", "chart")
}
