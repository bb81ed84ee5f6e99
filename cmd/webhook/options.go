package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"keyroll.dev/certs"
	"keyroll.dev/internal/annotation"
)

// options are the flags.
type options struct {
	kubeconfig    string
	namespace     string
	configuration string
	listen        string
	observe       string
	pprof         bool
	drain         time.Duration
	linger        time.Duration
	dnsNames      dnsNames
	caSecret      string
	caDuration    time.Duration
	leafDuration  time.Duration
	certSecret    string
	certFile      string
	keyFile       string
	tenantID      string
	logLevel      slog.Level
	version       bool
}

func (o *options) addFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file`; empty: the pod's own ServiceAccount")
	fs.StringVar(&o.namespace, "namespace", "keyroll-system", "`namespace` of the release: the CA's Secret is there")
	fs.StringVar(&o.configuration, "configuration", "akv-keyroll", "`name` of the MutatingWebhookConfiguration whose caBundle is kept; webhooks run in the order of these names")
	fs.StringVar(&o.listen, "listen", ":9443", "`address` of the webhook")
	fs.StringVar(&o.observe, "observe", ":8080", "`address` of /healthz, /readyz and /metrics")
	fs.BoolVar(&o.pprof, "pprof", false, "serve /debug/pprof/ beside the metrics; it shows memory")
	fs.DurationVar(&o.drain, "drain", 3*time.Second, "go on answering for this long after SIGTERM, while not ready any more")
	fs.DurationVar(&o.linger, "linger", 92*time.Second, "then wait for clients to close their connections, for this long at most; the API server closes one that was idle for 90s")
	fs.Var(&o.dnsNames, "dns-names", "`names` in the serving certificate, separated by commas; empty: those of Service keyroll-webhook in --namespace")
	fs.StringVar(&o.caSecret, "ca-secret", "keyroll-webhook-ca", "`name` of the Secret that holds our CA; made when missing")
	fs.DurationVar(&o.caDuration, "ca-duration", certs.DefaultCADuration, "life of the CA; it is renewed when two thirds are over")
	fs.DurationVar(&o.leafDuration, "leaf-duration", 0, "life of the serving certificate; it is renewed when two thirds are over; 0: 168h, or --ca-duration if that is shorter")
	fs.StringVar(&o.certSecret, "cert-secret", "", "`name` of a Secret in --namespace to take the serving certificate from, as cert-manager keeps it; the caBundle is then its business too")
	fs.StringVar(&o.certFile, "cert-file", "", "`file` to take the serving certificate from, with --key-file; the caBundle is then yours to keep")
	fs.StringVar(&o.keyFile, "key-file", "", "`file` with the key of --cert-file")
	fs.StringVar(&o.tenantID, "tenant-id", "", "directory `id` where nothing else names one; the same as the watcher's")
	fs.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error; debug tells of every request")
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
}

func (o *options) validate() error {
	var errs []error
	needed := []struct{ flag, value string }{
		{"namespace", o.namespace}, {"configuration", o.configuration}, {"listen", o.listen},
		{"observe", o.observe}, {"ca-secret", o.caSecret},
	}
	for _, n := range needed {
		if n.value == "" {
			errs = append(errs, fmt.Errorf("--%s must not be empty", n.flag))
		}
	}
	if o.drain < 0 || o.linger < 0 {
		errs = append(errs, errors.New("--drain and --linger must not be negative"))
	}
	if o.caDuration <= 0 {
		errs = append(errs, errors.New("--ca-duration must be positive"))
	}
	if o.leafDuration < 0 || o.leafDuration > o.caDuration {
		errs = append(errs, errors.New("--leaf-duration must not be negative, and at most --ca-duration"))
	}
	if (o.certFile == "") != (o.keyFile == "") {
		errs = append(errs, errors.New("--cert-file and --key-file need one another"))
	}
	if o.certFile != "" && o.certSecret != "" {
		errs = append(errs, errors.New("--cert-file and --cert-secret exclude one another"))
	}
	if o.tenantID != "" {
		if err := annotation.CheckTenantID(o.tenantID); err != nil {
			errs = append(errs, fmt.Errorf("--tenant-id %w", err))
		}
	}
	return errors.Join(errs...)
}

// names are the serving certificate's.
func (o *options) names() []string {
	if len(o.dnsNames) > 0 {
		return o.dnsNames
	}
	service := "keyroll-webhook." + o.namespace
	return []string{service + ".svc", service, service + ".svc.cluster.local"}
}

// dnsNames is a list separated by commas.
type dnsNames []string

// String implements [flag.Value].
func (d *dnsNames) String() string { return strings.Join(*d, ",") }

// Set implements [flag.Value].
func (d *dnsNames) Set(s string) error {
	*d = nil
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*d = append(*d, name)
		}
	}
	return nil
}
