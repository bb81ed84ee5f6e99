package watcher

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"keyroll.dev/watcher/rollout"
)

func TestGaugesFollowTheDecisions(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	waiting := rollout.Decision{Action: rollout.Wait, Reason: rollout.Gathering, Counts: rollout.Counts{Stale: 3}}
	unknown := rollout.Decision{Reason: rollout.StatusMissing, Counts: rollout.Counts{Unknown: 1}}
	m.moved(rollout.Decision{}, waiting) // one workload is seen
	m.moved(rollout.Decision{}, waiting) // and another
	m.moved(waiting, unknown)            // which goes on
	m.moved(unknown, rollout.Decision{}) // and ends
	want := `
# HELP keyroll_watcher_stale_pods Pods that run on older content than they should.
# TYPE keyroll_watcher_stale_pods gauge
keyroll_watcher_stale_pods 3
# HELP keyroll_watcher_unknown_pods Pods of which nothing tells what content they run on.
# TYPE keyroll_watcher_unknown_pods gauge
keyroll_watcher_unknown_pods 0
# HELP keyroll_watcher_waiting_workloads Workloads that are due and not rolled, by reason.
# TYPE keyroll_watcher_waiting_workloads gauge
keyroll_watcher_waiting_workloads{reason="Gathering"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"keyroll_watcher_stale_pods", "keyroll_watcher_unknown_pods", "keyroll_watcher_waiting_workloads"); err != nil {
		t.Error(err)
	}
}

func TestMetricsAreNamedAsPrometheusWants(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	queues := newQueueMetrics(registry)
	// A vector without a value is not shown.
	m.rollouts.WithLabelValues("Deployment", rolloutStarted)
	m.classes.WithLabelValues(classCreated)
	m.mends.WithLabelValues(mendSent)
	m.waiting.WithLabelValues(string(rollout.Gathering))
	queues.NewAddsMetric("workload")
	queues.NewDepthMetric("workload")
	queues.NewLatencyMetric("workload")
	queues.NewRetriesMetric("workload")
	queues.NewWorkDurationMetric("workload")
	queues.NewUnfinishedWorkSecondsMetric("workload")
	queues.NewLongestRunningProcessorSecondsMetric("workload")
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
