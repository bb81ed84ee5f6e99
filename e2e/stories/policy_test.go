package stories

import (
	"context"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clusterWide is the client of objects that belong to no namespace, such as policies.
type clusterWide[T metav1.Object] interface {
	Create(ctx context.Context, object T, options metav1.CreateOptions) (T, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// putUp makes an object of the whole cluster. It is gone when the test ends, or when
// what is returned is called.
func putUp[T metav1.Object](t *testing.T, client clusterWide[T], object T) (remove func()) {
	t.Helper()
	if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	remove = func() {
		_ = client.Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{})
	}
	t.Cleanup(remove)
	return remove
}

// here is the story's namespace alone.
func (s *story) here() *admissionv1.MatchResources {
	return &admissionv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.ns}},
	}
}
