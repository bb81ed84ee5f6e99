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

	"keyroll.dev/internal/secretsstore"
)

// caches is all that the watcher knows of the cluster.
type caches struct {
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
	kube := c.Kube
	apps, core, batch := kube.AppsV1(), kube.CoreV1(), kube.BatchV1()
	see := lens{reloader: c.HonorReloader}
	all := &caches{
		release: c.Namespace,
		workloads: map[schema.GroupKind]store[*workload]{
			deployments.GroupKind(): newStore(listWatch(kube, apps.Deployments("").List, apps.Deployments("").Watch),
				&appsv1.Deployment{}, see.deployment, workloadIndexes),
			statefulSets.GroupKind(): newStore(listWatch(kube, apps.StatefulSets("").List, apps.StatefulSets("").Watch),
				&appsv1.StatefulSet{}, see.statefulSet, workloadIndexes),
			daemonSets.GroupKind(): newStore(listWatch(kube, apps.DaemonSets("").List, apps.DaemonSets("").Watch),
				&appsv1.DaemonSet{}, see.daemonSet, workloadIndexes),
			cronJobs.GroupKind(): newStore(listWatch(kube, batch.CronJobs("").List, batch.CronJobs("").Watch),
				&batchv1.CronJob{}, see.cronJob, workloadIndexes),
		},
		replicaSets: newStore(listWatch(kube, apps.ReplicaSets("").List, apps.ReplicaSets("").Watch),
			&appsv1.ReplicaSet{}, see.replicaSet, revisionIndexes),
		controllerRevisions: newStore(listWatch(kube, apps.ControllerRevisions("").List, apps.ControllerRevisions("").Watch),
			&appsv1.ControllerRevision{}, slimControllerRevision, revisionIndexes),
		pods:  newStore(listWatch(kube, core.Pods("").List, core.Pods("").Watch), &corev1.Pod{}, slimPod, podIndexes),
		nodes: newStore(listWatch(kube, core.Nodes().List, core.Nodes().Watch), &corev1.Node{}, slimNode, nil),
		mountFailures: newStore(listWatch(kube, core.Events("").List, core.Events("").Watch, failedMounts),
			&corev1.Event{}, slimMountFailure, cache.Indexers{byPod: indexed(podOfFailure)}),
		classes: newStore(c.Driver.ClassListWatch(""), &secretsstore.SecretProviderClass{}, slimClass, classIndexes),
		namespaces: newStore(listWatch(kube, core.Namespaces().List, core.Namespaces().Watch),
			&corev1.Namespace{}, slimNamespace, nil),
		accounts: newStore(listWatch(kube, core.ServiceAccounts("").List, core.ServiceAccounts("").Watch),
			&corev1.ServiceAccount{}, slimAccount, nil),
		drivers: newStore(listWatch(kube, kube.StorageV1().CSIDrivers().List, kube.StorageV1().CSIDrivers().Watch, theDriver),
			&storagev1.CSIDriver{}, slimDriver, nil),
		baselines: newStore(listWatch(kube, core.ConfigMaps(c.Namespace).List, core.ConfigMaps(c.Namespace).Watch, ourBaselines),
			&corev1.ConfigMap{}, slimBaselines, nil),
	}
	all.statuses = newStore(c.Driver.PodStatusListWatch(""),
		&secretsstore.SecretProviderClassPodStatus{}, all.reported.slimStatus, statusIndexes)
	for _, kind := range c.OwnerKinds {
		owners := c.Dynamic.Resource(kind.Resource)
		all.workloads[kind.Kind.GroupKind()] = newStore(listWatch(c.Dynamic, owners.List, owners.Watch),
			&unstructured.Unstructured{}, see.owner(kind.Kind), workloadIndexes)
	}
	if digests != nil {
		all.secrets = newStore(listWatch(kube, core.Secrets("").List, core.Secrets("").Watch, driverManaged),
			&corev1.Secret{}, digests.slim, secretIndexes)
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

// failedMounts narrows a watch of Events to what kubelet says of volumes that it cannot mount.
func failedMounts(o *metav1.ListOptions) {
	o.FieldSelector = fields.Set{"involvedObject.kind": "Pod", "reason": "FailedMount"}.String()
}

// ourBaselines narrows a watch of the release namespace's ConfigMaps to those that keep baselines.
func ourBaselines(o *metav1.ListOptions) {
	o.LabelSelector = labels.Set{baselineLabel: "true"}.String()
}
