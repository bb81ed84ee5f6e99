package process

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	clientmetrics "k8s.io/client-go/tools/metrics"
)

// NewRegistry gives the registry of a binary, with what both of ours show: the
// Go runtime, the process, the build, and the requests to the API server. These
// are counted by hooks of client-go's that are set once in a process, for the
// first registry that is made.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	m := newRequestMetrics(r)
	clientmetrics.Register(clientmetrics.RegisterOpts{RequestResult: m, RateLimiterLatency: m})
	return r
}

func buildInfo() prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "keyroll_build_info", Help: "1, for the version of the binary.",
	}, []string{"version"})
	info.WithLabelValues(Version()).Set(1)
	return info
}

// requestMetrics tell how our requests to the API server fare.
type requestMetrics struct {
	requests  *prometheus.CounterVec
	throttled prometheus.Histogram
}

// The values of the labels of requests: what client-go sends, and the class of
// what comes back. A request without an answer has the code "error".
var (
	requestMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	requestCodes   = []string{"2xx", "3xx", "4xx", "5xx", "error"}
)

func newRequestMetrics(r prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyroll_api_requests_total", Help: "Requests to the API server, by method and class of the answer's status; `error` is no answer.",
		}, []string{"method", "code"}),
		throttled: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keyroll_api_throttle_seconds", Help: "Time that requests to the API server are held back here, to keep within the limit of requests a second.",
			Buckets: []float64{0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30},
		}),
	}
	for _, method := range requestMethods {
		for _, code := range requestCodes {
			m.requests.WithLabelValues(method, code)
		}
	}
	r.MustRegister(m.requests, m.throttled)
	return m
}

// Increment implements [clientmetrics.ResultMetric].
func (m *requestMetrics) Increment(_ context.Context, code, method, _ string) {
	m.requests.WithLabelValues(method, codeClass(code)).Inc()
}

// codeClass is the class of an HTTP status, "error" for client-go's "<error>".
func codeClass(code string) string {
	if status, err := strconv.Atoi(code); err == nil && status >= 200 && status < 600 {
		return strconv.Itoa(status/100) + "xx"
	}
	return "error"
}

// Observe implements [clientmetrics.LatencyMetric].
func (m *requestMetrics) Observe(_ context.Context, _ string, _ url.URL, held time.Duration) {
	m.throttled.Observe(held.Seconds())
}
