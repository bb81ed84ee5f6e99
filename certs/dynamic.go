package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// What a [DynamicConfig] leaves at zero. A serving certificate lives no longer
// than its CA.
const (
	DefaultCADuration     = 365 * 24 * time.Hour
	DefaultLeafDuration   = 7 * 24 * time.Hour
	DefaultClockTolerance = time.Hour
)

// gateRetry is how soon a certificate that was held back is tried again. Each
// try costs a key.
const gateRetry = 500 * time.Millisecond

// DynamicConfig is what [NewDynamic] needs.
type DynamicConfig struct {
	REST              *rest.Config
	Namespace         string   // where the CA's Secret is
	SecretName        string   // the CA's Secret: created when missing, filled when empty
	DNSNames          []string // what the API server calls the webhook by; IP addresses too
	ConfigurationName string   // the MutatingWebhookConfiguration whose caBundle we keep; it may come later

	CADuration   time.Duration // nominal life of the CA, renewed when two thirds are over
	LeafDuration time.Duration // nominal life of the serving certificate, renewed likewise; at most that of the CA
	// ClockTolerance is added on either side of those lives, for clocks that are off.
	ClockTolerance time.Duration
	Now            func() time.Time // nil: the system's clock

	Log        *slog.Logger
	Registerer prometheus.Registerer
}

func (c *DynamicConfig) complete() error {
	defaultTo(&c.CADuration, DefaultCADuration)
	defaultTo(&c.LeafDuration, min(DefaultLeafDuration, c.CADuration))
	defaultTo(&c.ClockTolerance, DefaultClockTolerance)
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Namespace == "" || c.SecretName == "":
		return errors.New("dynamic certificates need the namespace and name of the CA's Secret")
	case len(c.DNSNames) == 0:
		return errors.New("dynamic certificates need at least one DNS name")
	case c.ConfigurationName == "":
		return errors.New("dynamic certificates need the name of the MutatingWebhookConfiguration")
	case c.LeafDuration < 0 || c.CADuration < 0 || c.ClockTolerance < 0:
		return errors.New("lives of certificates must be positive")
	case c.LeafDuration > c.CADuration:
		return fmt.Errorf("serving certificate's life %v exceeds the CA's %v", c.LeafDuration, c.CADuration)
	case c.Log == nil || c.Registerer == nil:
		return errors.New("dynamic certificates need a Log and a Registerer")
	}
	return nil
}

func defaultTo(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Dynamic is the source that manages its own CA; see the package's doc.
type Dynamic struct {
	log           *slog.Logger
	configuration *configuration
	authority     *authority
	keeper        *keeper
	source        *servertls.DynamicSource
	readiness     *readiness
}

// NewDynamic makes a [Dynamic]; [Dynamic.Run] starts it.
func NewDynamic(c DynamicConfig) (*Dynamic, error) {
	if c.REST == nil {
		return nil, errors.New("dynamic certificates need a REST configuration")
	}
	client, err := kubernetes.NewForConfig(c.REST)
	if err != nil {
		return nil, err
	}
	return newDynamic(c, client)
}

func newDynamic(c DynamicConfig, client kubernetes.Interface) (*Dynamic, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	d := &Dynamic{log: c.Log, configuration: newConfiguration(client, c.ConfigurationName)}
	if err := d.addKeeper(c, client); err != nil {
		return nil, err
	}
	var err error
	if d.authority, err = newAuthority(c, client, c.Log, d.keeper.loop.trigger); err != nil {
		return nil, err
	}
	gate := &gate{verify: d.configuration.verify, served: d.served, settle: bundleSettle, now: c.Now}
	d.source = &servertls.DynamicSource{DNSNames: c.DNSNames, Authority: gated{d.authority, gate}, RetryInterval: gateRetry}
	d.readiness = &readiness{
		served:  d.served,
		waiting: func() error { return cmp.Or(d.authority.waitingFor(), gate.waitingFor()) },
		verify:  d.configuration.verify,
		now:     c.Now,
	}
	if err := d.register(c.Registerer); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Dynamic) register(registerer prometheus.Registerer) error {
	return errors.Join(
		registerServed(registerer, d.served),
		registerTrusted(registerer, d.readiness.trusted),
		registerCA(registerer, d.authority.expires),
	)
}

func (d *Dynamic) addKeeper(c DynamicConfig, client kubernetes.Interface) error {
	writes, err := newBundleWrites(c.Registerer)
	if err != nil {
		return err
	}
	d.keeper = &keeper{
		configuration: d.configuration,
		client:        client.AdmissionregistrationV1().MutatingWebhookConfigurations(),
		needed:        d.needed,
		loop:          newLoop(),
		now:           c.Now,
		log:           c.Log,
		writes:        writes,
	}
	return notify(d.configuration.informer, d.keeper.loop.trigger)
}

// needed is what every bundle must hold for this replica: the CA of the next
// certificate, and that of the one being served.
func (d *Dynamic) needed() []*x509.Certificate {
	var leaf *x509.Certificate
	if cert, err := d.served(); err == nil {
		leaf = cert.Leaf
	}
	return d.authority.signers(leaf)
}

func (d *Dynamic) served() (*tls.Certificate, error) { return d.source.GetCertificate(nil) }

// GetCertificate implements [Source].
func (d *Dynamic) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return d.source.GetCertificate(hello)
}

// Ready implements [Source].
func (d *Dynamic) Ready() error { return d.readiness.check() }

// Run implements [Source].
func (d *Dynamic) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(withLibraryLog(ctx, d.log))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { d.configuration.run(ctx) })
	running.Go(func() { d.keeper.run(ctx) })
	return d.source.Start(ctx)
}

// withLibraryLog has cert-manager's code log at DEBUG (its errors as errors):
// it reports each attempt, and tells of steps that our own lines tell of.
func withLibraryLog(ctx context.Context, log *slog.Logger) context.Context {
	return logr.NewContext(ctx, logr.FromSlogHandler(log.Handler()).V(4))
}
