package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// untrustedGrace is for how long a replica that was ready stays so while the
// bundle does not verify its certificate. Somebody blanked it, and the keepers
// mend that at once; if every replica left the Service meanwhile, calls would
// fail for as long as the probes take to bring them back.
const untrustedGrace = 10 * time.Second

// readiness turns what is served and what the bundles say into an answer for
// the probe.
type readiness struct {
	served  func() (*tls.Certificate, error)
	waiting func() error // why nothing is served yet, or nil
	verify  func(now time.Time, chain []*x509.Certificate) error
	now     func() time.Time

	mu        sync.Mutex
	wasReady  bool
	untrusted time.Time // since when, as far as probes saw; zero when trusted
}

func (r *readiness) check() error {
	cert, err := r.served()
	if err != nil {
		return fmt.Errorf("no serving certificate yet: %w", cmp.Or(r.waiting(), err))
	}
	chain, err := chainOf(cert)
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	now := r.now()
	if !now.Before(chain[0].NotAfter) {
		return fmt.Errorf("serving certificate has expired at %s", chain[0].NotAfter.UTC().Format(time.RFC3339))
	}
	return r.forgive(now, r.verify(now, chain))
}

// forgive lets a short loss of trust pass.
func (r *readiness) forgive(now time.Time, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.wasReady, r.untrusted = true, time.Time{}
		return nil
	}
	if r.untrusted.IsZero() {
		r.untrusted = now
	}
	if r.wasReady && now.Sub(r.untrusted) < untrustedGrace {
		return nil
	}
	return err
}

// trusted is whether the bundles verify what is served, at this moment.
func (r *readiness) trusted() bool {
	cert, err := r.served()
	if err != nil {
		return false
	}
	chain, err := chainOf(cert)
	return err == nil && r.verify(r.now(), chain) == nil
}
