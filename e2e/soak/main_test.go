package soak

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/install"
	"keyroll.dev/internal/annotation"
)

var (
	shared  *cluster.Cluster
	keyroll *install.Installation
)

// long is whether the whole length is played, with its limits in seconds. The
// short form shows the same, but how long something takes on a busy machine is
// nobody's fault.
var long = os.Getenv("KEYROLL_SOAK") != ""

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{}, func(ctx context.Context, c *cluster.Cluster) (err error) {
		shared = c
		if err := driver.InstallAlone(ctx, c.Admin()); err != nil {
			return err
		}
		keyroll, err = install.Apply(ctx, c, install.Options{Clocks: true, WebhookArgs: asShipped, WatcherArgs: asShipped})
		return err
	}))
}

// asShipped adds nothing to the arguments of the Deployments.
var asShipped = []string{}

// namespace makes one in which pods are injected.
func namespace(t *testing.T, name string) {
	t.Helper()
	ctx := t.Context()
	if err := shared.Namespace(ctx, name, map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name:        "web",
		Annotations: map[string]string{annotation.IdentityClientID: "99999999-8888-7777-6666-555555555555"},
	}}
	if _, err := shared.Client().CoreV1().ServiceAccounts(name).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// asking is a pod that asks for secrets and that nobody schedules: it is made
// for its admission.
func asking(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			annotation.Objects:        "db-username,db-password",
			annotation.Vault:          "shop-kv",
			annotation.TenantID:       "11111111-2222-3333-4444-555555555555",
			annotation.ServiceAccount: "web",
		}},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody",
			Containers:    []corev1.Container{{Name: "app", Image: "shop/app:1"}},
		},
	}
}

// injected tells what a pod lacks that the webhook gives, "" if nothing.
func injected(pod *corev1.Pod) string {
	if pod.Annotations[annotation.Dependencies] == "" {
		return "no record"
	}
	if pod.Spec.ServiceAccountName != "web" {
		return "runs as " + pod.Spec.ServiceAccountName
	}
	for _, v := range pod.Spec.Volumes {
		if v.CSI != nil && v.CSI.Driver == driver.Name {
			return ""
		}
	}
	return "no volume"
}

// until waits for what is lacking to be "".
func until(ctx context.Context, what string, lacking func() string) error {
	const patience, poll = 3 * time.Minute, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		still := lacking()
		if still == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %s", what, ctx.Err(), still)
		case <-time.After(poll):
		}
	}
}
