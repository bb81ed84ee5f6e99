package driver

import (
	"context"
	"fmt"
	"runtime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// client is one component's access to the API server. Its user agent decides
// the field manager of what it writes.
type client struct {
	kubernetes.Interface
	custom rest.Interface
}

// pluginAgent is the user agent of a part of the driver; up to the first slash
// it is the field manager csi-secrets-store.
func pluginAgent(part, version string) string {
	return fmt.Sprintf("csi-secrets-store/%s/%s (%s/%s) /", part, version, runtime.GOOS, runtime.GOARCH)
}

func newClient(base *rest.Config, agent string) (*client, error) {
	config := rest.CopyConfig(base)
	config.UserAgent = agent
	config.WarningHandler = rest.NoWarnings{}
	config.QPS, config.Burst = 500, 1000 // many nodes share this client; each of the real ones has its own
	core := rest.CopyConfig(config)
	core.ContentType = "application/vnd.kubernetes.protobuf"
	core.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	kube, err := kubernetes.NewForConfig(core)
	if err != nil {
		return nil, err
	}
	config.GroupVersion = &GroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = codecs.WithoutConversion()
	custom, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return &client{Interface: kube, custom: custom}, nil
}

func (c *client) classes(namespace string) *gentype.ClientWithList[*Class, *ClassList] {
	return gentype.NewClientWithList("secretproviderclasses", c.custom, kruntime.NewParameterCodec(customScheme), namespace,
		func() *Class { return &Class{} }, func() *ClassList { return &ClassList{} })
}

func (c *client) podStatuses(namespace string) *gentype.ClientWithList[*PodStatus, *PodStatusList] {
	return gentype.NewClientWithList("secretproviderclasspodstatuses", c.custom, kruntime.NewParameterCodec(customScheme), namespace,
		func() *PodStatus { return &PodStatus{} }, func() *PodStatusList { return &PodStatusList{} })
}

// listWatcher is what gentype's clients with lists offer an informer.
type listWatcher[L kruntime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func newInformer[L kruntime.Object](c listWatcher[L], object kruntime.Object, tweak func(*metav1.ListOptions)) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (kruntime.Object, error) {
			tweak(&o)
			return c.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			tweak(&o)
			return c.Watch(ctx, o)
		},
	}, object, 0, cache.Indexers{})
}
