package certs

import (
	"crypto/tls"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What became of one attempt of the keeper to write the bundle: a label's
// values.
const (
	outcomeWritten  = "written"
	outcomeConflict = "conflict" // someone else wrote meanwhile; tried again on what they wrote
	outcomeError    = "error"
)

// registerServed registers what can be told of any source's certificate.
func registerServed(registerer prometheus.Registerer, served func() (*tls.Certificate, error)) error {
	return registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keyroll_webhook_certificate_expiry_timestamp_seconds",
		Help: "When the serving certificate expires, in seconds since the epoch; 0 while there is none.",
	}, func() float64 { return expiry(served) }))
}

// registerTrusted registers whether the live bundles verify what is served.
func registerTrusted(registerer prometheus.Registerer, trusted func() bool) error {
	return registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keyroll_webhook_certificate_trusted",
		Help: "1 when the caBundle of every entry of our configuration verifies the serving certificate, else 0.",
	}, func() float64 {
		if trusted() {
			return 1
		}
		return 0
	}))
}

// registerCA registers when the CA expires that new certificates are signed by.
func registerCA(registerer prometheus.Registerer, expires func() time.Time) error {
	return registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keyroll_webhook_ca_expiry_timestamp_seconds",
		Help: "When the CA expires that signs the serving certificate, in seconds since the epoch; 0 while there is none.",
	}, func() float64 { return seconds(expires()) }))
}

// newBundleWrites makes the keeper's counter, with every outcome at zero.
func newBundleWrites(registerer prometheus.Registerer) (*prometheus.CounterVec, error) {
	writes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyroll_webhook_bundle_writes_total",
		Help: "Attempts to write the caBundle of our configuration, by outcome.",
	}, []string{"outcome"})
	for _, outcome := range []string{outcomeWritten, outcomeConflict, outcomeError} {
		writes.WithLabelValues(outcome)
	}
	return writes, registerer.Register(writes)
}

func expiry(served func() (*tls.Certificate, error)) float64 {
	cert, err := served()
	if err != nil {
		return 0
	}
	chain, err := chainOf(cert)
	if err != nil {
		return 0
	}
	return seconds(chain[0].NotAfter)
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
