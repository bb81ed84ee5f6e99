package secretsstore

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// ClassListWatch lists and watches the classes of a namespace, or with "" of all.
func (c *Client) ClassListWatch(namespace string) cache.ListerWatcher {
	classes := c.Classes(namespace)
	return c.listWatch(
		func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return classes.List(ctx, opts)
		},
		classes.Watch)
}

// PodStatusListWatch lists and watches the statuses of a namespace, or with "" of all.
func (c *Client) PodStatusListWatch(namespace string) cache.ListerWatcher {
	statuses := c.PodStatuses(namespace)
	return c.listWatch(
		func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return statuses.List(ctx, opts)
		},
		statuses.Watch)
}

// NewClassInformer returns an informer of *SecretProviderClass, indexed by
// namespace. It never resyncs.
func (c *Client) NewClassInformer(namespace string) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(c.ClassListWatch(namespace), &SecretProviderClass{}, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}

func (c *Client) listWatch(
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
	watches func(context.Context, metav1.ListOptions) (watch.Interface, error),
) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: watches}, c.source)
}
