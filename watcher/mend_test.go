package watcher

import (
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
