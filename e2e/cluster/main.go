package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"keyroll.dev/e2e/internal/repo"
)

// Main is the body of a TestMain: it boots a cluster, lets use put into it what
// the package's tests share, runs them, and returns the exit code when all has
// stopped. When the cluster is lost, the tests end at once: each would only wait
// as long as it can. Logs are kept in e2e/logs/PACKAGE until the next run. With
// -short the package's tests are left out.
//
//	func TestMain(m *testing.M) {
//		os.Exit(cluster.Main(m, cluster.Options{}, func(_ context.Context, c *cluster.Cluster) error {
//			shared = c
//			return nil
//		}))
//	}
func Main(tests interface{ Run() int }, o Options, use func(context.Context, *Cluster) error) int {
	if short() {
		fmt.Println("left out by -short: the tests of this package boot a control plane")
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := runMain(ctx, tests, o, use)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return 1
	}
	return code
}

func runMain(ctx context.Context, tests interface{ Run() int }, o Options, use func(context.Context, *Cluster) error) (int, error) {
	if o.LogDir == "" {
		dir, err := packageLogs()
		if err != nil {
			return 0, err
		}
		o.LogDir = dir
	}
	c, err := Start(ctx, o)
	if err != nil {
		return 0, err
	}
	defer c.Stop()
	// Neither Ctrl-C nor the loss of the cluster waits for the end of the story that is being told.
	ctx, release := c.While(ctx)
	defer release()
	ended := context.AfterFunc(ctx, func() {
		fmt.Fprintf(os.Stderr, "the tests end here; logs are kept in %s\n", o.LogDir)
		c.Stop()
		os.Exit(1)
	})
	defer ended()
	if err := use(ctx, c); err != nil {
		return 0, err
	}
	code := tests.Run()
	if code != 0 {
		fmt.Fprintf(os.Stderr, "logs are kept in %s\n", o.LogDir)
	}
	return code, nil
}

// short tells whether the test binary was given -short, without making the
// testing package a part of the demo.
func short() bool {
	flag.Parse()
	given := flag.Lookup("test.short")
	return given != nil && given.Value.String() == "true"
}

// packageLogs is an empty folder for the logs of the package under test, which is the working directory.
func packageLogs() (string, error) {
	root, err := repo.Root()
	if err != nil {
		return "", err
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "e2e", "logs", filepath.Base(here))
	return dir, os.RemoveAll(dir)
}
