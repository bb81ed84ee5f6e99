// Package kube reads and writes the kinds of Kubernetes' own that a watcher
// needs, and links no others. client-go's clientset knows every kind that there
// is: whoever imports it, or any of its typed clients, registers them all when
// the program starts, and holds several MiB of types and code that nobody calls.
package kube

import (
	"context"
	"fmt"
	"net/http"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// Reader reads objects of one kind.
type Reader[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// Resource reads and writes objects of one kind.
type Resource[O, L runtime.Object] interface {
	Reader[L]
	Get(ctx context.Context, name string, opts metav1.GetOptions) (O, error)
	Create(ctx context.Context, object O, opts metav1.CreateOptions) (O, error)
	Update(ctx context.Context, object O, opts metav1.UpdateOptions) (O, error)
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (O, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// Kind answers the resource of a namespace, or with "" that of all, which is
// also how a kind is reached whose objects are in none.
type Kind[O, L runtime.Object] func(namespace string) Resource[O, L]

// Client reads and writes each kind. It is safe for concurrent use.
type Client struct {
	ConfigMaps          Kind[*corev1.ConfigMap, *corev1.ConfigMapList]
	Events              Kind[*corev1.Event, *corev1.EventList]
	Namespaces          Kind[*corev1.Namespace, *corev1.NamespaceList]
	Nodes               Kind[*corev1.Node, *corev1.NodeList]
	Pods                Kind[*corev1.Pod, *corev1.PodList]
	Secrets             Kind[*corev1.Secret, *corev1.SecretList]
	ServiceAccounts     Kind[*corev1.ServiceAccount, *corev1.ServiceAccountList]
	ControllerRevisions Kind[*appsv1.ControllerRevision, *appsv1.ControllerRevisionList]
	DaemonSets          Kind[*appsv1.DaemonSet, *appsv1.DaemonSetList]
	Deployments         Kind[*appsv1.Deployment, *appsv1.DeploymentList]
	ReplicaSets         Kind[*appsv1.ReplicaSet, *appsv1.ReplicaSetList]
	StatefulSets        Kind[*appsv1.StatefulSet, *appsv1.StatefulSetList]
	CronJobs            Kind[*batchv1.CronJob, *batchv1.CronJobList]
	Leases              Kind[*coordinationv1.Lease, *coordinationv1.LeaseList]
	CSIDrivers          Kind[*storagev1.CSIDriver, *storagev1.CSIDriverList]

	// Served tells the resources of a group and version, which may be any; an
	// error that is NotFound where there is none of that name.
	Served func(context.Context, schema.GroupVersion) (*metav1.APIResourceList, error)

	// Unstreamed: lists cannot be streamed from what is behind this client, a fake.
	Unstreamed bool
}

// IsWatchListSemanticsUnSupported is how informers ask for that.
func (c *Client) IsWatchListSemanticsUnSupported() bool { return c.Unstreamed }

// NewClient returns a client for the API server of cfg, which it does not change.
func NewClient(cfg *rest.Config) (*Client, error) {
	l := linker{config: rest.CopyConfig(cfg), scheme: runtime.NewScheme()}
	var err error
	if l.http, err = rest.HTTPClientFor(l.config); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if l.config.QPS > 0 { // one limit for all groups
		l.config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(l.config.QPS, l.config.Burst)
	}
	l.config.NegotiatedSerializer = serializer.NewCodecFactory(l.scheme).WithoutConversion()
	core, apps := l.group(corev1.SchemeGroupVersion), l.group(appsv1.SchemeGroupVersion)
	batch, coordination, storage := l.group(batchv1.SchemeGroupVersion), l.group(coordinationv1.SchemeGroupVersion), l.group(storagev1.SchemeGroupVersion)
	if l.err != nil {
		return nil, fmt.Errorf("client: %w", l.err)
	}
	return &Client{
		ConfigMaps:          kind[corev1.ConfigMap, corev1.ConfigMapList](core, "configmaps"),
		Events:              kind[corev1.Event, corev1.EventList](core, "events"),
		Namespaces:          kind[corev1.Namespace, corev1.NamespaceList](core, "namespaces"),
		Nodes:               kind[corev1.Node, corev1.NodeList](core, "nodes"),
		Pods:                kind[corev1.Pod, corev1.PodList](core, "pods"),
		Secrets:             kind[corev1.Secret, corev1.SecretList](core, "secrets"),
		ServiceAccounts:     kind[corev1.ServiceAccount, corev1.ServiceAccountList](core, "serviceaccounts"),
		ControllerRevisions: kind[appsv1.ControllerRevision, appsv1.ControllerRevisionList](apps, "controllerrevisions"),
		DaemonSets:          kind[appsv1.DaemonSet, appsv1.DaemonSetList](apps, "daemonsets"),
		Deployments:         kind[appsv1.Deployment, appsv1.DeploymentList](apps, "deployments"),
		ReplicaSets:         kind[appsv1.ReplicaSet, appsv1.ReplicaSetList](apps, "replicasets"),
		StatefulSets:        kind[appsv1.StatefulSet, appsv1.StatefulSetList](apps, "statefulsets"),
		CronJobs:            kind[batchv1.CronJob, batchv1.CronJobList](batch, "cronjobs"),
		Leases:              kind[coordinationv1.Lease, coordinationv1.LeaseList](coordination, "leases"),
		CSIDrivers:          kind[storagev1.CSIDriver, storagev1.CSIDriverList](storage, "csidrivers"),
		Served:              core.served,
	}, nil
}

// linker makes the clients of groups, which share a connection and a scheme.
type linker struct {
	config *rest.Config
	http   *http.Client
	scheme *runtime.Scheme
	err    error // the first
}

// group is the client of a group and version.
type group struct {
	rest.Interface
	version schema.GroupVersion
	scheme  *runtime.Scheme
}

func (l *linker) group(version schema.GroupVersion) group {
	config := *l.config
	config.GroupVersion, config.APIPath = &version, "/apis"
	if version.Group == "" {
		config.APIPath = "/api"
	}
	client, err := rest.RESTClientForConfigAndClient(&config, l.http)
	if l.err == nil {
		l.err = err
	}
	metav1.AddToGroupVersion(l.scheme, version)
	return group{client, version, l.scheme}
}

// served asks for the resources of any group and version.
func (g group) served(ctx context.Context, version schema.GroupVersion) (*metav1.APIResourceList, error) {
	list := &metav1.APIResourceList{}
	return list, g.Get().AbsPath("/apis", version.Group, version.Version).Do(ctx).Into(list)
}

// object and list are pointers to what is read and written.
type object[O any] interface {
	*O
	runtime.Object
	metav1.Object
}

type list[L any] interface {
	*L
	runtime.Object
}

// kind registers a kind and answers how its objects are reached.
func kind[O, L any, PO object[O], PL list[L]](g group, resource string) Kind[PO, PL] {
	newObject, newList := func() PO { return new(O) }, func() PL { return new(L) }
	g.scheme.AddKnownTypes(g.version, newObject(), newList())
	codec := runtime.NewParameterCodec(g.scheme)
	return func(namespace string) Resource[PO, PL] {
		return gentype.NewClientWithList(resource, g.Interface, codec, namespace, newObject, newList)
	}
}
