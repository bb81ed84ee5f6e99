package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// bundleSettle is how long a bundle must have verified a CA's certificates
// before they are served: we see the configuration through one API server's
// watch, and the others may be a moment behind.
const bundleSettle = 2 * time.Second

// gate holds certificates back until the API servers can be expected to trust
// them. It asks the cluster's state each time, and remembers only since when
// the answer has been yes for the CA in question.
type gate struct {
	verify func(now time.Time, chain []*x509.Certificate) error
	served func() (*tls.Certificate, error) // what is served meanwhile
	settle time.Duration
	now    func() time.Time

	mu      sync.Mutex
	issuer  string    // of the certificates that the bundles verify
	since   time.Time // since when
	refusal error     // the last answer, for Ready
}

// pass is nil once the certificate may be served; else it is to be tried again
// in a moment.
func (g *gate) pass(chain []*x509.Certificate) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusal = g.judge(chain)
	return g.refusal
}

func (g *gate) judge(chain []*x509.Certificate) error {
	now, issuer := g.now(), issuerOf(chain[0])
	if err := g.verify(now, chain); err != nil {
		g.issuer = ""
		return err
	}
	if g.issuer != issuer {
		g.issuer, g.since = issuer, now
	}
	if age := now.Sub(g.since); age < g.settle && !g.lost(now) {
		return fmt.Errorf("caBundle holds the new CA for %v only, waiting until every API server has seen it", age.Round(time.Millisecond))
	}
	return nil
}

// lost is whether the bundles no longer verify what is served, as when somebody
// replaced them where we would have merged. Each call fails until another
// certificate is served: there is nothing to wait for.
func (g *gate) lost(now time.Time) bool {
	cert, err := g.served()
	if err != nil {
		return false
	}
	chain, err := chainOf(cert)
	return err == nil && g.verify(now, chain) != nil
}

// waitingFor is why the last certificate was held back, or nil.
func (g *gate) waitingFor() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusal
}

func issuerOf(leaf *x509.Certificate) string {
	return string(leaf.RawIssuer) + string(leaf.AuthorityKeyId)
}
