// Package watcher keeps every pod on the content that the vault now holds.
//
//	informers ─► views (only what decisions need) ─► indexes: who depends on what changed
//	                                                     │
//	          ┌─────────────── queues, one key once ◄────┘
//	          ├─ class      provide: generated SecretProviderClasses exist, or are collected
//	          ├─ template   what class will its pods ask for
//	          ├─ mend       send what the webhook missed through it again
//	          ├─ fan-out    a class with synced Secrets concerns all its consumers, once a second
//	          ├─ lag        mounts that the driver left behind
//	          ├─ baseline   what pods run on, written for those who come after
//	          └─ workload   gather a rollout.State ─► rollout.Decide ─► one guarded patch, Event, metrics
//
// Caches are warm in every replica; only the one that holds the lease has and
// works on the queues. What a process remembers of a workload (notes) refines decisions
// and may be lost: the next leader comes to the same answers from the cluster
// alone. After the first list of each kind nothing is listed again; who names a Secret
// by keyroll.dev/secret has that one looked for, by name.
package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/prometheus/client_golang/prometheus"

	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/kube"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// Config is what a [Controller] needs.
type Config struct {
	Kube     *kube.Client
	Metadata metadata.Interface // for patches: of any kind, answered in little
	Dynamic  dynamic.Interface  // for OwnerKinds
	Driver   *secretsstore.Client

	Namespace      string // of the release: the lease, the digest key
	Lease          Lease
	Rollout        rollout.Options
	OwnerKinds     []OwnerKind         // workloads besides Deployments, StatefulSets and DaemonSets
	Rotation       time.Duration       // the driver's poll interval
	ClassRetention time.Duration       // how long a class of ours that nothing needs is kept
	Fallback       dependency.Fallback // the same as the webhook's
	SecretTrigger  bool                // false: no access to Secrets at all
	HonorReloader  bool                // roll workloads by Reloader's annotations too
	Workers        int                 // decisions, and patches, at once; 0: 32

	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Controller is the watcher. Run it once.
type Controller struct {
	config    Config
	caches    *caches
	workloads *queue[key]
	fans      *queue[classKey]
	provider  *provider
	mender    *mender
	laggards  *laggards
	keeper    *keeper
	applier   *applier
	pace      *pace
	notes     notes
	seen      sightings
	recorders *recorders
	tell      *teller
	metrics   *metrics
	log       *slog.Logger
	synced    []named
	leads     atomic.Bool // it is this replica that tells
}

// named is a cache that is waited for before anything is decided.
type named struct {
	name   string
	synced func() bool
}

// patchTimeout bounds one write: an admission webhook that hangs holds up one
// worker for no longer.
const patchTimeout = 35 * time.Second

// firstRetry and lastRetry bound how long a refused patch waits to be sent again.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 5 * time.Minute
)

// catchUp is how long a cache may lag behind a patch of ours, of which a watch that
// hangs is a part. One that shows less after that tells of a cluster that was restored
// from before the patch. Should it lag for longer, a patch that is made upon it is refused.
const catchUp = 2 * time.Minute

// fanDelay is how long the events of one class are gathered before all
// consumers of its Secrets are looked at.
const fanDelay = time.Second

// New reads or makes the digest key, and prepares everything but starts nothing.
func New(ctx context.Context, c Config) (*Controller, error) {
	switch {
	case c.Kube == nil || c.Metadata == nil || c.Driver == nil || c.Dynamic == nil && len(c.OwnerKinds) > 0:
		return nil, errors.New("watcher needs its clients")
	case c.Namespace == "":
		return nil, errors.New("watcher needs the namespace that it runs in")
	case c.Lease.Name == "" || c.Lease.Identity == "":
		return nil, errors.New("watcher needs a lease name and an identity")
	case c.Log == nil || c.Registerer == nil:
		return nil, errors.New("watcher needs a logger and a registerer")
	case c.ClassRetention < 0:
		return nil, errors.New("class retention must not be negative")
	}
	if c.Workers == 0 {
		c.Workers = 32
	}
	var digests *digester
	if c.SecretTrigger {
		key, err := installationKey(ctx, c.Kube, c.Namespace)
		if err != nil {
			return nil, err
		}
		digests = &key
	}
	w := build(c, digests)
	var err error
	if w.caches.uncounted, err = hasStatusSubresource(ctx, c.Kube); err != nil {
		return nil, err
	}
	if w.caches.uncounted {
		c.Log.Warn("The CRD of SecretProviderClassPodStatus has a status subresource: rotations while no watcher runs cannot be told by it")
	}
	if c.HonorReloader && !c.SecretTrigger {
		c.Log.Warn("Reloader's annotations are honored without access to Secrets: those that match or are named are known by their SecretProviderClass alone")
	}
	return w, nil
}

func build(c Config, digests *digester) *Controller {
	events := newRecorders()
	queues := newQueueMetrics(c.Registerer)
	w := &Controller{
		config:    c,
		caches:    newCaches(c, digests),
		workloads: newQueue[key]("workload", firstRetry, lastRetry, queues),
		fans:      newQueue[classKey]("fanout", time.Second, time.Minute, queues),
		applier:   &applier{client: c.Metadata, resources: resourcesOf(c.OwnerKinds)},
		pace:      newPace(c.Rollout.MaxParallel),
		recorders: events,
		tell:      &teller{recorders: events},
		metrics:   newMetrics(c.Registerer, c.OwnerKinds),
		log:       c.Log,
	}
	w.provider = &provider{
		caches:    w.caches,
		client:    c.Driver,
		metadata:  c.Metadata,
		fallback:  c.Fallback,
		retention: c.ClassRetention,
		classes:   newQueue[classKey]("class", 250*time.Millisecond, time.Minute, queues),
		templates: newQueue[key]("template", time.Second, time.Minute, queues),
		resolved:  func(k key) { w.workloads.Add(k) },
		tell:      w.tell,
		metrics:   w.metrics,
		log:       c.Log,
		wanted:    map[key]dependency.Record{},
		askers:    map[classKey]map[key]bool{},
		idle:      map[classKey]time.Time{},
	}
	w.mender = &mender{
		caches: w.caches, applier: w.applier, tell: w.tell, metrics: w.metrics, log: c.Log,
		queue: newQueue[key]("mend", 2*time.Second, 10*time.Minute, queues),
	}
	w.laggards = &laggards{
		caches: w.caches, tell: w.tell, metrics: w.metrics,
		queue:   newQueue[classKey]("lag", time.Second, time.Minute, queues),
		patient: c.Rotation + lagSlack,
		counts:  map[classKey]int{},
		newest:  map[classKey]map[string]string{},
	}
	w.keeper = &keeper{
		caches: w.caches, client: c.Kube, namespace: c.Namespace, log: c.Log, keyName: digests.name(),
		queue: newQueue[string]("baseline", time.Second, time.Minute, queues),
	}
	w.subscribe()
	return w
}

// lagSlack is how much longer than the driver's poll interval a mount may stay
// behind others: kubelet's own period, a failed call that is tried again.
const lagSlack = 3 * time.Minute

// resourcesOf tells where objects of each kind are patched.
func resourcesOf(owners []OwnerKind) map[schema.GroupKind]schema.GroupVersionResource {
	resources := map[schema.GroupKind]schema.GroupVersionResource{
		deployments.GroupKind():  deployments.GroupVersion().WithResource("deployments"),
		statefulSets.GroupKind(): statefulSets.GroupVersion().WithResource("statefulsets"),
		daemonSets.GroupKind():   daemonSets.GroupVersion().WithResource("daemonsets"),
		replicaSets.GroupKind():  replicaSets.GroupVersion().WithResource("replicasets"),
		cronJobs.GroupKind():     cronJobs.GroupVersion().WithResource("cronjobs"),
	}
	for _, o := range owners {
		resources[o.Kind.GroupKind()] = o.Resource
	}
	return resources
}

// Ready answers nil once every cache holds what the cluster has.
func (c *Controller) Ready() error {
	var waiting []string
	for _, one := range c.synced {
		if !one.synced() {
			waiting = append(waiting, one.name)
		}
	}
	if len(waiting) > 0 {
		return fmt.Errorf("waiting for the first list of %s", strings.Join(waiting, ", "))
	}
	return nil
}

// Run works until ctx ends. It returns an error when the lease was lost: the
// process is to start afresh then.
func (c *Controller) Run(ctx context.Context) error {
	// Informers go on until the last patch is out.
	informing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	for _, informer := range c.caches.informers() {
		group.Go(func() { informer.RunWithContext(informing) })
	}
	if !c.awaitCaches(ctx) {
		return nil
	}
	c.recorders.start(eventSink{c.config.Kube})
	defer c.recorders.shutdown()
	err := lead(ctx, c.config.Kube.Leases(c.config.Namespace), c.config.Lease, c.log, c.work)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrites)
	defer cancel()
	c.recorders.end(last)
	return err
}

// awaitCaches answers false when ctx ended first.
func (c *Controller) awaitCaches(ctx context.Context) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for c.Ready() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	c.log.Info("Caches are warm")
	return true
}

// work is what the leader does.
func (c *Controller) work(ctx context.Context) {
	c.log.Info("Leading")
	c.metrics.leading.Set(1)
	defer c.metrics.leading.Set(0)
	c.open()
	c.keeper.load(time.Now())
	c.survey()
	c.begin()
	var group sync.WaitGroup
	group.Go(func() { c.provider.templates.work(ctx, 2, c.provider.syncTemplate, failed[key](c.log, "template")) })
	group.Go(func() { c.provider.classes.work(ctx, 4, c.provider.syncClass, failed[classKey](c.log, "class")) })
	group.Go(func() { c.mender.queue.work(ctx, 2, c.mender.sync, failed[key](c.log, "mend")) })
	group.Go(func() { c.laggards.queue.work(ctx, 1, c.laggards.sync, failed[classKey](c.log, "lag")) })
	group.Go(func() { c.fans.work(ctx, 1, c.fanOut, failed[classKey](c.log, "fanout")) })
	group.Go(func() { c.keeper.queue.work(ctx, 1, c.keeper.sync, failed[string](c.log, "baseline")) })
	group.Go(func() { c.workloads.work(ctx, c.config.Workers, c.look, failed[key](c.log, "workload")) })
	group.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrites)
	defer cancel()
	c.keeper.flush(last)
	c.log.Info("Stopped leading")
}

// open has the queues take in what informers tell from now on.
func (c *Controller) open() {
	c.provider.templates.open()
	c.provider.classes.open()
	c.mender.queue.open()
	c.laggards.queue.open()
	c.fans.open()
	c.keeper.queue.open()
	c.workloads.open()
}

// lastWrites bounds what is written after the end was asked for.
const lastWrites = 5 * time.Second

// failed logs what a queue tries again.
func failed[K comparable](log *slog.Logger, queue string) func(K, error) {
	return func(k K, err error) {
		log.Warn("Try failed, comes again", "queue", queue, "object", fmt.Sprint(k), "error", err.Error())
	}
}

// survey finds the rollouts that an earlier leader started and that still hold
// a place, so that this one does not start too many beside them.
func (c *Controller) survey() {
	for _, s := range c.caches.workloads {
		for _, w := range s.all() {
			if w.stamp() == "" {
				continue
			}
			n := c.notes.of(w.key(), w.UID)
			if c.decide(time.Now(), w, n).Underway {
				c.pace.hold(w.key())
			}
		}
	}
}

// look decides on one workload and does what was decided.
func (c *Controller) look(ctx context.Context, k key) error {
	w := c.caches.workload(k)
	if w == nil {
		c.forget(k)
		return nil
	}
	if c.notes.another(k, w.UID) {
		c.forget(k)
	}
	n, now := c.notes.of(k, w.UID), time.Now()
	if wait := n.began.Add(catchUp).Sub(now); w.Generation < n.patched && wait > 0 {
		c.workloads.AddAfter(k, wait) // the cache has yet to show our own patch; that it does brings us back before
		return nil
	}
	d := c.decide(now, w, n)
	n.memory = d.Memory
	if d.Counts.Stale == 0 {
		n.refused, n.retryAt = 0, time.Time{}
		c.tell.settled(w)
	}
	c.follow(now, w, n, d)
	if wait := c.tell.decided(w, d, now.Sub(n.reasoned)); wait > 0 {
		c.workloads.AddAfter(k, wait)
	}
	c.examine(now, w, n)
	c.besideReloader(now, w, n)
	if d.Action == rollout.Roll {
		return c.roll(ctx, now, w, n, d)
	}
	c.keep(now, w, n, d.Baseline)
	if d.After > 0 {
		c.workloads.AddAfter(k, d.After)
	}
	if d.Underway && c.config.Rollout.StuckAfter > 0 {
		// That nothing happens wakes nobody, and is what a stuck rollout does.
		c.workloads.AddAfter(k, c.config.Rollout.StuckAfter+time.Second)
	}
	return nil
}

func (c *Controller) decide(now time.Time, w *workload, n *note) rollout.Decision {
	state := c.caches.gather(w, func(namespace, name, digest string) time.Time {
		return c.seen.note(namespace, name, digest, now)
	})
	state.Underway, state.Memory, state.Baseline = c.pace.ahead(w.key()), n.memory, n.baseline
	state.Patched, state.Writer = n.stamp, n.writer
	if !w.fixed {
		state.Baseline = c.keeper.get(w)
	}
	if w.rolled.IsZero() && n.tracked != "" && n.tracked == w.stamp() {
		state.Workload.Rolled = n.began // somebody has cleared the managedFields
	}
	return rollout.Decide(now, state, c.config.Rollout)
}

// keep keeps a workload's baseline for the next look, and for the watchers that
// come after. What nobody can roll needs it only as long as this one runs.
func (c *Controller) keep(now time.Time, w *workload, n *note, b rollout.Baseline) {
	if w.fixed {
		n.baseline = b
		return
	}
	c.keeper.put(w, b, now)
}

// examine tells what else is wrong with the workload's pods.
func (c *Controller) examine(now time.Time, w *workload, n *note) {
	h := c.caches.examine(now, w)
	c.metrics.missed.Add(float64(len(h.missed) - n.missed))
	n.missed = len(h.missed)
	c.tell.examined(w, h)
	c.tell.newDefaults(w, c.caches.newDefaults(w, c.provider.wants(w.key())))
	if h.again > 0 {
		c.workloads.AddAfter(w.key(), h.again)
	}
}

// besideReloader tells which of Reloader's annotations are not honored, and
// where Reloader itself rolls a workload that is rolled here.
func (c *Controller) besideReloader(now time.Time, w *workload, n *note) {
	lines, wait := c.caches.unhonored(now, w)
	c.tell.unhonored(w, lines)
	if wait > 0 {
		c.workloads.AddAfter(w.key(), wait)
	}
	if n.rolledByReloader(w, func() map[string]bool { return c.caches.rolledFor(w) }) {
		c.tell.reloaderActive(w)
	}
}

// follow keeps the places, the line and the metrics in step with a decision,
// and tells of the end of a rollout.
func (c *Controller) follow(now time.Time, w *workload, n *note, d rollout.Decision) {
	c.place(w, n, d)
	switch {
	case n.tracked == "":
	case n.tracked != w.stamp(): // somebody else's rollout took its place
		n.tracked = ""
	case d.Done:
		c.finished(now, w, n, d)
	case d.Stuck && !n.decided.Stuck:
		c.metrics.rollouts.WithLabelValues(w.kind.Kind, rolloutStuck).Inc()
		c.log.Warn("Rollout is stuck", w.attrs()...)
	}
	stuck := d.Stuck && (n.tracked != "" || d.Counts.Stale > 0)
	c.tell.stuck(w, d, stuck, func() string { return c.caches.stuckOn(w) })
	c.metrics.held(n.stuck, stuck)
	n.stuck = stuck
	if n.decided.Reason != d.Reason {
		n.reasoned = now
	}
	c.metrics.moved(n.decided, d)
	n.decided = d
	c.metrics.paced(c.pace)
}

// place gives, keeps or takes away the workload's place among the rollouts that
// are under way. One that is about to begin takes its own, in its turn.
func (c *Controller) place(w *workload, n *note, d rollout.Decision) {
	k := w.key()
	if d.Underway {
		c.pace.hold(k)
		if n.tracked == "" {
			n.tracked = w.stamp()
		}
	} else {
		c.enqueue(c.pace.free(k)...)
	}
	switch {
	case d.Action == rollout.Roll:
	case d.Reason == rollout.TooManyRollouts:
		c.pace.queue(k)
	default:
		c.enqueue(c.pace.leave(k)...)
	}
}

func (c *Controller) finished(now time.Time, w *workload, n *note, d rollout.Decision) {
	n.tracked = ""
	c.metrics.rollouts.WithLabelValues(w.kind.Kind, rolloutDone).Inc()
	if !n.rotated.IsZero() {
		c.metrics.toDone.Observe(now.Sub(n.rotated).Seconds())
	}
	c.log.Info("Rollout done", append(w.attrs(), "pods", d.Counts.Fresh)...)
	n.rotated = time.Time{}
	began := w.rolled
	if began.IsZero() {
		began = n.began
	}
	c.tell.done(w, d.Counts.Fresh, now.Sub(began))
}

// roll sends the one patch. A workload that cannot be patched gives its place
// back, unless the rollout before still holds it, and comes again by itself.
func (c *Controller) roll(ctx context.Context, now time.Time, w *workload, n *note, d rollout.Decision) error {
	k := w.key()
	if rest := n.retryAt.Sub(now); rest > 0 {
		c.enqueue(c.pace.leave(k)...) // those in line behind it do not wait for that
		c.workloads.AddAfter(k, rest)
		return nil
	}
	if !c.pace.take(k) {
		return nil // in line; whoever frees a place brings it back
	}
	patching, cancel := finishing(ctx)
	defer cancel()
	patched, err := c.applier.roll(patching, w, d.Stamp, d.Cause)
	if err != nil {
		if !d.Underway {
			c.enqueue(c.pace.free(k)...)
		}
		return c.refused(w, n, err)
	}
	n.patched, n.stamp, n.writer = patched.Generation, d.Stamp, templateWriter(patched.ManagedFields)
	n.tracked, n.began, n.rotated = d.Stamp, now, d.Rotated
	n.refused = 0
	c.keep(now, w, n, d.Baseline)
	c.metrics.rollouts.WithLabelValues(w.kind.Kind, rolloutStarted).Inc()
	if !d.Rotated.IsZero() {
		c.metrics.toPatch.Observe(now.Sub(d.Rotated).Seconds())
	}
	c.log.Info("Rollout started", append(w.attrs(), "reason", string(d.Reason), "stamp", d.Stamp, "cause", d.Cause)...)
	c.tell.rolled(w, d.Cause)
	return nil // the watch tells of the new generation, which brings the next look
}

// finishing answers a context for one write. A write that is under way when ctx
// ends may still finish, within lastWrites, so that what follows from it is
// noted and told.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patchTimeout)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWrites, cancel) })
	return writing, func() {
		stop()
		cancel()
	}
}

// refused answers nil where the workload is looked at again anyway, because it
// has changed or gone. Else no look before its time sends the patch again,
// whatever happens to the workload meanwhile.
func (c *Controller) refused(w *workload, n *note, err error) error {
	switch {
	case apierrors.IsConflict(err):
		c.metrics.rollouts.WithLabelValues(w.kind.Kind, rolloutConflict).Inc()
		c.workloads.AddAfter(w.key(), time.Second)
		return nil
	case apierrors.IsNotFound(err):
		return nil
	}
	c.metrics.rollouts.WithLabelValues(w.kind.Kind, rolloutRefused).Inc()
	c.tell.refused(w, err)
	n.refused = min(max(firstRetry, 2*n.refused), lastRetry)
	n.retryAt = time.Now().Add(n.refused)
	return fmt.Errorf("start rollout: %w", err)
}

// forget drops what is known of a workload that is gone.
func (c *Controller) forget(k key) {
	c.enqueue(c.pace.free(k)...)
	c.enqueue(c.pace.leave(k)...)
	if n := c.notes.drop(k); n != nil {
		c.metrics.moved(n.decided, rollout.Decision{})
		c.metrics.missed.Sub(float64(n.missed))
		c.metrics.held(n.stuck, false)
		c.keeper.drop(k.namespace, n.uid, time.Now())
	}
	c.metrics.paced(c.pace)
}

func (c *Controller) enqueue(keys ...key) {
	for _, k := range keys {
		c.workloads.Add(k)
	}
}

// attrs name the workload in logs.
func (w *workload) attrs() []any {
	return []any{"kind", w.kind.Kind, "namespace", w.Namespace, "name", w.Name}
}
