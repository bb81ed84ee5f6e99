package stories

import (
	"context"
	"os"
	"testing"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/world"
)

// shared is the world of all stories of the package; each has its own namespace and vault.
var shared *world.World

func TestMain(m *testing.M) {
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
