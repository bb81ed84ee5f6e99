package watcher

import (
	"cmp"
	"context"
	"maps"
	"time"

	"k8s.io/client-go/tools/cache"

	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/reloader"
)

// subscribe turns what informers tell into keys of those who are concerned.
// Handlers only enqueue and file what hangs together, because each informer has
// one goroutine for all events.
func (c *Controller) subscribe() {
	await := func(name string, synced cache.InformerSynced) {
		c.synced = append(c.synced, named{name, synced})
	}
	for kind, s := range c.caches.workloads {
		await(kind.String(), s.watch(c.workloadChanged))
	}
	await("replicasets", c.caches.replicaSets.watch(c.revisionChanged))
	await("controllerrevisions", c.caches.controllerRevisions.watch(c.revisionChanged))
	await("pods", c.caches.pods.watch(c.podChanged))
	await("nodes", c.caches.nodes.watch(c.nodeChanged))
	await("events", c.caches.mountFailures.watch(c.mountFailed))
	await("configmaps", c.caches.baselines.watch(func(_, _ *baselines) {}))
	await("secretproviderclasspodstatuses", c.caches.statuses.watch(c.statusChanged))
	await("secretproviderclasses", c.caches.classes.watch(c.classChanged))
	await("namespaces", c.caches.namespaces.watch(c.namespaceChanged))
	await("serviceaccounts", c.caches.accounts.watch(c.accountChanged))
	await("csidrivers", c.caches.drivers.watch(c.driverChanged))
	if c.caches.secrets.informer != nil {
		await("secrets", c.caches.secrets.watch(c.secretChanged))
	}
}

// begin enqueues all that the caches hold. What came before the queues were opened
// is in the caches already, which informers bring up to date before they tell;
// what comes after is told.
func (c *Controller) begin() {
	c.leads.Store(true)
	c.driverChanged(nil, c.caches.drivers.get("", secretsstore.DriverName))
	for _, s := range c.caches.workloads {
		for _, w := range s.all() {
			c.workloadChanged(nil, w)
		}
	}
	for _, r := range c.caches.replicaSets.all() {
		if r.alone != nil {
			c.workloadChanged(nil, r.alone)
		}
	}
	for _, p := range c.caches.pods.all() {
		c.provider.podChanged(nil, p)
		if p.loose(c.caches) {
			c.workloads.Add(p.alone().key())
		}
	}
	for _, s := range c.caches.statuses.all() {
		c.laggards.queue.Add(classKey{s.Namespace, s.class})
	}
	for _, one := range c.caches.classes.all() {
		c.provider.look(one.Namespace, one.Name)
	}
}

// lookAt has the workload of a pod looked at.
func (c *Controller) lookAt(p *pod) {
	if w := c.caches.workloadOf(p); w != nil {
		c.workloads.Add(w.key())
	}
}

// lookAtOwners has the workload looked at that is responsible for what the owner
// controls, and that of the owner before, which counts what it let go no more.
func (c *Controller) lookAtOwners(namespace string, before, after owner) {
	owners := []owner{before, after}
	if before == after {
		owners = owners[1:] // nearly always
	}
	for _, o := range owners {
		if w := c.caches.follow(namespace, o); w != nil {
			c.workloads.Add(w.key())
		}
	}
}

func (c *Controller) workloadChanged(before, after *workload) {
	c.provider.workloadChanged(before, after)
	first, last := cmp.Or(before, after), cmp.Or(after, before)
	c.workloads.Add(last.key())
	c.lookAtOwners(last.Namespace, first.owner, last.owner)
	// While nothing changes in what it lacks it has its turn already, at its own pace.
	if after != nil && after.lacking() && (before == nil || !before.lacking() || !sameAnnotations(before, after)) {
		c.mender.queue.Add(after.key())
	}
}

func sameAnnotations(a, b *workload) bool {
	return maps.Equal(a.Annotations, b.Annotations) && maps.Equal(a.template, b.template)
}

// revisionChanged takes a ReplicaSet that is adopted for a workload that goes, and
// one that is let go for a workload that comes.
func (c *Controller) revisionChanged(before, after *revision) {
	if was, is := aloneOf(before), aloneOf(after); was != nil || is != nil {
		c.workloadChanged(was, is)
	}
	first, last := cmp.Or(before, after), cmp.Or(after, before)
	c.lookAtOwners(last.Namespace, first.owner, last.owner)
}

func aloneOf(r *revision) *workload {
	if r == nil {
		return nil
	}
	return r.alone
}

// nodeChanged has DaemonSets looked at that may have waited for a node.
func (c *Controller) nodeChanged(before, after *node) {
	if before != nil && after != nil && before.ready == after.ready {
		return
	}
	last := cmp.Or(after, before)
	for _, p := range c.caches.pods.by(byNode, last.Name) {
		c.lookAt(p)
	}
}

// mountFailed has the pod's workload looked at: what kubelet says may be the
// answer to why it does not start.
func (c *Controller) mountFailed(_, after *mountFailure) {
	if after == nil || after.text == "" {
		return
	}
	p := c.caches.pods.get(after.Namespace, after.podName)
	if p != nil && p.UID == after.pod {
		c.lookAt(p)
	}
}

func (c *Controller) podChanged(before, after *pod) {
	c.provider.podChanged(before, after)
	last := cmp.Or(after, before)
	c.lookAt(last)
	if before != nil && before.owner != last.owner {
		c.lookAt(before) // adopted or let go: who had it counts it no more
	}
	if before != nil && after != nil && before.UID == after.UID && before.finished == after.finished {
		return
	}
	for _, name := range last.classes {
		if s := c.caches.mountOf(last, name); s != nil {
			c.caches.refile(s)
		}
		c.mountsChanged(last.Namespace, name)
	}
}

// mountsChanged looks after all that hangs on the live mounts of a class: one
// that ends may be the one that kept a Secret from settling.
func (c *Controller) mountsChanged(namespace, name string) {
	c.laggards.queue.AddAfter(classKey{namespace, name}, fanDelay)
	c.fanIfSynced(namespace, name)
}

func (c *Controller) statusChanged(before, after *status) {
	for _, one := range []*status{before, after} {
		if one != nil {
			c.caches.refile(one)
		}
	}
	last := after
	if last == nil {
		last = before
		c.provider.look(last.Namespace, last.class)
	}
	if p := c.caches.pods.get(last.Namespace, last.pod); p != nil {
		c.lookAt(p)
	}
	c.mountsChanged(last.Namespace, last.class)
}

func (c *Controller) classChanged(before, after *class) {
	for _, one := range []*class{before, after} {
		if one != nil {
			c.provider.look(one.Namespace, one.Name)
			c.fanIfSynced(one.Namespace, one.Name)
		}
	}
	if before != nil && after != nil && before.marks != after.marks {
		c.fans.AddAfter(classKey{after.Namespace, after.Name}, fanDelay)
	}
}

func (c *Controller) secretChanged(before, after *secret) {
	last := after
	if last == nil {
		last = before
		time.AfterFunc(goneFor, func() { c.forgetSecret(last) })
	} else {
		c.seen.note(after.Namespace, after.Name, after.digest, time.Now())
	}
	if before != nil && after != nil && before.digest == after.digest && before.marks == after.marks {
		return // metadata: the driver rewrites it all day
	}
	c.enqueue(c.takers(last.Namespace, last.Name)...)
}

// goneFor is how long a Secret may be away and count as the same when it comes back.
const goneFor = time.Hour

// forgetSecret drops what was seen of a Secret that has not come back.
func (c *Controller) forgetSecret(gone *secret) {
	if c.caches.secrets.get(gone.Namespace, gone.Name) == nil {
		c.seen.drop(gone.Namespace, gone.Name)
	}
}

func (c *Controller) namespaceChanged(before, after *namespace) {
	if before != nil && after != nil && before.same(after) {
		return
	}
	last := cmp.Or(after, before)
	if after == nil {
		c.seen.forget(last.Name)
	}
	c.provider.namespaceChanged(last.Name)
	for _, p := range c.caches.pods.by(byNamespace, last.Name) {
		c.provider.podChanged(nil, p)
		if p.loose(c.caches) {
			c.workloads.Add(p.alone().key())
		}
	}
	for _, w := range c.caches.templatesIn(last.Name) {
		c.workloads.Add(w.key())
		c.mender.queue.Add(w.key())
	}
}

func (c *Controller) accountChanged(before, after *account) {
	if before != nil && after != nil && maps.Equal(before.Annotations, after.Annotations) {
		return
	}
	last := cmp.Or(after, before)
	if before == nil && len(after.Annotations) == 0 {
		return // says nothing, as before it existed
	}
	c.provider.namespaceChanged(last.Namespace)
}

// driverChanged only tells: how it works is asked at every decision.
func (c *Controller) driverChanged(before, after *driver) {
	if !c.leads.Load() {
		return // who comes to lead begins with it
	}
	switch {
	case after == nil:
		c.metrics.still.Set(1)
		c.log.Warn("The CSI driver is not there: nothing is mounted, and nothing rotates")
	case !after.still:
		c.metrics.still.Set(0)
	case before == nil || !before.still:
		c.metrics.still.Set(1)
		c.log.Warn("Rotation is switched off in the CSI driver: pods keep what they started with")
		c.tell.rotationOff(after)
	}
}

// fanIfSynced has all who take from a class's Secrets looked at soon. Without
// any such Secret its pods' own workload is all that is concerned.
func (c *Controller) fanIfSynced(namespace, name string) {
	if len(c.caches.fills(namespace, name)) > 0 {
		c.fans.AddAfter(classKey{namespace, name}, fanDelay)
	}
}

// fanOut enqueues all who mount a class or take from the Secrets that it fills.
func (c *Controller) fanOut(_ context.Context, k classKey) error {
	concerned := map[key]bool{}
	for _, p := range c.caches.pods.by(byClass, path(k.namespace, k.name)) {
		if w := c.caches.workloadOf(p); w != nil {
			concerned[w.key()] = true
		}
	}
	for name := range c.caches.fills(k.namespace, k.name) {
		for _, taker := range c.takers(k.namespace, name) {
			concerned[taker] = true
		}
	}
	for taker := range concerned {
		c.workloads.Add(taker)
	}
	return nil
}

// takers answers the workloads whose pods take from a Secret, or that ask to be
// rolled when it changes.
func (c *Controller) takers(namespace, name string) []key {
	found := map[key]bool{}
	for _, p := range c.caches.pods.by(bySecret, path(namespace, name)) {
		if w := c.caches.workloadOf(p); w != nil {
			found[w.key()] = true
		}
	}
	for _, s := range c.caches.workloads {
		for _, w := range s.by(bySecret, path(namespace, name)) {
			found[w.key()] = true
		}
		for _, w := range s.by(bySecret, path(namespace, anySecret)) {
			if c.caches.ofSecret(w, name) == reloader.Named {
				found[w.key()] = true
			}
		}
	}
	takers := make([]key, 0, len(found))
	for k := range found {
		takers = append(takers, k)
	}
	return takers
}
