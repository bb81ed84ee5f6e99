package secretsstore

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// Classes reads and writes SecretProviderClasses of one namespace, or reads
// those of all namespaces where it was made for "".
type Classes interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*SecretProviderClass, error)
	List(ctx context.Context, opts metav1.ListOptions) (*SecretProviderClassList, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	Create(ctx context.Context, class *SecretProviderClass, opts metav1.CreateOptions) (*SecretProviderClass, error)
	Update(ctx context.Context, class *SecretProviderClass, opts metav1.UpdateOptions) (*SecretProviderClass, error)
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*SecretProviderClass, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// PodStatuses reads SecretProviderClassPodStatuses of one namespace, or of all
// where it was made for "". There is no way to write one (see the package doc).
// What a watch tells has of an object's metadata what is asked for: its names,
// UID, resourceVersion, generation and creationTimestamp; annotations; kind and
// UID of its owners; manager, operation and time of its managedFields.
type PodStatuses interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*SecretProviderClassPodStatus, error)
	List(ctx context.Context, opts metav1.ListOptions) (*SecretProviderClassPodStatusList, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// Client reads and writes the driver's resources. It is safe for concurrent use.
type Client struct {
	classes     func(namespace string) Classes
	podStatuses func(namespace string) PodStatuses
	// source is what informers ask whether it can stream lists.
	source any
}

// NewClient returns a client for the API server of cfg, which it does not change.
func NewClient(cfg *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the driver's types: %w", err)
	}
	c := rest.CopyConfig(cfg)
	c.GroupVersion = &GroupVersion
	c.APIPath = "/apis"
	// Custom resources are served as JSON only, whatever the rest of the program speaks.
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c.NegotiatedSerializer = newCodecs(scheme)
	if c.UserAgent == "" {
		c.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", GroupVersion, err)
	}
	codec := runtime.NewParameterCodec(scheme)
	return NewClientFrom(
		func(namespace string) Classes {
			return gentype.NewClientWithList(ClassResource.Resource, client, codec, namespace,
				func() *SecretProviderClass { return &SecretProviderClass{} },
				func() *SecretProviderClassList { return &SecretProviderClassList{} })
		},
		func(namespace string) PodStatuses {
			return gentype.NewClientWithList(PodStatusResource.Resource, client, codec, namespace,
				func() *SecretProviderClassPodStatus { return &SecretProviderClassPodStatus{} },
				func() *SecretProviderClassPodStatusList { return &SecretProviderClassPodStatusList{} })
		},
		client), nil
}

// NewClientFrom returns a client over other implementations, such as the fakes
// of secretsstore/fake. source is asked by informers whether it can stream lists.
func NewClientFrom(classes func(namespace string) Classes, podStatuses func(namespace string) PodStatuses, source any) *Client {
	return &Client{classes: classes, podStatuses: podStatuses, source: source}
}

// Classes returns the classes of a namespace, or with "" of all.
func (c *Client) Classes(namespace string) Classes { return c.classes(namespace) }

// PodStatuses returns the statuses of a namespace, or with "" of all.
func (c *Client) PodStatuses(namespace string) PodStatuses { return c.podStatuses(namespace) }
