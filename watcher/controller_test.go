package watcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// shopObjects are Deployment web with two injected pods on v1 since an hour.
func shopObjects() []runtime.Object {
	hourAgo := time.Now().Add(-time.Hour)
	objects := []runtime.Object{enabledNamespace(), deployment(), replicaSet("web-1", "1")}
	for _, name := range []string{"web-1-a", "web-1-b"} {
		p := injectedPod(name, "web-1", "files", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", hourAgo)}
			p.CreationTimestamp = metav1.NewTime(hourAgo)
		})
		status := podStatus(name, "files", "v1", 1, hourAgo)
		status.CreationTimestamp = metav1.NewTime(hourAgo)
		objects = append(objects, p, status)
	}
	return objects
}

func TestOneRotationIsOneRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Minute)
		if len(c.patches()) > 0 {
			t.Fatalf("nothing rotated, and %d patches were sent", len(c.patches()))
		}
		c.rotate("files", "v2", 20*time.Second)
		time.Sleep(10 * time.Second)
		c.rollOut("web")
		time.Sleep(time.Hour)

		d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "web", metav1.GetOptions{})
		c.must(err)
		stamp := d.Spec.Template.Annotations[annotation.Content]
		want := []merge{{
			Metadata: mergeMetadata{UID: "web-uid", ResourceVersion: "1", Annotations: map[string]string{annotation.ChangeCause: d.Annotations[annotation.ChangeCause]}},
			Spec:     &mergeSpec{},
		}}
		want[0].Spec.Template.Metadata.Annotations = map[string]string{annotation.Content: stamp}
		if diff := cmp.Diff(want, c.patches()); diff != "" || stamp == "" {
			t.Errorf("patches (-want +got)\n%s", diff)
		}
		if cause := d.Annotations[annotation.ChangeCause]; !strings.HasPrefix(cause, "keyroll: secret/db-password changed") {
			t.Errorf("change-cause is %q", cause)
		}
		wantEvents := []string{"Normal ContentRollout Deployment/web", "Normal ContentRolledOut Deployment/web"}
		if diff := cmp.Diff(wantEvents, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestARotationWhileTheWatcherWasDownIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		for _, o := range objects {
			if s, ok := o.(*secretsstore.SecretProviderClassPodStatus); ok {
				rotated := metav1.NewTime(time.Now().Add(-10 * time.Minute))
				s.Generation, s.ManagedFields[0].Time, s.Status.Objects[0].Version = 2, &rotated, "v2"
			}
		}
		c := start(t, objects)
		defer c.stop()
		time.Sleep(10 * time.Second)
		if len(c.patches()) != 1 {
			t.Errorf("%d patches were sent, want 1", len(c.patches()))
		}
	})
}

// TestRotationsCloseTogetherKeepTheInterval: the second is rolled for when
// --min-interval has passed, and once.
func TestRotationsCloseTogetherKeepTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Minute
		c := start(t, shopObjects(), func(config *Config) { config.Rollout.MinInterval = interval })
		defer c.stop()
		var sent []time.Time
		c.refuse(func(string) error {
			sent = append(sent, time.Now())
			return nil
		})
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		c.rollOut("web")
		time.Sleep(time.Minute)
		c.rotate("files", "v3", time.Second)
		time.Sleep(interval / 2)
		waiting := testutil.ToFloat64(c.controller.metrics.waiting.WithLabelValues(string(rollout.RolledRecently)))
		if len(c.patches()) != 1 || waiting != 1 {
			t.Fatalf("%d patches, %v workloads wait for the interval; want one and one", len(c.patches()), waiting)
		}
		time.Sleep(interval)
		if len(c.patches()) != 2 {
			t.Fatalf("%d patches after the interval, want 2", len(c.patches()))
		}
		// The API server tells by the second when the first was.
		if apart := sent[1].Sub(sent[0]); apart < interval-time.Second || apart > interval+5*time.Second {
			t.Errorf("they were sent %s apart, want %s", apart, interval)
		}
		c.rollOut("web")
		time.Sleep(time.Hour)
		if len(c.patches()) != 2 {
			t.Errorf("%d patches in the end, want 2", len(c.patches()))
		}
	})
}

func TestAUsersOwnChangeCauseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		objects[1].(*appsv1.Deployment).Annotations[annotation.ChangeCause] = "image of the week"
		c := start(t, objects)
		defer c.stop()
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		if len(c.patches()) != 1 || c.patches()[0].Metadata.Annotations != nil {
			t.Errorf("patches %+v, want one without annotations on the workload", c.patches())
		}
	})
}

func TestARefusedRolloutIsTriedAgainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		c.refuse(forbidden)
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(24 * time.Hour)
		refused := len(c.patches())
		// The delay doubles from 500 ms to 5 minutes: 10 tries to get there, 12 an hour after.
		if refused < 250 || refused > 330 {
			t.Errorf("%d tries in a day", refused)
		}
		if underway, waiting := c.controller.pace.counts(); underway+waiting > 0 {
			t.Errorf("the workload holds %d places and %d turns", underway, waiting)
		}
		c.refuse(nil)
		time.Sleep(6 * time.Minute)
		if len(c.patches()) != refused+1 {
			t.Errorf("%d patches after it was allowed, want 1", len(c.patches())-refused)
		}
		want := []string{"Warning ContentRolloutRefused Deployment/web", "Normal ContentRollout Deployment/web"}
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestNoEventSendsARefusedRolloutBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		c.refuse(forbidden)
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		churn := func(seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				c.controller.enqueue(key{kind: deployments.GroupKind(), namespace: shop, name: "web"})
			}
		}
		churn(3600)
		refused := len(c.patches())
		if refused < 15 || refused > 25 { // as many as in an hour without events
			t.Errorf("%d tries in an hour", refused)
		}
		c.refuse(nil)
		churn(330)
		if len(c.patches()) != refused+1 {
			t.Errorf("%d patches after it was allowed, want 1", len(c.patches())-refused)
		}
	})
}

// TestARefusedRolloutLeavesTheLine: one that waited for a place may not be sent
// yet when its turn comes.
func TestARefusedRolloutLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		c.refuse(func(string) error { return errors.New("no") })
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Minute)
		web := key{kind: deployments.GroupKind(), namespace: shop, name: "web"}
		tries := len(c.patches())
		c.controller.pace.queue(web)
		c.controller.enqueue(web)
		time.Sleep(time.Second)
		if _, waiting := c.controller.pace.counts(); waiting > 0 || len(c.patches()) > tries {
			t.Errorf("%d turns, %d tries more; want it out of the line until its time", waiting, len(c.patches())-tries)
		}
	})
}

func TestAConflictIsDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		conflicts := 0
		c.refuse(func(name string) error {
			if conflicts++; conflicts > 2 {
				return nil
			}
			return apierrors.NewConflict(appsv1.Resource("deployments"), name, errors.New("changed meanwhile"))
		})
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		if len(c.patches()) != 3 {
			t.Errorf("%d patches were sent, want two conflicts and one rollout", len(c.patches()))
		}
	})
}

// TestAWorkloadThatGoesBackIsLookedAtAgain: etcd was restored from before our
// patch, under a watcher that ran on.
func TestAWorkloadThatGoesBackIsLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		want := []string{"Normal ContentRollout Deployment/web"}
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Fatalf("events before (-want +got)\n%s", diff)
		}
		restored := deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.Restart] = annotation.RestartIsNever })
		_, err := c.kube.AppsV1().Deployments(shop).Update(t.Context(), restored, metav1.UpdateOptions{})
		c.must(err)
		time.Sleep(time.Minute)
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Errorf("events while the cache may just lag behind the patch (-want +got)\n%s", diff)
		}
		time.Sleep(2 * time.Minute)
		want = append(want, "Normal RestartNever Deployment/web")
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestWhatIsToldInTheLastMomentIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		time.Sleep(time.Minute)
		const told = 200
		for i := range told {
			c.controller.tell.rolled(&workload{kind: deployments, ObjectMeta: meta(fmt.Sprint("w", i))}, "keyroll: secret/db-password changed")
		}
		c.stop()
		if got := len(c.events()); got != told {
			t.Errorf("%d Events were written, want %d", got, told)
		}
	})
}
