package watcher

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/rollout"
)

func TestGaugesFollowTheDecisions(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), nil)
	stale := rollout.Counts{Stale: 3}
	waiting := rollout.Decision{Action: rollout.Wait, Reason: rollout.Gathering, Counts: stale}
	left := rollout.Decision{Reason: rollout.Paused, Counts: stale}
	deleting := rollout.Decision{Reason: rollout.Deleting, Counts: stale}
	unknown := rollout.Decision{Reason: rollout.StatusMissing, Counts: rollout.Counts{Unknown: 1}}
	type gauges struct{ waiting, gathering, paused, deleting, unknown float64 }
	steps := []struct {
		name          string
		before, after rollout.Decision
		want          gauges
	}{
		{"a workload is seen that waits", rollout.Decision{}, waiting, gauges{waiting: 1, gathering: 3}},
		{"another one, that is left alone", rollout.Decision{}, left, gauges{waiting: 1, gathering: 3, paused: 3}},
		{"the first is paused too", waiting, left, gauges{paused: 6}},
		{"one goes on, and cannot be told", left, unknown, gauges{paused: 3, unknown: 1}},
		{"it is gone", unknown, rollout.Decision{}, gauges{paused: 3}},
		{"the other is being deleted", left, deleting, gauges{}},
		{"and gone", deleting, rollout.Decision{}, gauges{}},
	}
	for _, s := range steps {
		m.moved(s.before, s.after)
		got := gauges{
			waiting:   testutil.ToFloat64(m.waiting.WithLabelValues(string(rollout.Gathering))),
			gathering: testutil.ToFloat64(m.stale.WithLabelValues(string(rollout.Gathering))),
			paused:    testutil.ToFloat64(m.stale.WithLabelValues(string(rollout.Paused))),
			deleting:  testutil.ToFloat64(m.stale.WithLabelValues(string(rollout.Deleting))),
			unknown:   testutil.ToFloat64(m.unknown),
		}
		if got != s.want {
			t.Errorf("%s: %+v, want %+v", s.name, got, s.want)
		}
	}
}

// What is counted of a workload goes with it, also where another one has its
// name before anybody looks.
func TestNothingIsCountedOfAWorkloadThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		for _, o := range objects {
			if d, ok := o.(*appsv1.Deployment); ok {
				d.Annotations[annotation.Restart] = annotation.RestartIsNever
			}
		}
		c := start(t, objects)
		defer c.stop()
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(time.Minute)
		stale := func() float64 {
			return testutil.ToFloat64(c.controller.metrics.stale.WithLabelValues(string(rollout.RestartNever)))
		}
		if got := stale(); got != 2 {
			t.Fatalf("%v stale pods, want 2", got)
		}
		other := deployment(func(d *appsv1.Deployment) { d.UID = "other-uid" })
		c.must(c.controller.caches.workloads[deployments.GroupKind()].informer.GetIndexer().Update(lens{}.deployment(other)))
		c.controller.enqueue(key{kind: deployments.GroupKind(), namespace: shop, name: "web"})
		time.Sleep(time.Minute)
		if got := stale(); got != 0 {
			t.Errorf("%v stale pods of a workload that is gone", got)
		}
	})
}

func TestKindsOfOthersAreShownAtZero(t *testing.T) {
	argo := schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}
	with, without := newMetrics(prometheus.NewRegistry(), []OwnerKind{{Kind: argo}}), newMetrics(prometheus.NewRegistry(), nil)
	const outcomes = 5
	if got := testutil.CollectAndCount(with.rollouts) - testutil.CollectAndCount(without.rollouts); got != outcomes {
		t.Errorf("%d series more for a kind more, want %d", got, outcomes)
	}
}

func TestHowLongARotationTakesIsMeasuredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Minute)
		if got := c.measured(); len(got) > 0 {
			t.Errorf("measured %v where nothing rotated", got)
		}
		c.rotate("files", "v2", 20*time.Second) // the first pod is told of 20 s before the second
		time.Sleep(10 * time.Second)
		want := map[string][]float64{"keyroll_watcher_rotation_to_rollout_seconds": {2}} // --settle
		if diff := cmp.Diff(want, c.measured()); diff != "" {
			t.Errorf("when it is rolled out (-want +got)\n%s", diff)
		}
		c.rollOut("web")
		time.Sleep(time.Hour)
		want["keyroll_watcher_rotation_to_done_seconds"] = []float64{30}
		if diff := cmp.Diff(want, c.measured()); diff != "" {
			t.Errorf("an hour after it was done (-want +got)\n%s", diff)
		}
	})
}

// measured answers what the histograms of a rotation hold, by their names: the sum
// of each, and once more for every further sample.
func (c *cluster) measured() map[string][]float64 {
	c.t.Helper()
	families, err := c.config.Registerer.(*prometheus.Registry).Gather()
	c.must(err)
	found := map[string][]float64{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "keyroll_watcher_rotation_to_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			for range metric.GetHistogram().GetSampleCount() {
				found[family.GetName()] = append(found[family.GetName()], metric.GetHistogram().GetSampleSum())
			}
		}
	}
	return found
}
