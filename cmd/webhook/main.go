// Command webhook answers the API server's admission reviews for pods and
// workloads that ask for Key Vault secrets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"keyroll.dev/certs"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/process"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/webhook"
)

const (
	// timeout is shorter than the API server's timeoutSeconds, 5 by our manifests.
	timeout = 4 * time.Second
	// patience is longer than a healthy watch lags, and short enough for kubectl
	// apply with a mistake in it.
	patience = 400 * time.Millisecond
)

func main() { process.Main("webhook", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	fs := flag.NewFlagSet("webhook", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, process.Version())
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err := o.validate(); err != nil {
		return err
	}
	log := process.NewLogger(stderr, o.logLevel)
	parts, err := build(o, log)
	if err != nil {
		return err
	}
	log.Info("Webhook starts", "version", process.Version(),
		"listen", parts.server.Addr().String(), "observe", parts.observer.Addr().String())
	return parts.run(process.WithLogger(ctx, log))
}

// parts are what runs at the same time.
type parts struct {
	caches   *webhook.Caches
	source   certs.Source
	ordering *webhook.Ordering
	server   *webhook.Server
	observer *process.Observer
}

func build(o options, log *slog.Logger) (*parts, error) {
	cfg, err := process.RESTConfig(o.kubeconfig, 20, 40)
	if err != nil {
		return nil, err
	}
	registry := process.NewRegistry()
	p := &parts{}
	if err := p.addCaches(o, cfg, log, registry); err != nil {
		return nil, err
	}
	if p.source, err = newSource(o, cfg, log, registry); err != nil {
		return nil, err
	}
	handler, err := webhook.New(webhook.Config{
		Cluster: p.caches, Fallback: dependency.Fallback{TenantID: o.tenantID},
		Timeout: timeout, Patience: patience, Log: log, Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	p.server, err = webhook.NewServer(webhook.ServerConfig{
		Addr: o.listen, Handler: handler, GetCertificate: p.source.GetCertificate, Drain: o.drain, Linger: o.linger, Log: log,
	})
	if err != nil {
		return nil, err
	}
	p.observer, err = process.NewObserver(process.ObserverConfig{
		Addr: o.observe, Gatherer: registry, Ready: p.ready, Note: p.ordering.Note, PProf: o.pprof, Log: log,
	})
	return p, err
}

// newSource makes the source of the serving certificate: the Secret or file
// that is named, else a CA of our own.
func newSource(o options, cfg *rest.Config, log *slog.Logger, registry prometheus.Registerer) (certs.Source, error) {
	switch {
	case o.certSecret != "":
		return certs.NewSecret(certs.SecretConfig{
			REST: cfg, Namespace: o.namespace, SecretName: o.certSecret, ConfigurationName: o.configuration,
			Log: log, Registerer: registry,
		})
	case o.certFile != "":
		return certs.NewFile(certs.FileConfig{CertFile: o.certFile, KeyFile: o.keyFile, Log: log, Registerer: registry})
	}
	return certs.NewDynamic(certs.DynamicConfig{
		REST: cfg, Namespace: o.namespace, SecretName: o.caSecret, DNSNames: o.names(), ConfigurationName: o.configuration,
		CADuration: o.caDuration, LeafDuration: o.leafDuration, Log: log, Registerer: registry,
	})
}

// addCaches makes what asks the API server for the webhook's own needs.
func (p *parts) addCaches(o options, cfg *rest.Config, log *slog.Logger, registry prometheus.Registerer) error {
	store, err := secretsstore.NewClient(cfg)
	if err != nil {
		return err
	}
	// ServiceAccounts are many: they are read in the smaller encoding.
	small := rest.CopyConfig(cfg)
	small.ContentType, small.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(small)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if p.caches, err = webhook.NewCaches(client, store); err != nil {
		return err
	}
	p.ordering, err = webhook.NewOrdering(webhook.OrderingConfig{
		Client: client, Configuration: o.configuration, Log: log, Registerer: registry,
	})
	return err
}

// ready is nil when a review can be answered and the API server trusts us.
func (p *parts) ready() error {
	return errors.Join(p.server.Ready(), p.caches.Ready(), p.source.Ready())
}

// run runs all parts.
func (p *parts) run(ctx context.Context) error {
	return together(ctx, p.server.Run, p.caches.Run, p.source.Run, p.ordering.Run, p.observer.Run)
}

// together runs the server and what supports it. When ctx ends, the server ends
// first: what it needs to answer the last requests goes on until then. When a
// part ends by itself, all of them end.
func together(ctx context.Context, server func(context.Context) error, supports ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	supported, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	ended := make(chan error, len(supports))
	for _, support := range supports {
		go func() {
			defer stop()
			ended <- support(supported)
		}()
	}
	errs := []error{server(ctx)}
	release()
	for range supports {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}
