package watcher

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// OwnerKind is a kind of workload besides Kubernetes' own: any object that has
// a pod template at spec.template and replaces its pods when that changes. One
// that takes its template from elsewhere cannot be rolled.
type OwnerKind struct {
	Kind     schema.GroupVersionKind
	Resource schema.GroupVersionResource
}

// owner views objects of such a kind.
func (l lens) owner(kind schema.GroupVersionKind) func(*unstructured.Unstructured) *workload {
	return func(o *unstructured.Unstructured) *workload {
		var template corev1.PodTemplateSpec
		found, ok, err := unstructured.NestedMap(o.Object, "spec", "template")
		has := ok && err == nil && len(found) > 0
		if has {
			// A template that is none has no annotations: then nothing is asked for.
			_ = runtime.DefaultUnstructuredConverter.FromUnstructured(found, &template)
		}
		m := metadataOf(o)
		w := l.workload(kind, &m, &template)
		// Such as Argo's Rollout with a workloadRef, which with a template beside
		// it, if only a stamp, is refused by its own controller.
		w.fixed = !has
		w.paused, _, _ = unstructured.NestedBool(o.Object, "spec", "paused")
		w.replicas = 1
		if n, ok := number(o, "spec", "replicas"); ok {
			w.replicas = int32(n)
		}
		w.observed = w.Generation
		if n, ok := number(o, "status", "observedGeneration"); ok {
			w.observed = n
		}
		updated, told := number(o, "status", "updatedReplicas")
		available, _ := number(o, "status", "availableReplicas")
		w.untold = !told
		w.complete = told && w.observed >= w.Generation && updated >= int64(w.replicas) && available >= int64(w.replicas)
		return w
	}
}

// number reads an integer, also one that is written as a string, as Argo's
// Rollout does with status.observedGeneration.
func number(o *unstructured.Unstructured, fields ...string) (int64, bool) {
	value, found, err := unstructured.NestedFieldNoCopy(o.Object, fields...)
	if !found || err != nil {
		return 0, false
	}
	switch n := value.(type) {
	case int64:
		return n, true
	case float64:
		return int64(n), true
	case string:
		parsed, err := strconv.ParseInt(n, 10, 64)
		return parsed, err == nil
	default:
		return 0, false
	}
}

func metadataOf(o *unstructured.Unstructured) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:              o.GetName(),
		Namespace:         o.GetNamespace(),
		UID:               o.GetUID(),
		ResourceVersion:   o.GetResourceVersion(),
		Generation:        o.GetGeneration(),
		CreationTimestamp: o.GetCreationTimestamp(),
		DeletionTimestamp: o.GetDeletionTimestamp(),
		Annotations:       o.GetAnnotations(),
		OwnerReferences:   o.GetOwnerReferences(),
		ManagedFields:     o.GetManagedFields(),
	}
}
