package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Source is where the webhook's serving certificate comes from.
type Source interface {
	// GetCertificate is for [tls.Config]. It fails until there is a certificate.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Run keeps the certificate fresh until ctx ends. It is called once.
	Run(ctx context.Context) error
	// Ready is nil when a certificate is served that the API server can be
	// expected to trust; else its text tells what is being waited for.
	Ready() error
}

var _, _, _ Source = (*Dynamic)(nil), (*Secret)(nil), (*File)(nil)

// errNotSynced is what a source answers before it has read the cluster's state.
var errNotSynced = errors.New("informer caches are not filled yet")

// chainOf gives the parsed certificates of c, leaf first.
func chainOf(c *tls.Certificate) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, 0, len(c.Certificate))
	for i, der := range c.Certificate {
		if i == 0 && c.Leaf != nil {
			chain = append(chain, c.Leaf)
			continue
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("certificate chain is empty")
	}
	return chain, nil
}
