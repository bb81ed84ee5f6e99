package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/webhook/inject"
)

// Caches is a [Cluster] that watches. It keeps of each object only what a plan
// reads. SecretProviderClasses are only ever warned about, so that they cannot
// be watched (the driver is not installed, or there is no right to) hinders
// nothing.
type Caches struct {
	namespaces listers.NamespaceLister
	accounts   listers.ServiceAccountLister
	classes    cache.Indexer
	needed     map[string]cache.SharedIndexInformer
	class      cache.SharedIndexInformer
}

// NewCaches returns caches that are empty until they are run.
func NewCaches(client kubernetes.Interface, store *secretsstore.Client) (*Caches, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim))
	namespaces, accounts := factory.Core().V1().Namespaces(), factory.Core().V1().ServiceAccounts()
	class := store.NewClassInformer(metav1.NamespaceAll)
	if err := class.SetTransform(slim); err != nil {
		return nil, fmt.Errorf("set up the cache of classes: %w", err)
	}
	return &Caches{
		namespaces: namespaces.Lister(),
		accounts:   accounts.Lister(),
		classes:    class.GetIndexer(),
		class:      class,
		needed: map[string]cache.SharedIndexInformer{
			"namespaces": namespaces.Informer(), "ServiceAccounts": accounts.Informer(),
		},
	}, nil
}

// Run watches until ctx ends.
func (c *Caches) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { c.class.RunWithContext(ctx) })
	for _, informer := range c.needed {
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	running.Wait()
	return nil
}

// Ready is nil once the caches have been filled.
func (c *Caches) Ready() error {
	var errs []error
	for name, informer := range c.needed {
		if !informer.HasSynced() {
			errs = append(errs, fmt.Errorf("cache of %s is not filled yet", name))
		}
	}
	return errors.Join(errs...)
}

// Namespace implements [Cluster].
func (c *Caches) Namespace(name string) (dependency.Namespace, bool) {
	n, err := c.namespaces.Get(name)
	if err != nil {
		return dependency.Namespace{}, false // the lister knows no other error than not found
	}
	return dependency.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}, true
}

// Accounts implements [Cluster].
func (c *Caches) Accounts(namespace string) dependency.Accounts {
	accounts := c.accounts.ServiceAccounts(namespace)
	return func(name string) (*dependency.ServiceAccount, bool) {
		a, err := accounts.Get(name)
		if err != nil {
			return nil, false
		}
		account := &dependency.ServiceAccount{Name: a.Name, Annotations: a.Annotations, Automount: a.AutomountServiceAccountToken}
		for _, s := range a.ImagePullSecrets {
			account.ImagePullSecrets = append(account.ImagePullSecrets, s.Name)
		}
		return account, true
	}
}

// Classes implements [Cluster].
func (c *Caches) Classes(namespace string) inject.Classes {
	if !c.class.HasSynced() {
		return nil
	}
	return func(name string) (provider string, found bool) {
		object, found, err := c.classes.GetByKey(namespace + "/" + name)
		if err != nil || !found {
			return "", false
		}
		class, ok := object.(*secretsstore.SecretProviderClass)
		return class.Spec.Provider, ok
	}
}

// slim is the informers' transform: it drops what no plan reads.
func slim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: identity(o.ObjectMeta, annotation.Prefix)}, nil
	case *corev1.ServiceAccount:
		return &corev1.ServiceAccount{
			ObjectMeta:                   identity(o.ObjectMeta, identityPrefix),
			ImagePullSecrets:             o.ImagePullSecrets,
			AutomountServiceAccountToken: o.AutomountServiceAccountToken,
		}, nil
	case *secretsstore.SecretProviderClass:
		return &secretsstore.SecretProviderClass{
			ObjectMeta: identity(o.ObjectMeta, identityPrefix),
			Spec:       secretsstore.SecretProviderClassSpec{Provider: o.Spec.Provider},
		}, nil
	}
	return object, nil
}

// identityPrefix begins the annotations of azure-workload-identity.
const identityPrefix = "azure.workload.identity/"

// identity keeps what tells the object from others, and its labels and
// annotations that begin with prefix.
func identity(m metav1.ObjectMeta, prefix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Labels: keep(m.Labels, prefix), Annotations: keep(m.Annotations, prefix),
	}
}

func keep(all map[string]string, prefix string) map[string]string {
	kept := map[string]string{}
	for key, value := range all {
		if strings.HasPrefix(key, prefix) {
			kept[key] = value
		}
	}
	return kept
}
