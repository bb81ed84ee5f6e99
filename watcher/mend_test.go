package watcher

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"keyroll.dev/internal/annotation"
)

func TestLacking(t *testing.T) {
	tests := map[string]struct {
		workload, template map[string]string
		want               bool
	}{
		"nothing is asked":                      {},
		"the template alone asks":               {nil, map[string]string{annotation.Objects: "a"}, false},
		"copied":                                {map[string]string{annotation.Objects: "a"}, map[string]string{annotation.Objects: "a", annotation.FromWorkload: "objects"}, false},
		"never copied":                          {map[string]string{annotation.Objects: "a"}, nil, true},
		"the template's own value wins":         {map[string]string{annotation.Objects: "a"}, map[string]string{annotation.Objects: "b"}, false},
		"another value was copied":              {map[string]string{annotation.Objects: "a"}, map[string]string{annotation.Objects: "b", annotation.FromWorkload: "objects"}, true},
		"copied, and removed from the workload": {nil, map[string]string{annotation.Objects: "a", annotation.FromWorkload: "objects"}, true},
		"what is read where it stands":          {map[string]string{annotation.Restart: "never", annotation.RestartOn: "auto"}, nil, false},
		"what the webhook would not copy":       {map[string]string{annotation.Objects: "a_b"}, nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := lens{}.deployment(deployment(func(d *appsv1.Deployment) {
				d.Annotations, d.Spec.Template.Annotations = test.workload, test.template
			}))
			if got := w.lacking(); got != test.want {
				t.Errorf("lacking %t, want %t", got, test.want)
			}
		})
	}
}

func TestWhatTheWebhookMissedIsSentAgainUntilItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missed := deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.Objects] = "db-password" })
		c := start(t, []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}, missed})
		defer c.stop()
		time.Sleep(time.Hour)
		if len(c.patches()) > 0 {
			t.Fatalf("%d patches in a namespace that is not opted in", len(c.patches()))
		}
		_, err := c.kube.CoreV1().Namespaces().Update(t.Context(), enabledNamespace(), metav1.UpdateOptions{})
		c.must(err)
		time.Sleep(24 * time.Hour)
		// The delay doubles from 2 s to 10 minutes.
		if n := len(c.patches()); n < 140 || n > 170 {
			t.Errorf("%d patches in a day without a webhook", n)
		}
		for _, p := range c.patches() {
			if diff := cmp.Diff(merge{Metadata: mergeMetadata{UID: "web-uid", ResourceVersion: p.Metadata.ResourceVersion}}, p); diff != "" {
				t.Fatalf("a patch changes something (-want +got)\n%s", diff)
			}
		}
		c.admit(func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{annotation.Objects: "db-password", annotation.FromWorkload: "objects"}
		})
		before := len(c.patches())
		time.Sleep(24 * time.Hour)
		if n := len(c.patches()) - before; n != 1 {
			t.Errorf("%d patches after the webhook came back, want 1", n)
		}
	})
}

func TestAConflictOfAMendIsNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missed := deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.Objects] = "db-password" })
		c := start(t, []runtime.Object{enabledNamespace(), missed})
		defer c.stop()
		conflicts := 0
		c.refuse(func(name string) error { // while the cache lags
			if conflicts++; conflicts > 1000 {
				return nil
			}
			return apierrors.NewConflict(appsv1.Resource("deployments"), name, errors.New("changed meanwhile"))
		})
		time.Sleep(time.Minute)
		// At once, and after 2, 4, 8 and so on seconds.
		if n := len(c.patches()); n < 2 || n > 7 {
			t.Errorf("%d patches in a minute of conflicts", n)
		}
	})
}

func TestWhatTheWebhookDoesNotCopyIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missed := deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.Objects] = "db-password" })
		c := start(t, []runtime.Object{enabledNamespace(), missed})
		defer c.stop()
		time.Sleep(4 * time.Minute)
		if told := c.events(); len(told) > 0 {
			t.Errorf("events %v while the webhook may just be restarting", told)
		}
		for range 200 { // an autoscaler at work
			time.Sleep(time.Minute)
			d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "web", metav1.GetOptions{})
			c.must(err)
			d.Generation++
			d.ResourceVersion += "0"
			_, err = c.kube.AppsV1().Deployments(shop).Update(t.Context(), d, metav1.UpdateOptions{})
			c.must(err)
		}
		// The delay doubles from 2 s to 10 minutes.
		if n := len(c.patches()); n > 30 {
			t.Errorf("%d patches in 204 minutes", n)
		}
		if diff := cmp.Diff([]string{"Warning AnnotationsNotCopied Deployment/web"}, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestUnheard(t *testing.T) {
	shop := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Shop"}
	with := func(m metav1.ObjectMeta, owned bool, annotations map[string]string) metav1.ObjectMeta {
		m.Annotations, m.OwnerReferences = annotations, nil
		if owned {
			controlledBy(&m, shop, "bakery")
		}
		return m
	}
	asks := map[string]string{annotation.Objects: "a", annotation.Restart: "never"}
	tests := map[string]struct {
		owned        bool
		on, template map[string]string
		replicaSet   bool
		want         []string
	}{
		"the webhook copies from what nobody owns":                {on: asks},
		"what a controller owns is kept from the webhook":         {owned: true, on: asks, want: []string{annotation.Objects}},
		"what the template says too is heard there":               {owned: true, on: asks, template: asks},
		"what the template says otherwise is heard there alone":   {owned: true, on: asks, template: map[string]string{annotation.Objects: "b"}, want: []string{annotation.Objects}},
		"a ReplicaSet of its own is heard":                        {replicaSet: true, on: asks},
		"a Deployment's annotations are copied to its ReplicaSet": {replicaSet: true, owned: true, on: asks},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, r := deployment(), replicaSet("web-1", "1")
			d.ObjectMeta, r.ObjectMeta = with(d.ObjectMeta, test.owned, test.on), with(r.ObjectMeta, test.owned, test.on)
			d.Spec.Template.Annotations = test.template
			w := lens{}.deployment(d)
			if test.replicaSet {
				w = lens{}.workload(replicaSets, &r.ObjectMeta, &r.Spec.Template)
			}
			if diff := cmp.Diff(test.want, w.unheard()); diff != "" {
				t.Errorf("unheard (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAnnotationsOnWhatAnOperatorOwns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owned := deployment(func(d *appsv1.Deployment) {
			controlledBy(&d.ObjectMeta, schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Shop"}, "bakery")
			d.Annotations[annotation.Objects] = "db-password"
		})
		c := start(t, []runtime.Object{enabledNamespace(), owned})
		defer c.stop()
		time.Sleep(24 * time.Hour)
		if diff := cmp.Diff([]string{"Warning AnnotationsNotCopied Deployment/web"}, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestAnnotationsOnAnOwnerThatTheWebhookDoesNotSee(t *testing.T) {
	tests := map[string]struct {
		annotations, template map[string]any
		wantEvents            []string
		wantClasses           int
	}{
		"on its own metadata they ask for nothing": {
			annotations: map[string]any{annotation.Objects: "db-password", annotation.ClientID: "22222222-2222-2222-2222-222222222222"},
			wantEvents:  []string{"Warning AnnotationsNotCopied Rollout/canary"},
		},
		"what is read where it stands needs no copy": {
			annotations: map[string]any{annotation.Restart: "never"},
		},
		"on its pod template they are the pods'": {
			template:    map[string]any{annotation.Objects: "db-password", annotation.ClientID: "22222222-2222-2222-2222-222222222222"},
			wantClasses: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				canary := argo("canary")
				if test.annotations != nil {
					canary.Object["metadata"].(map[string]any)["annotations"] = test.annotations
				}
				if test.template != nil {
					canary.Object["spec"].(map[string]any)["template"] = map[string]any{"metadata": map[string]any{"annotations": test.template}}
				}
				c := start(t, []runtime.Object{enabledNamespace()}, withRollouts(canary))
				defer c.stop()
				time.Sleep(24 * time.Hour)
				if diff := cmp.Diff([]string(nil), c.patched()); diff != "" {
					t.Errorf("patches (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(test.wantEvents, c.events()); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
				if got := len(c.classesOf()); got != test.wantClasses {
					t.Errorf("%d classes were made, want %d", got, test.wantClasses)
				}
			})
		})
	}
}
