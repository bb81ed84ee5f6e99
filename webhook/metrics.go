package webhook

import (
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
)

// Values of labels besides outcomes, reasons and the API's own operations.
const (
	podsWebhook      = "pods"
	workloadsWebhook = "workloads"
	otherOperation   = "other" // or not understood
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
			Help: "Admission requests by webhook, operation, outcome and reason.",
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
	m.show()
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// show makes every series that can come, at zero: from one that appears with its
// first count, nothing can be told of how fast it grows.
func (m *metrics) show() {
	for _, webhook := range []string{podsWebhook, workloadsWebhook} {
		m.duration.WithLabelValues(webhook)
		for _, operation := range []string{string(admissionv1.Create), string(admissionv1.Update), otherOperation} {
			for outcome, reasons := range Reasons {
				for _, reason := range reasons {
					m.requests.WithLabelValues(webhook, operation, string(outcome), string(reason))
				}
			}
		}
	}
}
