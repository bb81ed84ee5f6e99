package certs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// SecretConfig is what [NewSecret] needs.
type SecretConfig struct {
	REST              *rest.Config
	Namespace         string           // where the Secret is
	SecretName        string           // holds tls.crt and tls.key; it may come later
	ConfigurationName string           // the MutatingWebhookConfiguration whose caBundle must verify what we serve
	Now               func() time.Time // nil: the system's clock

	Log        *slog.Logger
	Registerer prometheus.Registerer
}

func (c *SecretConfig) complete() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Namespace == "" || c.SecretName == "":
		return errors.New("certificates from a Secret need its namespace and name")
	case c.ConfigurationName == "":
		return errors.New("certificates from a Secret need the name of the MutatingWebhookConfiguration")
	case c.Log == nil || c.Registerer == nil:
		return errors.New("certificates from a Secret need a Log and a Registerer")
	}
	return nil
}

// Secret is the source that serves what somebody else, cert-manager for one,
// issues into a Secret. It reads that Secret through a watch, so a renewed
// certificate is seen at once. It writes nothing: the bundle is injected by
// whoever issues.
type Secret struct {
	namespace, name string
	log             *slog.Logger
	configuration   *configuration
	informer        cache.SharedIndexInformer
	loop            *loop
	gate            *gate
	readiness       *readiness

	served  atomic.Pointer[tls.Certificate]
	problem atomic.Pointer[error] // with what the Secret holds
}

// NewSecret makes a [Secret]; [Secret.Run] starts it.
func NewSecret(c SecretConfig) (*Secret, error) {
	if c.REST == nil {
		return nil, errors.New("certificates from a Secret need a REST configuration")
	}
	client, err := kubernetes.NewForConfig(c.REST)
	if err != nil {
		return nil, err
	}
	return newSecret(c, client)
}

func newSecret(c SecretConfig, client kubernetes.Interface) (*Secret, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Secret{
		namespace:     c.Namespace,
		name:          c.SecretName,
		log:           c.Log,
		configuration: newConfiguration(client, c.ConfigurationName),
		informer:      coreinformers.NewFilteredSecretInformer(client, c.Namespace, 0, nil, only(c.SecretName)),
		loop:          newLoop(),
	}
	s.gate = &gate{verify: s.configuration.verify, served: s.current, settle: bundleSettle, now: c.Now}
	s.readiness = &readiness{served: s.current, waiting: s.waitingFor, verify: s.configuration.verify, now: c.Now}
	if err := errors.Join(
		notify(s.informer, s.loop.trigger),
		notify(s.configuration.informer, s.loop.trigger),
		registerServed(c.Registerer, s.current),
		registerTrusted(c.Registerer, s.readiness.trusted),
	); err != nil {
		return nil, err
	}
	return s, nil
}

// GetCertificate implements [Source].
func (s *Secret) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current() }

// Ready implements [Source].
func (s *Secret) Ready() error { return s.readiness.check() }

// Run implements [Source].
func (s *Secret) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.informer.RunWithContext(ctx) })
	running.Go(func() { s.configuration.run(ctx) })
	s.loop.run(ctx, s.sync, s.informer.HasSyncedChecker(), s.configuration.informer.HasSyncedChecker())
	return nil
}

func (s *Secret) current() (*tls.Certificate, error) {
	if cert := s.served.Load(); cert != nil {
		return cert, nil
	}
	return nil, servertls.ErrNotAvailable
}

func (s *Secret) waitingFor() error {
	if problem := s.problem.Load(); problem != nil {
		return *problem
	}
	return cmp.Or(s.gate.waitingFor(), fmt.Errorf("nothing was read from Secret %s/%s yet", s.namespace, s.name))
}

// sync takes up what the Secret holds. A Secret that is gone or of no use
// changes nothing about what is served.
func (s *Secret) sync(context.Context) (time.Duration, error) {
	cert, err := s.read()
	if err != nil {
		if previous := s.problem.Swap(&err); previous == nil || (*previous).Error() != err.Error() {
			s.log.Warn("No new serving certificate", "error", err)
		}
		return recheck, nil
	}
	s.problem.Store(nil)
	if served := s.served.Load(); served != nil && bytes.Equal(served.Leaf.Raw, cert.Leaf.Raw) {
		return recheck, nil
	}
	chain, err := chainOf(cert)
	if err != nil {
		return 0, err
	}
	if s.gate.pass(chain) != nil {
		return gateRetry, nil // Ready tells why
	}
	s.served.Store(cert)
	s.log.Info("Serving another certificate", "secret", s.name, "expires", cert.Leaf.NotAfter)
	return recheck, nil
}

func (s *Secret) read() (*tls.Certificate, error) {
	obj, exists, err := s.informer.GetStore().GetByKey(s.namespace + "/" + s.name)
	if err != nil {
		return nil, err
	}
	secret, ok := obj.(*corev1.Secret)
	if !exists || !ok {
		return nil, fmt.Errorf("there is no Secret %s/%s yet", s.namespace, s.name)
	}
	// The cause is left out: it could quote what it did not understand.
	cert, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("tls.crt and tls.key of Secret %s/%s do not parse or do not fit", s.namespace, s.name)
	}
	return &cert, nil
}
