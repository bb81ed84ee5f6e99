package soak

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
)

// TestOurOwnPodsNeedNoWebhook: they start when none is there, even if somebody
// has labelled our namespace and annotated our pods.
func TestOurOwnPodsNeedNoWebhook(t *testing.T) {
	ctx := t.Context()
	namespace(t, "bystanders")
	labels := `{"metadata": {"labels": {"` + annotation.InjectionLabel + `": "` + annotation.InjectionEnabled + `"}}}`
	if _, err := shared.Client().CoreV1().Namespaces().Patch(ctx, keyroll.Namespace(), types.MergePatchType, []byte(labels), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"webhook", "watcher"} {
		template := keyroll.Deployment(part).Spec.Template
		pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
		pod.Name = part
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, annotation.Objects, "db-password")
		if _, err := shared.Client().CoreV1().Pods(keyroll.Namespace()).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Errorf("pod of the %s: %v", part, err)
		}
	}
	if _, err := shared.Client().CoreV1().Pods("bystanders").Create(ctx, asking("web"), metav1.CreateOptions{}); err == nil {
		t.Error("a pod of another namespace was let in: a webhook was there, or none was asked")
	}
}
