package stories

import (
	"context"
	"testing"

	"keyroll.dev/e2e/driver"
)

// rolling waits until one of the workloads has been rolled.
func (f fleet) rolling(t *testing.T) {
	t.Helper()
	eventually(t, "a rollout has started", func(context.Context) string {
		lacking := ""
		for _, w := range f {
			if lacking = w.unrolled(t)(t.Context()); lacking == "" {
				return ""
			}
		}
		return lacking
	})
}

// TestRotateWatcherLost takes watchers away at the worst moments: by SIGKILL,
// which releases no lease, and by an API server that is gone for a while.
func TestRotateWatcherLost(t *testing.T) {
	long(t)
	f := fleet{
		raise(t, "lost-files").deployed(appName, 3, asksForFiles, nil),
		raise(t, "lost-env").deployed(appName, 3, asksForEnv(), bothInEnv),
		raise(t, "lost-guide").deployedByHand(3),
		raise(t, "lost-set").statefulSet(appName, 3, asksForFiles),
		raise(t, "lost-daemon").daemonSet(appName, asksForFiles),
	}
	f.settled(t, "deployed")
	f.rolled(t, "a deployment rolls nothing by itself", 0)

	for _, generation := range []driver.Generation{driver.Polling, driver.Republishing} {
		t.Run(generation.String(), func(t *testing.T) {
			if generation != driver.Polling {
				switchDriver(t, generation)
			}
			t.Run("killed before", func(t *testing.T) {
				tend(t)
				shared.Watcher.Kill()
				f.rotate("db-password")
				f.holding(t, "db-password")
				f.rolled(t, "nobody rolls", 0)
				startWatcher(t)
				f.settled(t, "caught up")
				f.rolledSoFar(t, "one rollout", 1)
			})
			t.Run("killed during", func(t *testing.T) {
				f.rotate("db-password")
				f.rolling(t)
				shared.Watcher.Kill()
				startWatcher(t)
				f.settled(t, "caught up")
				f.rolledSoFar(t, "one rollout", 1)
			})
			t.Run("killed after", func(t *testing.T) {
				f.rotate("db-password")
				for _, w := range f {
					eventually(t, w.ns+" is rolled", w.unrolled(t))
				}
				shared.Watcher.Kill()
				startWatcher(t)
				f.settled(t, "rolled")
				f.rolled(t, "one rollout", 1)
			})
		})
	}
	t.Run("the leader of two killed", func(t *testing.T) {
		tend(t)
		leader := shared.Watcher
		startWatcher(t) // stands by, and is the shared one from now on
		f.rotate("db-password")
		f.rolling(t)
		leader.Kill()
		f.settled(t, "the other one goes on")
		f.rolled(t, "one rollout", 1)
	})
	t.Run("the API server restarted", func(t *testing.T) {
		f.rotate("db-password")
		f.rolling(t)
		if err := shared.RestartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.settled(t, "rolled")
		f.rolled(t, "one rollout", 1)
	})
}
