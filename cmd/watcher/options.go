package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/watcher"
	"keyroll.dev/watcher/rollout"
)

// options are the flags.
type options struct {
	kubeconfig string
	namespace  string
	observe    string
	pprof      bool
	logLevel   slog.Level
	version    bool
	qps        float64
	burst      int

	lease         watcher.Lease
	rollout       rollout.Options
	rotation      time.Duration
	retention     time.Duration
	secretTrigger bool
	honorReloader bool
	tenantID      string
	ownerKinds    kinds
}

// reactionTime is how long after a rotation interval all mounts have certainly
// been polled: kubelet looks at a pod every 60 to 90 seconds.
const reactionTime = 2 * time.Minute

func (o *options) addFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file`; empty: the pod's own ServiceAccount")
	fs.StringVar(&o.namespace, "namespace", "keyroll-system", "`namespace` of the release: lease, baselines and digest key are there")
	fs.StringVar(&o.observe, "observe", ":8080", "`address` of /healthz, /readyz and /metrics")
	fs.BoolVar(&o.pprof, "pprof", false, "serve /debug/pprof/ beside the metrics; it shows memory")
	fs.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
	fs.Float64Var(&o.qps, "qps", -1, "requests a second to the API server, at most, over time; negative: as many as its own priority and fairness allows")
	fs.IntVar(&o.burst, "burst", 100, "requests at once to the API server, at most, where --qps limits them")

	fs.StringVar(&o.lease.Name, "lease", "keyroll-watcher", "`name` of the Lease by which replicas agree on one that acts")
	fs.StringVar(&o.lease.Identity, "identity", "", "`name` of this replica in the lease; empty: the host's name and a random part")
	fs.DurationVar(&o.lease.Duration, "lease-duration", 15*time.Second, "after this long without renewal another replica takes over")
	fs.DurationVar(&o.lease.Renew, "renew-deadline", 10*time.Second, "a leader that could not renew for this long gives up")
	fs.DurationVar(&o.lease.Retry, "retry-period", 2*time.Second, "pause between two renewals of the lease, and after a failed try to get it")

	fs.DurationVar(&o.rollout.Settle, "settle", 2*time.Second, "gather changes for this long, so that objects rotated together roll a workload once")
	fs.DurationVar(&o.rollout.SettleMax, "settle-max", 0, "roll after this long although a synced Secret has not settled, at most 6m later where it is about to; 0: --rotation-interval and 2m")
	fs.DurationVar(&o.rotation, "rotation-interval", 2*time.Minute, "the driver's --rotation-poll-interval")
	fs.DurationVar(&o.rollout.MinInterval, "min-interval", 0, "pause between two rollouts of one workload, at least")
	fs.IntVar(&o.rollout.MaxParallel, "max-parallel", 10, "rollouts under way at once, at most; 0: no limit")
	fs.DurationVar(&o.rollout.StuckAfter, "stuck-after", 10*time.Minute, "a rollout without progress for this long is reported and frees its place; 0: never")
	fs.DurationVar(&o.rollout.ClockSkew, "clock-skew", time.Minute, "by how much the clocks of nodes and API server may differ; a start that close to a change counts as before it")
	fs.DurationVar(&o.retention, "class-retention", time.Hour, "keep a generated SecretProviderClass for this long after the last that needed it")
	fs.BoolVar(&o.secretTrigger, "secret-trigger", true, "watch the Secrets that the driver fills; false: no access to Secrets, env is judged by the driver's statuses alone, and no class is made for a Secret that a workload names")
	fs.BoolVar(&o.honorReloader, "honor-reloader-annotations", false, "roll workloads by the annotations of Stakater's Reloader too, for SecretProviderClasses "+
		"and the Secrets that the driver fills; without --secret-trigger, Secrets are known by their classes alone")
	fs.Var(&o.ownerKinds, "owner-kinds", "`kinds` of workloads to roll besides Deployments, StatefulSets and DaemonSets, as Kind.version.group "+
		"separated by commas, such as Rollout.v1alpha1.argoproj.io; their template must be at spec.template")
	fs.StringVar(&o.tenantID, "tenant-id", "", "directory `id` where nothing else names one; the same as the webhook's")
}

func (o *options) validate() error {
	var errs []error
	positive := map[string]time.Duration{
		"rotation-interval": o.rotation, "lease-duration": o.lease.Duration, "renew-deadline": o.lease.Renew, "retry-period": o.lease.Retry,
	}
	for name, value := range positive {
		if value <= 0 {
			errs = append(errs, fmt.Errorf("--%s must be longer than nothing, not %s", name, value))
		}
	}
	notNegative := map[string]time.Duration{
		"settle": o.rollout.Settle, "settle-max": o.rollout.SettleMax, "min-interval": o.rollout.MinInterval,
		"stuck-after": o.rollout.StuckAfter, "clock-skew": o.rollout.ClockSkew, "class-retention": o.retention,
	}
	for name, value := range notNegative {
		if value < 0 {
			errs = append(errs, fmt.Errorf("--%s must not be negative", name))
		}
	}
	switch {
	case o.namespace == "":
		errs = append(errs, errors.New("--namespace must name the release's namespace"))
	case o.lease.Name == "":
		errs = append(errs, errors.New("--lease must name a Lease"))
	case o.lease.Duration <= o.lease.Renew || o.lease.Renew <= o.lease.Retry:
		errs = append(errs, errors.New("--lease-duration must be longer than --renew-deadline, and that longer than --retry-period"))
	case !(o.qps < 0 || o.qps > 0 && o.burst > 0):
		errs = append(errs, errors.New("--qps must be a number of requests with a --burst of at least 1, or negative for no limit"))
	case o.rollout.MaxParallel < 0:
		errs = append(errs, errors.New("--max-parallel must not be negative"))
	}
	if o.tenantID != "" {
		if err := annotation.CheckTenantID(o.tenantID); err != nil {
			errs = append(errs, fmt.Errorf("--tenant-id %w", err))
		}
	}
	return errors.Join(errs...)
}

// settled fills in what follows from other options.
func (o *options) settled() {
	if o.rollout.SettleMax == 0 {
		o.rollout.SettleMax = o.rotation + reactionTime
	}
}

func (o *options) fallback() dependency.Fallback { return dependency.Fallback{TenantID: o.tenantID} }
