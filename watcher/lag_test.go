package watcher

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"keyroll.dev/internal/secretsstore"
)

func TestAMountThatTheDriverLeavesBehindIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		// The second pod's rotation fails, silently: only the first is rolled for, and
		// the rollout is refused, so that the pods stay.
		c.refuse(forbidden)
		time.Sleep(time.Minute)
		c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus("web-1-a", "files", "v2", 2, time.Now()), shop))
		lagging := func() float64 { return testutil.ToFloat64(c.controller.metrics.lagging) }
		time.Sleep(4*time.Minute + 50*time.Second)
		if got := lagging(); got != 0 {
			t.Errorf("%v mounts lag before interval and slack are over", got)
		}
		time.Sleep(time.Minute)
		if got := lagging(); got != 1 {
			t.Errorf("%v mounts lag, want 1", got)
		}
		if !slices.Contains(c.events(), "Warning RotationLagging Deployment/web") {
			t.Errorf("events %v tell nothing of it", c.events())
		}
		c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus("web-1-b", "files", "v2", 2, time.Now()), shop))
		time.Sleep(time.Minute)
		if got := lagging(); got != 0 {
			t.Errorf("%v mounts lag after the driver has caught up", got)
		}
		if got := testutil.ToFloat64(c.controller.metrics.rotations); got != 1 {
			t.Errorf("%v rotations counted, want 1", got)
		}
	})
}

func TestAMountThatIsLeftBehindAgainIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		c.refuse(forbidden)
		update := func(pod, version string, generation int64) {
			c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus(pod, "files", version, generation, time.Now()), shop))
		}
		time.Sleep(time.Minute)
		update("web-1-a", "v2", 2)
		time.Sleep(10 * time.Minute)
		update("web-1-a", "v3", 3)
		time.Sleep(10 * time.Minute)
		if got := c.told(reasonLagging); got != 2 {
			t.Errorf("told %d times of two contents that a pod did not get", got)
		}
		update("web-1-a", "v3", 4) // written again, the same
		time.Sleep(10 * time.Minute)
		if got := c.told(reasonLagging); got != 2 {
			t.Errorf("told %d times of two contents", got)
		}
	})
}
