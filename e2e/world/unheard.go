package world

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
)

// Unheard tells why the webhook does not know a ServiceAccount of a namespace by its
// client id yet, "" if it does. Its caches follow the API server's, and an answer
// waits for them, but not for as long as a busy machine may take. A pod that is
// refused for another reason is the business of who makes one in earnest.
func (w *World) Unheard(ctx context.Context, ns string, spec corev1.PodSpec, account, client string) string {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "heard", Annotations: map[string]string{
		annotation.Objects: "db-password", annotation.ServiceAccount: account,
	}}, Spec: spec}
	got, err := w.Client().CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		for _, unheard := range []string{"is not known here yet", "does not exist", "error looking up service account"} {
			if strings.Contains(err.Error(), unheard) {
				return err.Error()
			}
		}
		return ""
	}
	record, err := dependency.Decode(got.Annotations[annotation.Dependencies])
	if err != nil || record.ClientID != client {
		return fmt.Sprintf("client id %q (%v)", record.ClientID, err)
	}
	return ""
}
