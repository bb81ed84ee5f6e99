package chart

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/internal/repo"
)

// shared is the cluster of all tests of the package. The CRDs of the driver, of
// cert-manager and of the Prometheus operator are in it, and none of the three.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	if address := os.Getenv(postRender); address != "" {
		os.Exit(redirect(address))
	}
	os.Exit(cluster.Main(m, cluster.Options{}, func(ctx context.Context, c *cluster.Cluster) error {
		shared = c
		if err := driver.InstallAlone(ctx, c.Admin()); err != nil {
			return err
		}
		if err := applyCRDs(ctx, c, filepath.Join("testdata", "monitoring-crds.yaml")); err != nil {
			return err
		}
		return applyCertManagerCRDs(ctx, c)
	}))
}

// postRender names the environment variable that makes this binary a post-renderer
// of Helm's. Its value is the address that webhooks shall point to.
const postRender = "KEYROLL_TEST_POST_RENDER"

func redirect(address string) int {
	manifests, err := io.ReadAll(os.Stdin)
	if err == nil {
		manifests, err = install.Redirect(manifests, address)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(string(manifests))
	return 0
}

// applyCertManagerCRDs applies those of the version that the product is built
// with: they come with its module.
func applyCertManagerCRDs(ctx context.Context, c *cluster.Cluster) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager")
	list.Dir = root
	module, err := list.Output()
	if err != nil {
		return fmt.Errorf("find cert-manager's module: %w", err)
	}
	crds := filepath.Join(strings.TrimSpace(string(module)), "deploy", "crds")
	for _, kind := range []string{"issuers", "certificates"} {
		if err := applyCRDs(ctx, c, filepath.Join(crds, "cert-manager.io_"+kind+".yaml")); err != nil {
			return err
		}
	}
	return nil
}

// applyCRDs returns once the API server serves what a file defines, and says so:
// one that is established may yet be missing among the kinds that kubectl reads.
func applyCRDs(ctx context.Context, c *cluster.Cluster, file string) error {
	if _, err := c.Kubectl(ctx, "apply", "--server-side", "-f", file); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=120s", "-f", file); err != nil {
		return err
	}
	names, err := c.Kubectl(ctx, "get", "-f", file, "-o", "name")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(names) {
		_, kind, _ := strings.Cut(name, "/")
		if err := awaitKind(ctx, c, kind); err != nil {
			return err
		}
	}
	return nil
}

// awaitKind waits until kubectl reads a kind.
func awaitKind(ctx context.Context, c *cluster.Cluster, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if _, err := c.Kubectl(ctx, "get", kind, "--all-namespaces"); err == nil || ctx.Err() != nil {
			return err
		}
	}
}
