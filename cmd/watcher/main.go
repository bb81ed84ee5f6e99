// Command watcher keeps generated SecretProviderClasses in existence and rolls
// workloads whose pods run on older content than the vault holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"keyroll.dev/internal/kube"
	"keyroll.dev/internal/process"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher"
)

func main() { process.Main("watcher", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	fs := flag.NewFlagSet("watcher", flag.ContinueOnError)
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
	o.settled()
	return serve(ctx, o, stderr)
}

// serve runs the controller, and beside it what shows how it does.
func serve(ctx context.Context, o options, stderr io.Writer) error {
	log := process.NewLogger(stderr, o.logLevel)
	ctx = process.WithLogger(ctx, log)
	registry := process.NewRegistry()
	config, err := configOf(ctx, o, log)
	if err != nil {
		return err
	}
	config.Registerer = registry
	controller, err := watcher.New(ctx, config)
	if err != nil {
		return err
	}
	observer, err := process.NewObserver(process.ObserverConfig{
		Addr: o.observe, Gatherer: registry, Ready: controller.Ready, PProf: o.pprof, Log: log,
	})
	if err != nil {
		return err
	}
	log.Info("Watcher starts", "version", process.Version(), "namespace", o.namespace, "observe", observer.Addr().String())
	return both(ctx, controller.Run, observer.Run)
}

// both runs two parts; when one ends, the other is told to.
func both(ctx context.Context, first, second func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- second(ctx)
	}()
	err := first(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// configOf makes the clients.
func configOf(ctx context.Context, o options, log *slog.Logger) (watcher.Config, error) {
	cfg, err := process.RESTConfig(o.kubeconfig, float32(o.qps), o.burst)
	if err != nil {
		return watcher.Config{}, err
	}
	// What the webhook warns of is told to people, and a re-submission of theirs is not theirs.
	cfg.WarningHandler = rest.NoWarnings{}
	// Kubernetes 1.37 compresses streamed lists, and every event that comes after
	// them, for whoever takes gzip: CPU time of both sides for a network that is near.
	cfg.DisableCompression = true
	driver, err := secretsstore.NewClient(cfg)
	if err != nil {
		return watcher.Config{}, err
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return watcher.Config{}, fmt.Errorf("metadata client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return watcher.Config{}, fmt.Errorf("dynamic client: %w", err)
	}
	// Pods and Secrets are many: they are read in the smaller encoding.
	cfg.ContentType, cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	api, err := kube.NewClient(cfg)
	if err != nil {
		return watcher.Config{}, err
	}
	owners, err := o.ownerKinds.find(ctx, api, log)
	if err != nil {
		return watcher.Config{}, err
	}
	lease := o.lease
	if lease.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return watcher.Config{}, fmt.Errorf("name this replica (or give --identity): %w", err)
		}
		lease.Identity = host + "_" + string(uuid.NewUUID())
	}
	return watcher.Config{
		Kube:           api,
		Metadata:       meta,
		Dynamic:        dyn,
		Driver:         driver,
		Namespace:      o.namespace,
		Lease:          lease,
		Rollout:        o.rollout,
		OwnerKinds:     owners,
		Rotation:       o.rotation,
		ClassRetention: o.retention,
		Fallback:       o.fallback(),
		SecretTrigger:  o.secretTrigger,
		HonorReloader:  o.honorReloader,
		Log:            log,
	}, nil
}
