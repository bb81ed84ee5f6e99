package install

import (
	"context"
	"fmt"
	"net"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Redirect is what makes manifests usable where nothing runs in pods: webhooks are
// called at address (host:port), and cert-manager's certificates are good for it too.
// Deployments stay: see [Installation.Adopt].
func Redirect(manifests []byte, address string) ([]byte, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	objects, err := parse(manifests)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		switch object.GetKind() {
		case "MutatingWebhookConfiguration":
			err = pointTo(object, address)
		case "Certificate":
			err = addName(object, host)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	text, err := encode(objects)
	return []byte(text), err
}

// addName adds a host to a certificate that is for hosts.
func addName(certificate *unstructured.Unstructured, host string) error {
	names, found, err := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames")
	if err != nil || !found {
		return err
	}
	return unstructured.SetNestedStringSlice(certificate.Object, append(names, host), "spec", "dnsNames")
}

// Adopt takes up the Deployments as they stand in the cluster, where Helm for one
// has put them: processes that are started from now on have their arguments.
// Those that run already stay as they are, as pods do until they are replaced.
func (i *Installation) Adopt(ctx context.Context, namespace string) error {
	found := &rendered{deployments: map[string]*appsv1.Deployment{}, namespace: namespace}
	for _, name := range []string{webhookName, watcherName} {
		d, err := i.cluster.Client().AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		found.deployments[name] = d
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rendered = found
	return nil
}
