package watcher

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// gather puts together what a decision about a workload is made from, out of
// the caches alone. since tells when a Secret's digest was first seen. Whose
// content counts is told by its interest.
func (c *caches) gather(w *workload, since func(namespace, name, digest string) time.Time) rollout.State {
	g := gathering{
		caches:   c,
		w:        w,
		since:    since,
		interest: c.interestOf(w),
		state: rollout.State{
			Workload: c.told(w),
			Classes:  map[string]rollout.Class{},
			Secrets:  map[string]rollout.Secret{},
			Driver:   c.driver(),
		},
	}
	for name := range g.interest.asked {
		g.addSecret(name, 0, true)
	}
	current := c.currency(w)
	for _, p := range c.podsOf(w) {
		g.addPod(p, current(p))
	}
	slices.SortFunc(g.state.Pods, func(a, b rollout.Pod) int { return strings.Compare(a.Name, b.Name) })
	return g.state
}

// gathering is one call of gather.
type gathering struct {
	caches   *caches
	w        *workload
	since    func(namespace, name, digest string) time.Time
	interest interest
	state    rollout.State
}

func (g *gathering) addPod(p *pod, current bool) {
	counts := g.interest.of(p)
	told := rollout.Pod{
		Name:     p.Name,
		UID:      p.UID,
		Created:  p.CreationTimestamp.Time,
		Current:  current,
		Finished: p.finished,
		Ordinal:  p.ordinal,
		Stamp:    p.stamp,
		Started:  p.started,
	}
	for _, name := range counts.classes {
		told.Mounts = append(told.Mounts, rollout.Mount{Class: name, Status: g.caches.statusOf(p, name)})
		g.addClass(name)
	}
	g.state.Pods = append(g.state.Pods, told)
	if p.finished || !current {
		return
	}
	for secret, alone := range counts.secrets {
		g.addSecret(secret, p.secrets[secret], alone)
	}
}

// addClass notes a class, and the Secrets that it fills are told by who takes from them.
func (g *gathering) addClass(name string) {
	if _, known := g.state.Classes[name]; known {
		return
	}
	told := rollout.Class{Feeds: g.caches.feeds.get(classKey{g.w.Namespace, name}, g.caches.toldStatus)}
	if found := g.caches.classes.get(g.w.Namespace, name); found != nil {
		told.Vault, told.Synced = found.vault(), found.synced
	}
	g.state.Classes[name] = told
}

// addSecret notes a Secret, and every class of the namespace that fills it: a
// consumer need not mount the class itself. alone tells whether a change of its
// data is by itself a reason to roll.
func (g *gathering) addSecret(name string, how use, alone bool) {
	told, known := g.state.Secrets[name]
	if !known {
		for _, feeder := range g.caches.classes.by(bySecret, path(g.w.Namespace, name)) {
			g.addClass(feeder.Name)
		}
		told.Hidden = g.caches.secrets.informer == nil
		if s := g.caches.secrets.get(g.w.Namespace, name); s != nil {
			told.Digest, told.Changed = s.digest, s.changed
			told.Since = g.since(g.w.Namespace, name, s.digest)
		}
	}
	told.Env = told.Env || how == atStart
	told.Trigger = told.Trigger || alone && !told.Hidden
	g.state.Secrets[name] = told
}

// told answers the workload in the words of the decision.
func (c *caches) told(w *workload) rollout.Workload {
	return rollout.Workload{
		UID:                w.UID,
		Kind:               w.called(),
		Fixed:              w.fixed,
		Namespace:          w.Namespace,
		Name:               w.Name,
		Generation:         w.Generation,
		ObservedGeneration: w.observed,
		Revision:           c.newestRevision(w),
		Deleting:           w.DeletionTimestamp != nil,
		Paused:             w.paused,
		OnDelete:           w.onDelete,
		InPlace:            w.kind.Group != appsv1.GroupName,
		Partition:          w.partition,
		Replicas:           w.replicas,
		Never:              w.settings.RestartNever,
		Complete:           c.complete(w),
		Stamp:              w.stamp(),
		Rolled:             w.rolled,
	}
}

// called answers the workload's kind in words that say why nothing rolls it.
func (w *workload) called() string {
	switch {
	case w.kind == replicaSets && w.owner.uid != "":
		return fmt.Sprintf("ReplicaSet of a %s, which --owner-kinds does not name,", w.owner.kind)
	case w.fixed && !throughWebhook(w.kind) && w.kind != pods:
		return w.kind.Kind + " without spec.template"
	}
	return w.kind.Kind
}

// currency answers what tells the pods of a workload's newest revision.
//
//	Deployment   owned by the ReplicaSet with the Deployment's own revision number,
//	             if no ReplicaSet has a higher one
//	StatefulSet  labelled with status.updateRevision
//	DaemonSet    labelled with the hash of the newest ControllerRevision
//	any other    by the stamp alone
//
// and for all of them the controller must have observed the newest generation.
// The decision itself asks besides for the template's stamp on the pod, so that
// a cache that lags behind a patch of ours cannot bring about a second one.
func (c *caches) currency(w *workload) func(*pod) bool {
	none := func(*pod) bool { return false }
	switch {
	case w.fixed:
		return func(*pod) bool { return true }
	case w.observed < w.Generation:
		return none
	}
	switch w.kind.GroupKind() {
	case deployments.GroupKind():
		latest := c.latest(w)
		if latest == nil || strconv.FormatInt(latest.number, 10) != w.revision {
			return none
		}
		return func(p *pod) bool { return p.owner.uid == latest.UID }
	case statefulSets.GroupKind():
		if w.revision == "" {
			return none
		}
		return func(p *pod) bool { return p.revision == w.revision }
	case daemonSets.GroupKind():
		latest := c.latest(w)
		if latest == nil {
			return none
		}
		return func(p *pod) bool { return p.revision == latest.hash }
	default:
		return func(*pod) bool { return true }
	}
}

// newestRevision answers what tells the workload's newest template from those
// before it, "" where its kind does not tell.
func (c *caches) newestRevision(w *workload) string {
	switch latest := c.latest(w); {
	case latest == nil:
		return w.revision
	case latest.hash != "":
		return latest.hash
	default:
		return latest.Name
	}
}

// latest is the newest of the objects that keep a workload's revisions, nil for
// kinds whose own status names it.
func (c *caches) latest(w *workload) *revision {
	switch w.kind.GroupKind() {
	case deployments.GroupKind():
		return newest(c.replicaSets.by(byOwner, string(w.UID)))
	case daemonSets.GroupKind():
		return newest(c.controllerRevisions.by(byOwner, string(w.UID)))
	}
	return nil
}

// complete reports whether a workload's newest revision is out, as its own
// status has it, but:
//
//	a DaemonSet    pods on dead nodes, which can neither be replaced nor become
//	               ready, do not hold it open
//	other owners   whose status says nothing of it are judged by their pods
func (c *caches) complete(w *workload) bool {
	if w.complete || w.fixed || w.observed < w.Generation {
		return w.complete
	}
	switch {
	case w.kind == daemonSets:
		ready, dead := c.alive(w)
		return dead > 0 && ready+dead >= int(w.replicas)
	case w.untold:
		ready, older := 0, 0
		for _, p := range c.podsOf(w) {
			switch {
			case p.finished:
			case p.stamp != w.stamp():
				older++
			case p.ready:
				ready++
			}
		}
		return older == 0 && ready >= int(w.replicas)
	}
	return false
}

// alive counts the ready pods of a DaemonSet's newest revision on nodes that
// live, and the dead nodes that it has a pod on.
func (c *caches) alive(w *workload) (ready, dead int) {
	current := c.currency(w)
	deadNodes := map[string]bool{}
	for _, p := range c.podsOf(w) {
		switch n := c.nodes.get("", p.node); {
		case p.node == "": // waits for a place on one
		case n == nil || !n.ready:
			deadNodes[p.node] = true
		case !p.finished && p.ready && current(p) && p.stamp == w.stamp():
			ready++
		}
	}
	return ready, len(deadNodes)
}

// driver answers the generation of the CSI driver; unknown counts as the newer.
func (c *caches) driver() rollout.Driver {
	if d := c.drivers.get("", secretsstore.DriverName); d != nil {
		return d.generation
	}
	return rollout.Republishing
}

// statusOf answers what the driver told of a pod's mount, nil for nothing yet.
// It may be one inherited from an earlier pod of that name: the owner in it tells.
func (c *caches) statusOf(p *pod, class string) *rollout.Status {
	s := c.mountOf(p, class)
	if s == nil {
		return nil
	}
	told := c.toldStatus(s)
	return &told
}

// mountOf answers the status of a pod's mount. The driver names it after both
// (v1.6.0 pkg/secrets-store/utils.go), in a way that others can come to as well,
// so what stands in it is compared. An index by pod would cost more memory than
// the statuses themselves.
func (c *caches) mountOf(p *pod, class string) *status {
	s := c.statuses.get(p.Namespace, p.Name+"-"+p.Namespace+"-"+class)
	if s == nil || s.pod != p.Name || s.class != class {
		return nil
	}
	return s
}

// fills answers which Secrets a class fills, and from which objects.
func (c *caches) fills(namespace, name string) map[string][]string {
	if found := c.classes.get(namespace, name); found != nil {
		return found.synced
	}
	return nil
}

// managed reports whether the driver fills that Secret.
func (c *caches) managed(namespace, name string) bool {
	return c.secrets.get(namespace, name) != nil || len(c.classes.by(bySecret, path(namespace, name))) > 0
}
