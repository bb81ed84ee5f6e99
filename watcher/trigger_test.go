package watcher

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/internal/annotation"
)

// consumer is a Deployment whose pod takes from a driver-managed Secret without
// mounting anything, and which asks to be rolled for it.
func consumer() []runtime.Object {
	hourAgo := time.Now().Add(-time.Hour)
	pod := injectedPod("web-1-a", "web-1", "none", envFrom("app-secrets"), func(p *corev1.Pod) {
		p.Labels, p.Spec.Volumes, p.Spec.Containers[0].VolumeMounts = nil, nil, nil
		p.CreationTimestamp = metav1.NewTime(hourAgo)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", hourAgo)}
	})
	secret := managedSecret("app-secrets", "one")
	secret.CreationTimestamp = metav1.NewTime(hourAgo)
	return []runtime.Object{
		enabledNamespace(), replicaSet("web-1", "1"), pod, secret,
		deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.RestartOn] = "secret/app-secrets" }),
	}
}

func TestSecretTrigger(t *testing.T) {
	tests := map[string]struct {
		change func(*cluster, *corev1.Secret)
		want   int
	}{
		"other data": {func(c *cluster, s *corev1.Secret) {
			s.Data["db-password"] = []byte("two")
			c.putSecret(s)
		}, 1},
		"other labels, a hundred times": {func(c *cluster, s *corev1.Secret) {
			for i := range 100 {
				s.Labels["n"] = fmt.Sprint(i)
				c.putSecret(s)
				time.Sleep(time.Second)
			}
		}, 0},
		"deleted, and made again with the same data": {func(c *cluster, s *corev1.Secret) {
			c.must(c.kube.CoreV1().Secrets(shop).Delete(c.t.Context(), s.Name, metav1.DeleteOptions{}))
			time.Sleep(5 * time.Minute)
			_, err := c.kube.CoreV1().Secrets(shop).Create(c.t.Context(), s, metav1.CreateOptions{})
			c.must(err)
		}, 0},
		"deleted, and made again with other data": {func(c *cluster, s *corev1.Secret) {
			c.must(c.kube.CoreV1().Secrets(shop).Delete(c.t.Context(), s.Name, metav1.DeleteOptions{}))
			time.Sleep(time.Minute)
			s.Data["db-password"] = []byte("two")
			_, err := c.kube.CoreV1().Secrets(shop).Create(c.t.Context(), s, metav1.CreateOptions{})
			c.must(err)
		}, 1},
		"other data while the watcher is down": {func(c *cluster, s *corev1.Secret) {
			c.stop()
			s.Data["db-password"] = []byte("two")
			c.putSecret(s)
			time.Sleep(10 * time.Minute)
			c.restart()
		}, 1},
		"a restart of the watcher alone": {func(c *cluster, _ *corev1.Secret) {
			c.stop()
			c.restart()
		}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, consumer())
				defer func() { c.stop() }()
				time.Sleep(10 * time.Minute)
				if got := c.patched(); len(got) > 0 {
					t.Fatalf("patched %v before anything changed", got)
				}
				secret, err := c.kube.CoreV1().Secrets(shop).Get(t.Context(), "app-secrets", metav1.GetOptions{})
				c.must(err)
				test.change(c, secret)
				time.Sleep(10 * time.Minute)
				if got := c.patched(); len(got) != test.want {
					t.Errorf("patched %v, want %d", got, test.want)
				}
			})
		})
	}
}

func (c *cluster) putSecret(s *corev1.Secret) {
	c.t.Helper()
	_, err := c.kube.CoreV1().Secrets(shop).Update(c.t.Context(), s, metav1.UpdateOptions{})
	c.must(err)
}

// Generated Secrets are named after their content, so each change of objects
// leaves one behind.
func TestASecretThatIsGoneIsForgottenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, append(consumer(), managedSecret("older", "one"), managedSecret("flaps", "one")))
		defer c.stop()
		seen := func() []string {
			c.controller.seen.mu.Lock()
			defer c.controller.seen.mu.Unlock()
			var names []string
			for k := range c.controller.seen.seen {
				names = append(names, k.name)
			}
			slices.Sort(names)
			return names
		}
		secrets := c.kube.CoreV1().Secrets(shop)
		time.Sleep(time.Minute)
		c.must(secrets.Delete(t.Context(), "older", metav1.DeleteOptions{}))
		c.must(secrets.Delete(t.Context(), "flaps", metav1.DeleteOptions{}))
		time.Sleep(50 * time.Minute)
		_, err := secrets.Create(t.Context(), managedSecret("flaps", "one"), metav1.CreateOptions{})
		c.must(err)
		if diff := cmp.Diff([]string{"app-secrets", "flaps", "older"}, seen()); diff != "" {
			t.Errorf("after 50 minutes (-want +got)\n%s", diff)
		}
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"app-secrets", "flaps"}, seen()); diff != "" {
			t.Errorf("in the end (-want +got)\n%s", diff)
		}
	})
}

func TestWithoutTheSecretTriggerNoSecretIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects(), func(config *Config) { config.SecretTrigger = false })
		defer c.stop()
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Minute)
		if got := c.patched(); len(got) != 1 {
			t.Errorf("patched %v, want one", got)
		}
		for _, action := range c.kube.Actions() {
			if action.GetResource().Resource == "secrets" {
				t.Errorf("%s of secrets", action.GetVerb())
			}
		}
	})
}

func TestAnotherDigestKeyRollsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, consumer())
		time.Sleep(time.Minute)
		c.stop()
		c.must(c.kube.CoreV1().Secrets("keyroll-system").Delete(t.Context(), keySecret, metav1.DeleteOptions{}))
		c.restart()
		defer func() { c.stop() }()
		time.Sleep(time.Hour)
		if n := len(c.patches()); n != 0 {
			t.Fatalf("%d patches for a new key, want none", n)
		}
		secret := managedSecret("app-secrets", "two")
		c.putSecret(secret)
		time.Sleep(time.Hour)
		if n := len(c.patches()); n != 1 {
			t.Errorf("%d patches for new data, want 1", n)
		}
	})
}
