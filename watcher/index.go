package watcher

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
)

// The indexes lead from a thing to those who depend on it, so that an event
// costs no more than what it concerns.
const (
	byNamespace = cache.NamespaceIndex // workloads, classes, Secrets, ReplicaSets that stand alone, and some pods
	byOwner     = "owner"              // pods, revisions and workloads by the UID of their controller
	byClass     = "class"              // pods and statuses by namespace/class
	bySecret    = "secret"             // pods, classes and workloads by namespace/Secret
	byPod       = "pod"                // mount failures by the pod's UID
	byNode      = "node"               // pods of DaemonSets by node
)

var (
	workloadIndexes = cache.Indexers{
		byNamespace: cache.MetaNamespaceIndexFunc,
		byOwner:     indexed(func(w *workload) []string { return ownerUID(w.owner) }),
		bySecret:    indexed(secretsAsked),
	}
	revisionIndexes = cache.Indexers{
		byNamespace: indexed(namespaceOfAlone),
		byOwner:     indexed(func(r *revision) []string { return ownerUID(r.owner) }),
	}
	podIndexes = cache.Indexers{
		byNamespace: indexed(namespaceOfPod),
		byOwner:     indexed(func(p *pod) []string { return ownerUID(p.owner) }),
		byClass:     indexed(classesOfPod),
		bySecret:    indexed(secretsOfPod),
		byNode:      indexed(nodeOfDaemon),
	}
	statusIndexes = cache.Indexers{
		byClass: indexed(func(s *status) []string { return []string{path(s.Namespace, s.class)} }),
	}
	classIndexes  = cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc, bySecret: indexed(secretsOfClass)}
	secretIndexes = cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc}
)

// path is the value under which an index files a namespaced name.
func path(namespace, name string) string { return namespace + "/" + name }

func ownerUID(o owner) []string {
	if o.uid == "" {
		return nil
	}
	return []string{string(o.uid)}
}

// namespaceOfPod files the pods that what their namespace says concerns by
// themselves: those with a record, which may be believed or not for it, and those
// that may be loose. All others are found from their workload.
func namespaceOfPod(p *pod) []string {
	if p.record == "" && (lens{}).watched(p.owner.groupKind()) {
		return nil
	}
	return []string{p.Namespace}
}

func namespaceOfAlone(r *revision) []string {
	if r.alone == nil {
		return nil
	}
	return []string{r.Namespace}
}

func classesOfPod(p *pod) []string {
	var values []string
	for _, class := range p.classes {
		values = append(values, path(p.Namespace, class))
	}
	return values
}

func secretsOfPod(p *pod) []string {
	var values []string
	for name := range p.secrets {
		values = append(values, path(p.Namespace, name))
	}
	return values
}

func secretsOfClass(c *class) []string {
	var values []string
	for name := range c.synced {
		values = append(values, path(c.Namespace, name))
	}
	return values
}

// anySecret is filed where a name is only told by an expression. No Secret is called so.
const anySecret = "*"

// secretsAsked files a workload under the Secrets that its restart-on names,
// and under anySecret where Reloader's annotations name some.
func secretsAsked(w *workload) []string {
	var values []string
	for _, name := range w.settings.RestartOn.Secrets {
		values = append(values, path(w.Namespace, name))
	}
	if w.reloads != nil && len(w.reloads.Secrets.Names) > 0 {
		values = append(values, path(w.Namespace, anySecret))
	}
	return values
}

// nodeOfDaemon files the pods of DaemonSets, whose rollouts hang on nodes, under theirs.
func nodeOfDaemon(p *pod) []string {
	if p.node == "" || p.owner.groupKind() != daemonSets.GroupKind() {
		return nil
	}
	return []string{p.node}
}

// maxChain bounds the walk from a pod to its workload. Two is common.
const maxChain = 8

// workloadOf answers the workload that is responsible for a pod's template, nil
// where there is none or it is not known yet.
func (c *caches) workloadOf(p *pod) *workload {
	if w := c.follow(p.Namespace, p.owner); w != nil {
		return w
	}
	if p.loose(c) {
		return p.alone()
	}
	return nil
}

// follow walks owners upward to the last one that is watched. A link that no
// longer exists under the same UID ends the walk with nothing: what it led to
// is not responsible any more.
func (c *caches) follow(namespace string, o owner) *workload {
	var last *workload
	for range maxChain {
		if o.uid == "" || !c.see.watched(o.groupKind()) {
			return last
		}
		if o.groupKind() == replicaSets.GroupKind() {
			r := c.replicaSets.get(namespace, o.name)
			if r == nil || r.UID != o.uid {
				return nil
			}
			if r.alone != nil {
				return r.alone
			}
			o = r.owner
			continue
		}
		w := c.workloads[o.groupKind()].get(namespace, o.name)
		if w == nil || w.UID != o.uid {
			return nil
		}
		last, o = w, w.owner
	}
	return last
}

// workload answers by key, nil for none and for one that another workload is
// responsible for.
func (c *caches) workload(k key) *workload {
	switch k.kind {
	case replicaSets.GroupKind():
		if r := c.replicaSets.get(k.namespace, k.name); r != nil {
			return r.alone
		}
		return nil
	case pods.GroupKind():
		if p := c.pods.get(k.namespace, k.name); p != nil && p.loose(c) {
			return p.alone()
		}
		return nil
	}
	w := c.workloads[k.kind].get(k.namespace, k.name)
	if w == nil || c.follow(w.Namespace, w.owner) != nil {
		return nil
	}
	return w
}

// templatesIn answers all that has a pod template in a namespace, ReplicaSets that
// stand alone included.
func (c *caches) templatesIn(namespace string) []*workload {
	var found []*workload
	for _, s := range c.workloads {
		found = append(found, s.by(byNamespace, namespace)...)
	}
	for _, r := range c.replicaSets.by(byNamespace, namespace) {
		found = append(found, r.alone)
	}
	return found
}

// podsOf answers every pod of a workload, of whatever revision, however many
// links lie between.
func (c *caches) podsOf(w *workload) []*pod {
	if w.kind == pods {
		if p := c.pods.get(w.Namespace, w.Name); p != nil {
			return []*pod{p}
		}
		return nil
	}
	return c.ownedPods(string(w.UID), maxChain)
}

func (c *caches) ownedPods(uid string, links int) []*pod {
	found := c.pods.by(byOwner, uid)
	if links == 0 {
		return found
	}
	for _, r := range c.replicaSets.by(byOwner, uid) {
		found = append(found, c.ownedPods(string(r.UID), links-1)...)
	}
	for _, s := range c.workloads {
		for _, w := range s.by(byOwner, uid) {
			found = append(found, c.ownedPods(string(w.UID), links-1)...)
		}
	}
	return found
}

// podOf answers the pod that a status tells of, nil when it is gone or is
// another one under the same name.
func (c *caches) podOf(s *status) *pod {
	p := c.pods.get(s.Namespace, s.pod)
	if p == nil || p.UID != s.owner {
		return nil
	}
	return p
}

// enabled reports whether a namespace is opted in. Some cannot be: the webhook
// leaves them out, so that it can never hinder itself or the cluster to start.
func (c *caches) enabled(name string) bool {
	if name == c.release || name == metav1.NamespaceSystem {
		return false
	}
	n := c.namespaces.get("", name)
	if n == nil || !(dependency.Namespace{Labels: n.Labels}).Enabled() {
		return false
	}
	for key, value := range annotation.LeftOut {
		if n.Labels[key] == value {
			return false
		}
	}
	return true
}
