package watcher

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/internal/kube"
	"keyroll.dev/internal/secretsstore"
)

// caches is all that the watcher knows of the cluster.
type caches struct {
	see                 lens
	workloads           map[schema.GroupKind]store[*workload]
	replicaSets         store[*revision]
	controllerRevisions store[*revision]
	pods                store[*pod]
	nodes               store[*node]
	mountFailures       store[*mountFailure]
	statuses            store[*status]
	classes             store[*class]
	secrets             store[*secret] // zero while the Secret trigger is off
	namespaces          store[*namespace]
	accounts            store[*account]
	drivers             store[*driver]
	baselines           store[*baselines]

	// uncounted: the CRD of statuses has a status subresource, so their
	// generation tells nothing.
	uncounted bool
	release   string // namespace that Keyroll itself runs in
	feeds     feeds
	reported  reported
}

// newCaches makes the informers and starts none. Without digests Secrets are left alone.
func newCaches(c Config, digests *digester) *caches {
	api := c.Kube
	see := lens{reloader: c.HonorReloader, owners: c.OwnerKinds}
	all := &caches{
		see:     see,
		release: c.Namespace,
		workloads: map[schema.GroupKind]store[*workload]{
			deployments.GroupKind():  newStore(listWatch(api, api.Deployments("")), &appsv1.Deployment{}, see.deployment, workloadIndexes),
			statefulSets.GroupKind(): newStore(listWatch(api, api.StatefulSets("")), &appsv1.StatefulSet{}, see.statefulSet, workloadIndexes),
			daemonSets.GroupKind():   newStore(listWatch(api, api.DaemonSets("")), &appsv1.DaemonSet{}, see.daemonSet, workloadIndexes),
			cronJobs.GroupKind():     newStore(listWatch(api, api.CronJobs("")), &batchv1.CronJob{}, see.cronJob, workloadIndexes),
		},
		replicaSets:         newStore(listWatch(api, api.ReplicaSets("")), &appsv1.ReplicaSet{}, see.replicaSet, revisionIndexes),
		controllerRevisions: newStore(listWatch(api, api.ControllerRevisions("")), &appsv1.ControllerRevision{}, slimControllerRevision, revisionIndexes),
		pods:                newStore(listWatch(api, api.Pods("")), &corev1.Pod{}, slimPod, podIndexes),
		nodes:               newStore(listWatch(api, api.Nodes("")), &corev1.Node{}, slimNode, nil),
		mountFailures: newStore(listWatch(api, api.Events(""), failedMounts),
			&corev1.Event{}, slimMountFailure, cache.Indexers{byPod: indexed(podOfFailure)}),
		classes:    newStore(c.Driver.ClassListWatch(""), &secretsstore.SecretProviderClass{}, slimClass, classIndexes),
		namespaces: newStore(listWatch(api, api.Namespaces("")), &corev1.Namespace{}, slimNamespace, nil),
		accounts:   newStore(listWatch(api, api.ServiceAccounts("")), &corev1.ServiceAccount{}, slimAccount, nil),
		drivers:    newStore(listWatch(api, api.CSIDrivers(""), theDriver), &storagev1.CSIDriver{}, slimDriver, nil),
		baselines:  newStore(listWatch(api, api.ConfigMaps(c.Namespace), ourBaselines), &corev1.ConfigMap{}, slimBaselines, nil),
	}
	all.statuses = newStore(c.Driver.PodStatusListWatch(""),
		&secretsstore.SecretProviderClassPodStatus{}, all.reported.slimStatus, statusIndexes)
	for _, kind := range c.OwnerKinds {
		owners := listWatch[*unstructured.UnstructuredList](c.Dynamic, c.Dynamic.Resource(kind.Resource))
		all.workloads[kind.Kind.GroupKind()] = newStore(owners, &unstructured.Unstructured{}, see.owner(kind.Kind), workloadIndexes)
	}
	if digests != nil {
		all.secrets = newStore(listWatch(api, api.Secrets(""), driverManaged), &corev1.Secret{}, digests.slim, secretIndexes)
	}
	return all
}

// informers answers every informer that there is.
func (c *caches) informers() []cache.SharedIndexInformer {
	all := []cache.SharedIndexInformer{
		c.replicaSets.informer, c.controllerRevisions.informer, c.pods.informer, c.nodes.informer, c.mountFailures.informer,
		c.statuses.informer, c.classes.informer, c.namespaces.informer, c.accounts.informer, c.drivers.informer, c.baselines.informer,
	}
	if c.secrets.informer != nil {
		all = append(all, c.secrets.informer)
	}
	for _, s := range c.workloads {
		all = append(all, s.informer)
	}
	return all
}

// listWatch makes what an informer reads from. The client is asked whether it
// can stream lists.
func listWatch[L runtime.Object](client any, from kube.Reader[L], narrow ...func(*metav1.ListOptions)) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			for _, f := range narrow {
				f(&o)
			}
			return from.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			for _, f := range narrow {
				f(&o)
			}
			return from.Watch(ctx, o)
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

// failedMounts narrows a watch of Events to what kubelet says of volumes that it cannot mount.
func failedMounts(o *metav1.ListOptions) {
	o.FieldSelector = fields.Set{"involvedObject.kind": "Pod", "reason": "FailedMount"}.String()
}

// ourBaselines narrows a watch of the release namespace's ConfigMaps to those that keep baselines.
func ourBaselines(o *metav1.ListOptions) {
	o.LabelSelector = labels.Set{baselineLabel: "true"}.String()
}
