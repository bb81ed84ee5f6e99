package watcher

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"

	"keyroll.dev/watcher/rollout"
)

// Outcomes of a rollout, the values of the label outcome.
const (
	rolloutStarted  = "started"
	rolloutDone     = "done"
	rolloutStuck    = "stuck"
	rolloutConflict = "conflict" // the workload had changed meanwhile; decided again
	rolloutRefused  = "refused"  // the API server refused the patch, or took it and nothing changed; retried
)

// Outcomes of looking after a SecretProviderClass.
const (
	classCreated  = "created"
	classHealed   = "healed"
	classRemoved  = "removed"
	classFailed   = "failed"
	classWithheld = "withheld"
)

// Outcomes of sending a workload through the webhook again.
const (
	mendSent    = "sent"
	mendRefused = "refused"
)

// metrics are what operators see of the watcher.
type metrics struct {
	rollouts  *prometheus.CounterVec
	classes   *prometheus.CounterVec
	mends     *prometheus.CounterVec
	rotations prometheus.Counter
	waiting   *prometheus.GaugeVec
	stale     *prometheus.GaugeVec
	lagging   prometheus.Gauge
	missed    prometheus.Gauge
	unknown   prometheus.Gauge
	underway  prometheus.Gauge
	stuck     prometheus.Gauge
	leading   prometheus.Gauge
	still     prometheus.Gauge
	toPatch   prometheus.Histogram
	toDone    prometheus.Histogram
}

// rotationBuckets reach from a second to the hours that a large rollout takes.
var rotationBuckets = []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200}

func newMetrics(r prometheus.Registerer, owners []OwnerKind) *metrics {
	const prefix = "keyroll_watcher_"
	m := &metrics{
		rollouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "rollouts_total", Help: "Rollouts by kind of workload and outcome.",
		}, []string{"kind", "outcome"}),
		classes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "classes_total", Help: "What was done to generated SecretProviderClasses, by outcome.",
		}, []string{"outcome"}),
		mends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "mends_total", Help: "Workloads sent through the webhook again because it had missed them, by outcome.",
		}, []string{"outcome"}),
		rotations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "rotations_total", Help: "Times that the driver reported other versions for a SecretProviderClass.",
		}),
		lagging: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "lagging_mounts", Help: "Mounts that the driver has not brought up to date though it has others of the same class.",
		}),
		missed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "uninjected_pods", Help: "Pods that ask for secrets in an opted-in namespace and were not injected.",
		}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "waiting_workloads", Help: "Workloads that are not rolled though it may be time to, by what they wait for.",
		}, []string{"reason"}),
		stale: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "stale_pods", Help: "Pods that run on older content than the driver has delivered, by why their workload is rolled, waits or is left alone.",
		}, []string{"reason"}),
		unknown: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "unknown_pods", Help: "Pods of which nothing tells what content they run on.",
		}),
		underway: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "rollouts_underway", Help: "Rollouts that hold a place under --max-parallel.",
		}),
		stuck: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "stuck_rollouts", Help: "Rollouts that bring pods to new content and have not moved for --stuck-after.",
		}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "leader", Help: "1 in the replica that acts.",
		}),
		still: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "rotation_off", Help: "1 while the CSI driver is known to rotate nothing: it is not there, or its rotation is switched off, which drivers before 1.6 do not tell.",
		}),
		toPatch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "rotation_to_rollout_seconds", Help: "From the driver's report of new content to the rollout's start.",
			Buckets: rotationBuckets,
		}),
		toDone: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "rotation_to_done_seconds", Help: "From the driver's report of new content to all pods running on it.",
			Buckets: rotationBuckets,
		}),
	}
	m.show(owners)
	r.MustRegister(m.rollouts, m.classes, m.mends, m.rotations, m.lagging, m.missed, m.waiting, m.stale, m.unknown, m.underway,
		m.stuck, m.leading, m.still, m.toPatch, m.toDone)
	return m
}

// show makes every series that can come, at zero: from one that appears with
// its first count, nothing can be told of how fast it grows.
func (m *metrics) show(owners []OwnerKind) {
	kinds := []string{deployments.Kind, statefulSets.Kind, daemonSets.Kind}
	for _, o := range owners {
		kinds = append(kinds, o.Kind.Kind)
	}
	for _, kind := range kinds {
		for _, outcome := range []string{rolloutStarted, rolloutDone, rolloutStuck, rolloutConflict, rolloutRefused} {
			m.rollouts.WithLabelValues(kind, outcome)
		}
	}
	for _, outcome := range []string{classCreated, classHealed, classRemoved, classFailed, classWithheld} {
		m.classes.WithLabelValues(outcome)
	}
	for _, outcome := range []string{mendSent, mendRefused} {
		m.mends.WithLabelValues(outcome)
	}
	for _, reason := range rollout.WaitReasons {
		m.waiting.WithLabelValues(string(reason))
	}
	for _, reason := range slices.Concat(rollout.RollReasons, rollout.WaitReasons, rollout.LeaveReasons) {
		m.stale.WithLabelValues(string(reason))
	}
}

// moved keeps the gauges in step when a workload's decision takes the place of
// the one before. A zero decision stands for none.
func (m *metrics) moved(before, after rollout.Decision) {
	m.countStale(before, -1)
	m.countStale(after, +1)
	m.unknown.Add(float64(after.Counts.Unknown - before.Counts.Unknown))
	if before.Action == rollout.Wait {
		m.waiting.WithLabelValues(string(before.Reason)).Dec()
	}
	if after.Action == rollout.Wait {
		m.waiting.WithLabelValues(string(after.Reason)).Inc()
	}
}

// countStale leaves out the pods that end without a rollout.
func (m *metrics) countStale(d rollout.Decision, sign int) {
	if d.Counts.Stale == 0 || d.Reason == rollout.Deleting || d.Reason == rollout.ScaledToZero {
		return
	}
	m.stale.WithLabelValues(string(d.Reason)).Add(float64(sign * d.Counts.Stale))
}

// held keeps count of the rollouts that are stuck when one gets stuck or goes on.
func (m *metrics) held(before, after bool) {
	switch {
	case after && !before:
		m.stuck.Inc()
	case before && !after:
		m.stuck.Dec()
	}
}

func (m *metrics) paced(p *pace) {
	underway, _ := p.counts()
	m.underway.Set(float64(underway))
}

// queueMetrics tell how the queues do, in workqueue's own terms.
type queueMetrics struct {
	depth, unfinished, longest *prometheus.GaugeVec
	adds, retries              *prometheus.CounterVec
	latency, duration          *prometheus.HistogramVec
}

func newQueueMetrics(r prometheus.Registerer) queueMetrics {
	const prefix = "keyroll_watcher_queue_"
	queue := []string{"queue"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, queue)
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, queue)
	}
	seconds := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 10, 6),
		}, queue)
	}
	m := queueMetrics{
		depth:      gauge("depth", "Keys that are due for a look."),
		unfinished: gauge("unfinished_work_seconds", "Time spent on looks that are not finished."),
		longest:    gauge("longest_look_seconds", "Age of the oldest look that is not finished."),
		adds:       counter("adds_total", "Keys added."),
		retries:    counter("retries_total", "Keys that came back after a failure."),
		latency:    seconds("wait_seconds", "Time between a key's becoming due and its look."),
		duration:   seconds("look_seconds", "Time that a look takes."),
	}
	r.MustRegister(m.depth, m.unfinished, m.longest, m.adds, m.retries, m.latency, m.duration)
	return m
}

func (m queueMetrics) NewDepthMetric(name string) workqueue.GaugeMetric {
	return m.depth.WithLabelValues(name)
}

func (m queueMetrics) NewAddsMetric(name string) workqueue.CounterMetric {
	return m.adds.WithLabelValues(name)
}

func (m queueMetrics) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return m.latency.WithLabelValues(name)
}

func (m queueMetrics) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return m.duration.WithLabelValues(name)
}

func (m queueMetrics) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return m.unfinished.WithLabelValues(name)
}

func (m queueMetrics) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return m.longest.WithLabelValues(name)
}

func (m queueMetrics) NewRetriesMetric(name string) workqueue.CounterMetric {
	return m.retries.WithLabelValues(name)
}
