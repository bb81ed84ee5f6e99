package watcher

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/watcher/rollout"
)

// namespace is the view of a Namespace: the label that opts in, and defaults.
type namespace struct {
	metav1.ObjectMeta // with our labels and annotations
}

func slimNamespace(n *corev1.Namespace) *namespace {
	slim := &namespace{ObjectMeta: identity(&n.ObjectMeta)}
	slim.Labels = keep(n.Labels, isOurs)
	slim.Annotations = keep(n.Annotations, isOurs)
	return slim
}

func (n *namespace) same(other *namespace) bool {
	return maps.Equal(n.Labels, other.Labels) && maps.Equal(n.Annotations, other.Annotations)
}

// told answers the namespace in the words of the resolution.
func (n *namespace) told() dependency.Namespace {
	return dependency.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
}

// account is the view of a ServiceAccount: its identity annotations.
type account struct {
	metav1.ObjectMeta // with workload-identity annotations
}

func slimAccount(a *corev1.ServiceAccount) *account {
	slim := &account{ObjectMeta: identity(&a.ObjectMeta)}
	slim.Annotations = keep(a.Annotations, func(key string) bool { return strings.HasPrefix(key, "azure.workload.identity/") })
	return slim
}

// driver is the view of a CSIDriver: its generation.
type driver struct {
	metav1.ObjectMeta

	generation rollout.Driver
}

func slimDriver(d *storagev1.CSIDriver) *driver {
	slim := &driver{ObjectMeta: identity(&d.ObjectMeta), generation: rollout.Republishing}
	// Up to v1.5.6 the driver polls by itself and the field is false or absent;
	// v1.6.0 with rotation off looks the same, and nothing rotates then.
	if d.Spec.RequiresRepublish == nil || !*d.Spec.RequiresRepublish {
		slim.generation = rollout.Polling
	}
	return slim
}

func isOurs(key string) bool { return strings.HasPrefix(key, annotation.Prefix) }
