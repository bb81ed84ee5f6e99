package webhook

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
	storefake "keyroll.dev/internal/secretsstore/fake"
)

func TestCachesAnswerWithWhatPlansRead(t *testing.T) {
	no := false
	client := fake.NewClientset(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name:        "shop",
			Labels:      map[string]string{"keyroll.dev/injection": "enabled", "team": "a"},
			Annotations: map[string]string{"keyroll.dev/vault": "shop-kv", "example.com/note": "long"},
		}},
		&corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "web", Labels: map[string]string{"team": "a"},
				Annotations:   map[string]string{"azure.workload.identity/client-id": "id", "example.com/note": "long"},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
			},
			Secrets:                      []corev1.ObjectReference{{Name: "web-token"}},
			ImagePullSecrets:             []corev1.LocalObjectReference{{Name: "registry"}},
			AutomountServiceAccountToken: &no,
		},
	)
	store, _, _ := storefake.New(&secretsstore.SecretProviderClass{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"},
		Spec:       secretsstore.SecretProviderClassSpec{Provider: "azure", Parameters: map[string]string{"keyvaultName": "shop-kv"}},
	})
	synctest.Test(t, func(t *testing.T) {
		c, err := NewCaches(client, store)
		if err != nil {
			t.Fatal(err)
		}
		if c.Ready() == nil || c.Classes("shop") != nil {
			t.Error("ready before it runs")
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		if err := c.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		checkContent(t, c, &no)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func checkContent(t *testing.T, c *Caches, no *bool) {
	t.Helper()
	namespace, _ := c.Namespace("shop")
	wantNamespace := dependency.Namespace{
		Name:   "shop",
		Labels: map[string]string{"keyroll.dev/injection": "enabled"}, Annotations: map[string]string{"keyroll.dev/vault": "shop-kv"},
	}
	if diff := cmp.Diff(wantNamespace, namespace); diff != "" {
		t.Errorf("namespace (-want +got):\n%s", diff)
	}
	account, _ := c.Accounts("shop")("web")
	wantAccount := &dependency.ServiceAccount{
		Name: "web", Annotations: map[string]string{"azure.workload.identity/client-id": "id"},
		ImagePullSecrets: []string{"registry"}, Automount: no,
	}
	if diff := cmp.Diff(wantAccount, account); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}
	if provider, found := c.Classes("shop")("own"); provider != "azure" || !found {
		t.Errorf("class is of provider %q, found: %v", provider, found)
	}
	if _, found := c.Namespace("bank"); found {
		t.Error("found a namespace that is not there")
	}
	if _, found := c.Accounts("bank")("web"); found {
		t.Error("found an account of another namespace")
	}
	if _, found := c.Classes("bank")("own"); found {
		t.Error("found a class of another namespace")
	}
}

// What no plan reads is not kept in memory.
func TestSlimDropsTheRest(t *testing.T) {
	tests := map[string]struct{ object, want any }{
		"a namespace": {
			&corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "1", ResourceVersion: "2", ManagedFields: []metav1.ManagedFieldsEntry{{}}},
				Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
			},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: "shop", UID: "1", ResourceVersion: "2", Labels: map[string]string{}, Annotations: map[string]string{},
			}},
		},
		"an account": {
			&corev1.ServiceAccount{Secrets: []corev1.ObjectReference{{Name: "token"}}},
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}},
		},
		"a class": {
			&secretsstore.SecretProviderClass{Spec: secretsstore.SecretProviderClassSpec{
				Provider: "azure", Parameters: map[string]string{"objects": "long"}, SecretObjects: []*secretsstore.SecretObject{{}},
			}},
			&secretsstore.SecretProviderClass{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}},
				Spec:       secretsstore.SecretProviderClassSpec{Provider: "azure"},
			},
		},
		"the informer's own mark of a deletion it missed": {"tombstone", "tombstone"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := slim(tc.object)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("slim (-want +got):\n%s", diff)
			}
		})
	}
}

// A cluster without the driver has no classes to watch, and that hinders nothing.
func TestReadyDoesNotNeedClasses(t *testing.T) {
	store, _, _ := storefake.New()
	c, err := NewCaches(fake.NewClientset(), store)
	if err != nil {
		t.Fatal(err)
	}
	var needed []string
	for name := range c.needed {
		needed = append(needed, name)
	}
	slices.Sort(needed)
	if diff := cmp.Diff([]string{"ServiceAccounts", "namespaces"}, needed); diff != "" {
		t.Errorf("needed (-want +got):\n%s", diff)
	}
}
