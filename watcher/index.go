package watcher

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

// The indexes lead from a thing to those who depend on it, so that an event
// costs no more than what it concerns.
const (
	byNamespace = cache.NamespaceIndex // workloads
	byOwner     = "owner"              // pods and revisions by the UID of their controller
	byClass     = "class"              // pods and statuses by namespace/class
	bySecret    = "secret"             // pods, classes and workloads by namespace/Secret
	byPod       = "pod"                // statuses by namespace/pod
)

// caches is all that the watcher knows of the cluster.
type caches struct {
	workloads           map[schema.GroupKind]store[*workload]
	replicaSets         store[*revision]
	controllerRevisions store[*revision]
	pods                store[*pod]
	statuses            store[*status]
	classes             store[*class]
	secrets             store[*secret] // zero while the Secret trigger is off
	namespaces          store[*namespace]
	accounts            store[*account]
	drivers             store[*driver]
}

// newCaches makes the informers and starts none. Without digests Secrets are left alone.
func newCaches(kube kubernetes.Interface, driverClient *secretsstore.Client, digests *digester) *caches {
	apps, core := kube.AppsV1(), kube.CoreV1()
	workloadIndexes := cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc, bySecret: indexed(secretsAsked)}
	revisionIndexes := cache.Indexers{byOwner: indexed(func(r *revision) []string { return ownerUID(r.owner) })}
	podIndexes := cache.Indexers{
		byOwner:  indexed(func(p *pod) []string { return ownerUID(p.owner) }),
		byClass:  indexed(classesOfPod),
		bySecret: indexed(secretsOfPod),
	}
	statusIndexes := cache.Indexers{
		byPod:   indexed(func(s *status) []string { return []string{path(s.Namespace, s.pod)} }),
		byClass: indexed(func(s *status) []string { return []string{path(s.Namespace, s.class)} }),
	}
	c := &caches{
		workloads: map[schema.GroupKind]store[*workload]{
			deployments.GroupKind(): newStore(listWatch(kube, apps.Deployments("").List, apps.Deployments("").Watch),
				&appsv1.Deployment{}, slimDeployment, workloadIndexes),
			statefulSets.GroupKind(): newStore(listWatch(kube, apps.StatefulSets("").List, apps.StatefulSets("").Watch),
				&appsv1.StatefulSet{}, slimStatefulSet, workloadIndexes),
			daemonSets.GroupKind(): newStore(listWatch(kube, apps.DaemonSets("").List, apps.DaemonSets("").Watch),
				&appsv1.DaemonSet{}, slimDaemonSet, workloadIndexes),
		},
		replicaSets: newStore(listWatch(kube, apps.ReplicaSets("").List, apps.ReplicaSets("").Watch),
			&appsv1.ReplicaSet{}, slimReplicaSet, revisionIndexes),
		controllerRevisions: newStore(listWatch(kube, apps.ControllerRevisions("").List, apps.ControllerRevisions("").Watch),
			&appsv1.ControllerRevision{}, slimControllerRevision, revisionIndexes),
		pods:     newStore(listWatch(kube, core.Pods("").List, core.Pods("").Watch), &corev1.Pod{}, slimPod, podIndexes),
		statuses: newStore(driverClient.PodStatusListWatch(""), &secretsstore.SecretProviderClassPodStatus{}, slimStatus, statusIndexes),
		classes: newStore(driverClient.ClassListWatch(""), &secretsstore.SecretProviderClass{}, slimClass,
			cache.Indexers{bySecret: indexed(secretsOfClass)}),
		namespaces: newStore(listWatch(kube, core.Namespaces().List, core.Namespaces().Watch),
			&corev1.Namespace{}, slimNamespace, nil),
		accounts: newStore(listWatch(kube, core.ServiceAccounts("").List, core.ServiceAccounts("").Watch),
			&corev1.ServiceAccount{}, slimAccount, nil),
		drivers: newStore(listWatch(kube, kube.StorageV1().CSIDrivers().List, kube.StorageV1().CSIDrivers().Watch, theDriver),
			&storagev1.CSIDriver{}, slimDriver, nil),
	}
	if digests != nil {
		c.secrets = newStore(listWatch(kube, core.Secrets("").List, core.Secrets("").Watch, driverManaged),
			&corev1.Secret{}, digests.slim, nil)
	}
	return c
}

// informers answers every informer that there is.
func (c *caches) informers() []cache.SharedIndexInformer {
	all := []cache.SharedIndexInformer{
		c.replicaSets.informer, c.controllerRevisions.informer, c.pods.informer, c.statuses.informer,
		c.classes.informer, c.namespaces.informer, c.accounts.informer, c.drivers.informer,
	}
	if c.secrets.informer != nil {
		all = append(all, c.secrets.informer)
	}
	for _, s := range c.workloads {
		all = append(all, s.informer)
	}
	return all
}

// listWatch makes what an informer reads from, of a typed client's methods.
func listWatch[L runtime.Object](
	client any,
	list func(context.Context, metav1.ListOptions) (L, error),
	start func(context.Context, metav1.ListOptions) (watch.Interface, error),
	narrow ...func(*metav1.ListOptions),
) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			for _, f := range narrow {
				f(&o)
			}
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			for _, f := range narrow {
				f(&o)
			}
			return start(ctx, o)
		},
	}, client)
}

// theDriver narrows a watch of CSIDrivers to the one by name, so that a role can too.
func theDriver(o *metav1.ListOptions) {
	o.FieldSelector = fields.OneTermEqualSelector("metadata.name", secretsstore.DriverName).String()
}

// driverManaged narrows a watch of Secrets to those that the driver fills.
func driverManaged(o *metav1.ListOptions) {
	o.LabelSelector = labels.Set{secretsstore.ManagedLabel: "true"}.String()
}

// path is the value under which an index files a namespaced name.
func path(namespace, name string) string { return namespace + "/" + name }

func ownerUID(o owner) []string {
	if o.uid == "" {
		return nil
	}
	return []string{string(o.uid)}
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

// secretsAsked files a workload under the Secrets that its restart-on names.
func secretsAsked(w *workload) []string {
	var values []string
	for _, name := range w.settings.RestartOn.Secrets {
		values = append(values, path(w.Namespace, name))
	}
	return values
}

// maxChain bounds the walk from a pod to its workload. Two is common.
const maxChain = 8

// workloadOf answers the watched workload at the end of a pod's owner chain, nil for none.
func (c *caches) workloadOf(p *pod) *workload { return c.follow(p.Namespace, p.owner) }

// follow walks owners upward. A link that no longer exists under the same UID
// ends the walk: what it led to is not responsible any more.
func (c *caches) follow(namespace string, o owner) *workload {
	for range maxChain {
		if o.uid == "" {
			return nil
		}
		kind := o.groupKind()
		if s, watched := c.workloads[kind]; watched {
			if w := s.get(namespace, o.name); w != nil && w.UID == o.uid {
				return w
			}
			return nil
		}
		if kind != replicaSets.GroupKind() {
			return nil
		}
		r := c.replicaSets.get(namespace, o.name)
		if r == nil || r.UID != o.uid {
			return nil
		}
		o = r.owner
	}
	return nil
}

// workload answers by key, nil for none.
func (c *caches) workload(k key) *workload { return c.workloads[k.kind].get(k.namespace, k.name) }

// podsOf answers every pod of a workload, of whatever revision, owned directly
// or through a ReplicaSet.
func (c *caches) podsOf(w *workload) []*pod {
	pods := c.pods.by(byOwner, string(w.UID))
	for _, r := range c.replicaSets.by(byOwner, string(w.UID)) {
		pods = append(pods, c.pods.by(byOwner, string(r.UID))...)
	}
	return pods
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

// enabled reports whether a namespace is opted in.
func (c *caches) enabled(name string) bool {
	n := c.namespaces.get("", name)
	return n != nil && n.Labels[annotation.InjectionLabel] == annotation.InjectionEnabled
}
