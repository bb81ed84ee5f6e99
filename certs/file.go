package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/prometheus/client_golang/prometheus"
)

// fileInterval is how often the files are compared with what is served.
const fileInterval = 2 * time.Second

// FileConfig is what [NewFile] needs.
type FileConfig struct {
	CertFile string           // PEM, leaf first; may be replaced at any time
	KeyFile  string           // PEM
	Now      func() time.Time // nil: the system's clock

	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// File is the source that serves what somebody puts into two files. Whether the
// API server trusts it is that somebody's concern: an empty caBundle means the
// API server's own roots, which cannot be looked up from here.
type File struct {
	log       *slog.Logger
	source    *servertls.FileCertificateSource
	readiness *readiness
}

// NewFile makes a [File]; [File.Run] starts it. The files may come later.
func NewFile(c FileConfig) (*File, error) {
	switch {
	case c.CertFile == "" || c.KeyFile == "":
		return nil, errors.New("certificates from files need a certificate file and a key file")
	case c.Log == nil || c.Registerer == nil:
		return nil, errors.New("certificates from files need a Log and a Registerer")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	f := &File{log: c.Log, source: &servertls.FileCertificateSource{
		CertPath:       c.CertFile,
		KeyPath:        c.KeyFile,
		UpdateInterval: fileInterval,
		MaxFailures:    math.MaxInt, // what is served stays good for a while; Ready and the expiry metric tell
	}}
	f.readiness = &readiness{
		served:  f.served,
		waiting: func() error { return fmt.Errorf("%s and %s were not read yet", c.CertFile, c.KeyFile) },
		verify:  func(time.Time, []*x509.Certificate) error { return nil },
		now:     c.Now,
	}
	if err := registerServed(c.Registerer, f.served); err != nil {
		return nil, err
	}
	return f, nil
}

// GetCertificate implements [Source].
func (f *File) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.source.GetCertificate(hello)
}

// Ready implements [Source].
func (f *File) Ready() error { return f.readiness.check() }

// Run implements [Source].
func (f *File) Run(ctx context.Context) error {
	return f.source.Start(withLibraryLog(ctx, f.log))
}

func (f *File) served() (*tls.Certificate, error) { return f.source.GetCertificate(nil) }
