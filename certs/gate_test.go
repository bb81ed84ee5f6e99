package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"
)

// step is one question to a gate or a readiness, at a time after noon.
type step struct {
	at      time.Duration
	chain   []*x509.Certificate
	verify  error
	lost    []*x509.Certificate // a gate's: what is served and no longer trusted
	wantErr string              // part of the answer; empty: nil
}

func checkAnswer(t *testing.T, s step, err error) {
	t.Helper()
	if s.wantErr == "" && err != nil {
		t.Errorf("after %v: %v, want no error", s.at, err)
	}
	if s.wantErr != "" && (err == nil || !strings.Contains(err.Error(), s.wantErr)) {
		t.Errorf("after %v: %v, want an error that says %q", s.at, err, s.wantErr)
	}
}

func TestGate(t *testing.T) {
	leafOf := func(c *ca) []*x509.Certificate {
		cert, err := c.sign(leafTemplate(t, "a.svc"), noon, validity{leaf: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{cert}
	}
	first, second := makeCA(t, noon), makeCA(t, noon)
	leaf, renewed, rotated := leafOf(first), leafOf(first), leafOf(second)
	untrusted := errors.New("caBundle holds no certificate")
	tests := map[string][]step{
		"an untrusted certificate is held back, and says why": {
			{chain: leaf, verify: untrusted, wantErr: "no certificate"},
			{at: time.Hour, chain: leaf, verify: untrusted, wantErr: "no certificate"},
		},
		"a trusted one passes when other API servers had time to see": {
			{chain: leaf, wantErr: "every API server"},
			{at: 1999 * time.Millisecond, chain: leaf, wantErr: "every API server"},
			{at: 2 * time.Second, chain: leaf},
		},
		"a renewal by the same CA passes at once": {
			{chain: leaf, wantErr: "every API server"},
			{at: 2 * time.Second, chain: leaf},
			{at: time.Minute, chain: renewed},
		},
		"another CA has to wait again": {
			{chain: leaf, wantErr: "every API server"},
			{at: 2 * time.Second, chain: leaf},
			{at: time.Minute, chain: rotated, verify: untrusted, wantErr: "no certificate"},
			{at: 61 * time.Second, chain: rotated, wantErr: "every API server"},
			{at: 63 * time.Second, chain: rotated},
		},
		"trust that was lost has to settle again": {
			{chain: leaf, wantErr: "every API server"},
			{at: time.Second, chain: leaf, verify: untrusted, wantErr: "no certificate"},
			{at: 2 * time.Second, chain: leaf, wantErr: "every API server"},
			{at: 4 * time.Second, chain: leaf},
		},
		"where the served one is not trusted any more nobody waits": {
			{chain: rotated, verify: untrusted, lost: leaf, wantErr: "no certificate"},
			{at: time.Second, chain: rotated, lost: leaf},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var current step
			g := &gate{
				verify: func(_ time.Time, chain []*x509.Certificate) error {
					if current.lost != nil && chain[0].Equal(current.lost[0]) {
						return untrusted
					}
					return current.verify
				},
				served: func() (*tls.Certificate, error) {
					served := leaf
					if current.lost != nil {
						served = current.lost
					}
					return &tls.Certificate{Certificate: [][]byte{served[0].Raw}}, nil
				},
				settle: 2 * time.Second,
				now:    func() time.Time { return noon.Add(current.at) },
			}
			for _, s := range steps {
				current = s
				checkAnswer(t, s, g.pass(s.chain))
				checkAnswer(t, s, g.waitingFor())
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	issuer := makeCA(t, noon)
	cert, err := issuer.sign(leafTemplate(t, "a.svc"), noon, validity{leaf: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	served := []*x509.Certificate{cert}
	untrusted := errors.New("caBundle holds no certificate")
	tests := map[string][]step{
		"nothing served says what is waited for": {{wantErr: "no serving certificate yet: waiting for the CA"}},
		"served and trusted":                     {{chain: served}},
		"never trusted":                          {{chain: served, verify: untrusted, wantErr: "holds no certificate"}, {at: time.Minute, chain: served, verify: untrusted, wantErr: "holds no certificate"}},
		"a bundle that is healed at once takes no replica away": {
			{chain: served},
			{at: time.Minute, chain: served, verify: untrusted},
			{at: 69 * time.Second, chain: served, verify: untrusted},
			{at: 71 * time.Second, chain: served},
			{at: 80 * time.Second, chain: served, verify: untrusted},
		},
		"one that stays broken does": {
			{chain: served},
			{at: time.Minute, chain: served, verify: untrusted},
			{at: 70 * time.Second, chain: served, verify: untrusted, wantErr: "holds no certificate"},
			{at: 71 * time.Second, chain: served},
		},
		"expired": {{chain: served}, {at: time.Hour, chain: served, wantErr: "expired at 2026-06-01T13:00:00Z"}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var current step
			r := &readiness{
				served: func() (*tls.Certificate, error) {
					if current.chain == nil {
						return nil, errors.New("none")
					}
					return &tls.Certificate{Certificate: [][]byte{current.chain[0].Raw}}, nil
				},
				waiting: func() error { return errors.New("waiting for the CA") },
				verify:  func(time.Time, []*x509.Certificate) error { return current.verify },
				now:     func() time.Time { return noon.Add(current.at) },
			}
			for _, current = range steps {
				checkAnswer(t, current, r.check())
				if got, want := r.trusted(), current.chain != nil && current.verify == nil; got != want {
					t.Errorf("after %v: trusted = %v, want %v", current.at, got, want)
				}
			}
		})
	}
}
