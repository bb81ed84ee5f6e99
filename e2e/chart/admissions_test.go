package chart

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
)

// shop is a namespace whose pods ask for secrets.
const shop = "shop"

// admissions are pods that ask for a secret and are created one after the other
// (the API server is asked and keeps none of them), from begin to end.
type admissions struct {
	t     *testing.T
	stop  context.CancelFunc
	ended chan struct{}
	count int
}

// beginAdmissions has each failure fail the test.
func beginAdmissions(t *testing.T) *admissions {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	a := &admissions{t: t, stop: stop, ended: make(chan struct{})}
	go a.run(ctx)
	t.Cleanup(func() { a.end() })
	return a
}

func (a *admissions) run(ctx context.Context) {
	const pause = 25 * time.Millisecond
	defer close(a.ended)
	for ; ctx.Err() == nil; time.Sleep(pause) {
		if _, err := admit(ctx); err != nil && ctx.Err() == nil {
			a.t.Errorf("pod %d was not admitted: %v", a.count+1, err)
			return
		}
		a.count++
	}
}

// end answers how many were admitted.
func (a *admissions) end() int {
	a.stop()
	<-a.ended
	return a.count
}

// admit has one admitted and answers whether it was given what it asked for.
func admit(ctx context.Context) (injected bool, err error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Annotations: map[string]string{annotation.Objects: "db-password"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop/app:1"}}},
	}
	admitted, err := shared.Client().CoreV1().Pods(shop).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return false, err
	}
	return admitted.Labels[annotation.InjectedLabel] == "true" && len(admitted.Spec.Volumes) > 1, nil
}

func openShop(t *testing.T) {
	t.Helper()
	if err := shared.Namespace(t.Context(), shop, map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled}); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "annotate", "namespace", shop, annotation.Vault+"=shop-kv",
		annotation.TenantID+"=11111111-2222-3333-4444-555555555555", annotation.ClientID+"=99999999-8888-7777-6666-555555555555")
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := shared.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ensureNamespace makes the release's namespace, as docs/install.md wants it.
func ensureNamespace(t *testing.T) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	namespaces := shared.Client().CoreV1().Namespaces()
	if _, err := namespaces.Get(t.Context(), namespace, metav1.GetOptions{}); err == nil {
		return
	}
	if _, err := namespaces.Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
