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
// which releases no lease, and by an API server that is gone for a while. The
// short form kills them only during a rotation, and the rest is played with one
// generation of the driver.
func TestRotateWatcherLost(t *testing.T) {
	needsModel(t, "kill the watcher")
	f := fleet{
		raise(t, "lost-files").deployed(appName, 3, asksForFiles, nil),
		raise(t, "lost-env").deployed(appName, 3, asksForEnv(), bothInEnv),
		raise(t, "lost-guide").deployedByHand(3),
		raise(t, "lost-set").statefulSet(appName, 3, asksForFiles),
		raise(t, "lost-daemon").daemonSet(appName, asksForFiles),
	}
	f.settled(t, "deployed")
	f.rolledSoFar(t, "a deployment rolls nothing by itself", 0)

	everyGeneration(t, func(t *testing.T, g generation) {
		if soaking() {
			t.Run("killed before", f.killedBefore)
			t.Run("killed after", f.killedAfter)
		}
		t.Run("killed during", f.killedDuring)
		if soaking() || g.of == driver.Republishing {
			t.Run("the leader of two killed", f.leaderKilled)
			t.Run("the API server restarted", f.serverRestarted)
		}
	})
	f.rolled(t, "none is late", 0)
}

// killWatcher takes the watcher away until takeOver.
func killWatcher(t *testing.T) {
	t.Helper()
	tend(t) // one that has just lost its lease would come back
	shared.Watcher.Kill()
}

func (f fleet) killedBefore(t *testing.T) {
	killWatcher(t)
	f.rotate("db-password")
	f.holding(t, "db-password")
	f.rolled(t, "nobody rolls", 0)
	takeOver(t)
	f.settled(t, "caught up")
	f.rolledSoFar(t, "one rollout", 1)
}

func (f fleet) killedDuring(t *testing.T) {
	f.rotate("db-password")
	f.rolling(t)
	killWatcher(t)
	takeOver(t)
	f.settled(t, "caught up")
	f.rolledSoFar(t, "one rollout", 1)
}

func (f fleet) killedAfter(t *testing.T) {
	f.rotate("db-password")
	for _, w := range f {
		eventually(t, w.ns+" is rolled", w.unrolled(t))
	}
	killWatcher(t)
	takeOver(t)
	f.settled(t, "rolled")
	f.rolled(t, "one rollout", 1)
}

func (f fleet) leaderKilled(t *testing.T) {
	leader := shared.Watcher
	startWatcher(t) // stands by, and is the shared one from now on
	f.rotate("db-password")
	f.rolling(t)
	leader.Kill()
	f.settled(t, "the other one goes on")
	f.rolledSoFar(t, "one rollout", 1)
}

func (f fleet) serverRestarted(t *testing.T) {
	f.rotate("db-password")
	f.rolling(t)
	if err := shared.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.settled(t, "rolled")
	f.rolledSoFar(t, "one rollout", 1)
}
