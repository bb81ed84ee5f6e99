package stories

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"testing"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/world"
)

// shared is the world of all stories of the package; each has its own namespace and vault.
var shared *world.World

// TestMain makes the world: a cluster of our own, or the one that the
// environment gives.
func TestMain(m *testing.M) {
	// Stories that are told at the same time wait more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "20"); err != nil {
		panic(err)
	}
	given, err := world.GivenBy(os.Getenv)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case given != nil:
		os.Exit(adopt(m, given))
	}
	options := cluster.Options{Nodes: 3, AuditPolicy: true}
	os.Exit(cluster.Main(m, options, func(ctx context.Context, c *cluster.Cluster) error {
		w, err := world.New(ctx, c, []string{"node-1", "node-2", "node-3"}, world.Options{
			// As with everybody who comes from Reloader. Stories without its annotations must not notice.
			Install: install.Options{WatcherArgs: append([]string{"--honor-reloader-annotations"}, install.FastWatcher...)},
		})
		shared = w
		return err
	}))
}

func adopt(m *testing.M, given *world.Given) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if shared, err = world.Adopt(ctx, given); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
