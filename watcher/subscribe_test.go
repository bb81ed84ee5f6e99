package watcher

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/rollout"
)

var aJob = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}

// asked are annotations that a class comes from.
func asked() map[string]string {
	return map[string]string{annotation.Objects: "db-password", annotation.ClientID: "22222222-2222-2222-2222-222222222222"}
}

// uninjected is a pod that asks for secrets and runs without them.
func uninjected(name string, kind schema.GroupVersionKind, owner string) *corev1.Pod {
	p := ownedPod(name, kind, owner, "")
	p.Labels, p.Annotations, p.Spec.Volumes, p.Spec.Containers[0].VolumeMounts = nil, asked(), nil, nil
	return p
}

// standAlone is a ReplicaSet that nothing controls.
func standAlone(change ...func(*appsv1.ReplicaSet)) *appsv1.ReplicaSet {
	one := int32(1)
	r := replicaSet("alone", "")
	r.OwnerReferences, r.Spec.Replicas = nil, &one
	for _, f := range change {
		f(r)
	}
	return r
}

// counted are the gauges of pods.
type counted struct{ stale, unknown, uninjected float64 }

func (c *cluster) counted() counted {
	m := c.controller.metrics
	return counted{
		stale:      testutil.ToFloat64(m.stale.WithLabelValues(string(rollout.NotRestartable))),
		unknown:    testutil.ToFloat64(m.unknown),
		uninjected: testutil.ToFloat64(m.missed),
	}
}

func (c *cluster) putNamespace(n *corev1.Namespace) {
	c.t.Helper()
	_, err := c.kube.CoreV1().Namespaces().Update(c.t.Context(), n, metav1.UpdateOptions{})
	c.must(err)
}

// What no workload that can be rolled stands behind is found as well when a
// namespace is labelled after it was made, and let go when the label goes.
func TestALabelThatComesOrGoesConcernsAllThatANamespaceHolds(t *testing.T) {
	unlabelled := func() *corev1.Namespace { return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}} }
	lacking := standAlone(func(r *appsv1.ReplicaSet) {
		for key, value := range asked() {
			r.Annotations[key] = value
		}
	})
	templated := standAlone(func(r *appsv1.ReplicaSet) { r.Spec.Template.Annotations = asked() })
	tests := map[string]struct {
		objects     func() []runtime.Object
		wantCounted counted
		wantEvents  []string
		wantPatched []string
		wantClasses int
	}{
		"bare pods and Jobs' that were not injected": {
			objects: func() []runtime.Object {
				return []runtime.Object{uninjected("bare", pods, ""), uninjected("migrate-a", aJob, "migrate")}
			},
			wantCounted: counted{uninjected: 2},
			wantEvents:  []string{"Warning InjectionMissed Job/migrate", "Warning InjectionMissed Pod/bare"},
		},
		"a bare pod on old content": {
			objects:     func() []runtime.Object { return []runtime.Object{ownedPod("bare", pods, "", ""), rotated("bare")} },
			wantCounted: counted{stale: 1},
			wantEvents:  []string{"Normal NotRestartable Pod/bare"},
		},
		"a ReplicaSet that nothing controls, and its pod": {
			objects: func() []runtime.Object {
				return []runtime.Object{templated, uninjected("alone-a", replicaSets, "alone")}
			},
			wantCounted: counted{uninjected: 1},
			wantEvents:  []string{"Warning InjectionMissed ReplicaSet/alone"},
			wantClasses: 1,
		},
		"a ReplicaSet that the webhook did not see": {
			objects:     func() []runtime.Object { return []runtime.Object{lacking} },
			wantPatched: []string{"replicasets/alone"},
			wantClasses: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, append(test.objects(), unlabelled()))
				defer c.stop()
				time.Sleep(time.Hour)
				if diff := cmp.Diff([]string(nil), append(c.events(), c.patched()...)); diff != "" || len(c.classesOf()) > 0 {
					t.Fatalf("before the label, %d classes (-want +got)\n%s", len(c.classesOf()), diff)
				}
				c.putNamespace(enabledNamespace())
				time.Sleep(time.Second)
				if diff := cmp.Diff(test.wantCounted, c.counted(), cmp.AllowUnexported(counted{})); diff != "" {
					t.Errorf("pods counted (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(test.wantEvents, c.events(), cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(test.wantPatched, c.patched()); diff != "" {
					t.Errorf("patches (-want +got)\n%s", diff)
				}
				if got := len(c.classesOf()); got != test.wantClasses {
					t.Errorf("%d classes, want %d", got, test.wantClasses)
				}
				c.putNamespace(unlabelled())
				time.Sleep(2 * time.Hour)
				if got := c.counted(); got != (counted{}) {
					t.Errorf("without the label, %+v", got)
				}
				if got := len(c.classesOf()); got != 0 {
					t.Errorf("%d classes are left without the label", got)
				}
			})
		})
	}
}
