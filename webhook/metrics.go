package webhook

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the handler answers. Labels are closed sets: the
// webhook's path, CREATE, UPDATE or other, an outcome, and a documented reason.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyroll_webhook_requests_total",
			Help: "Admission requests by webhook (pods, workloads), operation, outcome (patched, unchanged, refused, error) and reason.",
		}, []string{"webhook", "operation", "outcome", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "keyroll_webhook_request_duration_seconds",
			Help:    "Time from the first byte of an admission request to its answer.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
		}, []string{"webhook"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyroll_webhook_requests_in_flight",
			Help: "Admission requests being answered now.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyroll_webhook_panics_total",
			Help: "Admission requests whose handling panicked. Each is a bug.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
