package watcher

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/rollout"
)

// namespace is the view of a Namespace: the labels that opt in or leave out, and defaults.
type namespace struct {
	metav1.ObjectMeta // with our annotations, and the labels that opt in or leave out
}

func slimNamespace(n *corev1.Namespace) *namespace {
	slim := &namespace{ObjectMeta: identity(&n.ObjectMeta)}
	slim.Labels = keep(n.Labels, func(key string) bool { return isOurs(key) || annotation.LeftOut[key] != "" })
	slim.Annotations = keep(n.Annotations, isOurs)
	return slim
}

func (n *namespace) same(other *namespace) bool {
	return maps.Equal(n.Labels, other.Labels) && maps.Equal(n.Annotations, other.Annotations)
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
	still      bool // it is known to rotate nothing
}

// slimDriver tells the generation by whether kubelet is to republish volumes,
// which v1.6.0 asks for when it rotates and older drivers never do. With
// rotation off v1.6.0 does not ask either, but its chart labels the object with
// its version.
func slimDriver(d *storagev1.CSIDriver) *driver {
	slim := &driver{ObjectMeta: identity(&d.ObjectMeta), generation: rollout.Polling}
	republishes := d.Spec.RequiresRepublish != nil && *d.Spec.RequiresRepublish
	if newer := republishing(d.Labels["app.kubernetes.io/version"]); republishes || newer {
		slim.generation, slim.still = rollout.Republishing, !republishes
	}
	return slim
}

// republishing reports whether a version of the driver is v1.6.0 or later.
func republishing(label string) bool {
	v, err := version.ParseGeneric(label)
	return err == nil && v.AtLeast(version.MustParseGeneric("1.6.0"))
}

func isOurs(key string) bool { return strings.HasPrefix(key, annotation.Prefix) }
