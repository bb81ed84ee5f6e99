package watcher

import (
	"slices"
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

// stalePods counts them for whatever reason.
func (c *cluster) stalePods() float64 {
	total := 0.0
	for _, reason := range slices.Concat(rollout.RollReasons, rollout.WaitReasons, rollout.LeaveReasons) {
		total += testutil.ToFloat64(c.controller.metrics.stale.WithLabelValues(string(reason)))
	}
	return total
}

// remembered names those that there is a note of.
func (c *cluster) remembered() []string {
	notes := &c.controller.notes
	notes.mu.Lock()
	defer notes.mu.Unlock()
	var keys []string
	for k := range notes.by {
		keys = append(keys, k.kind.Kind+"/"+k.name)
	}
	slices.Sort(keys)
	return keys
}

func (c *cluster) putPod(p *corev1.Pod) {
	c.t.Helper()
	_, err := c.kube.CoreV1().Pods(shop).Update(c.t.Context(), p, metav1.UpdateOptions{})
	c.must(err)
}

func (c *cluster) putReplicaSet(r *appsv1.ReplicaSet) {
	c.t.Helper()
	_, err := c.kube.AppsV1().ReplicaSets(shop).Update(c.t.Context(), r, metav1.UpdateOptions{})
	c.must(err)
}

// What changes hands, as kubectl delete --cascade=orphan and another owner of the
// same pods have it, is counted once, by who has it now.
func TestWhatChangesHandsIsCountedOnce(t *testing.T) {
	never := map[string]string{annotation.Restart: annotation.RestartIsNever}
	web := deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.Restart] = annotation.RestartIsNever })
	db := &appsv1.StatefulSet{ObjectMeta: meta("db")}
	db.Annotations, db.Spec.Template.Annotations = never, asked()
	db.Status = appsv1.StatefulSetStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, UpdateRevision: "db-2"}
	ofCanary := db.DeepCopy()
	controlledBy(&ofCanary.ObjectMeta, argoRollout.Kind, "canary")
	canary := argo("canary")
	canary.SetAnnotations(never)
	set := func(name string, owner string) *appsv1.ReplicaSet {
		return standAlone(func(r *appsv1.ReplicaSet) {
			r.ObjectMeta = meta(name)
			r.Annotations = map[string]string{revisionAnnotation: "1"}
			if r.Spec.Template.Annotations = asked(); owner != "" {
				controlledBy(&r.ObjectMeta, deployments, owner)
			}
		})
	}
	one := func(kind schema.GroupVersionKind, owner string) *corev1.Pod {
		return ownedPod("one", kind, owner, "db-2")
	}
	tests := map[string]struct {
		objects        []runtime.Object
		was            []string
		change         func(*cluster)
		want           []string
		classes, after int
	}{
		"a pod is adopted by a StatefulSet": {
			objects: []runtime.Object{db, one(pods, "")}, was: []string{"Pod/one", "StatefulSet/db"},
			change: func(c *cluster) { c.putPod(one(statefulSets, "db")) }, want: []string{"StatefulSet/db"},
			classes: 1, after: 1,
		},
		"a StatefulSet lets go of a pod": {
			objects: []runtime.Object{db, one(statefulSets, "db")}, was: []string{"StatefulSet/db"},
			change: func(c *cluster) { c.putPod(one(pods, "")) }, want: []string{"Pod/one", "StatefulSet/db"},
			classes: 1, after: 1,
		},
		"a Job's pod is adopted": {
			objects: []runtime.Object{db, one(aJob, "migrate")}, was: []string{"Pod/one", "StatefulSet/db"},
			change: func(c *cluster) { c.putPod(one(statefulSets, "db")) }, want: []string{"StatefulSet/db"},
			classes: 1, after: 1,
		},
		"a pod goes from one ReplicaSet to another": {
			objects: []runtime.Object{set("a", ""), set("b", ""), one(replicaSets, "a")}, was: []string{"ReplicaSet/a", "ReplicaSet/b"},
			change: func(c *cluster) { c.putPod(one(replicaSets, "b")) }, want: []string{"ReplicaSet/a", "ReplicaSet/b"},
			classes: 1, after: 1,
		},
		"a ReplicaSet is adopted by a Deployment": {
			objects: []runtime.Object{web, set("a", ""), one(replicaSets, "a")}, was: []string{"Deployment/web", "ReplicaSet/a"},
			change: func(c *cluster) { c.putReplicaSet(set("a", "web")) }, want: []string{"Deployment/web"},
			classes: 1,
		},
		"a Deployment lets go of a ReplicaSet": {
			objects: []runtime.Object{web, set("a", "web"), one(replicaSets, "a")}, was: []string{"Deployment/web"},
			change: func(c *cluster) { c.putReplicaSet(set("a", "")) }, want: []string{"Deployment/web", "ReplicaSet/a"},
			after: 1,
		},
		"a StatefulSet is adopted by an owner that is named": {
			objects: []runtime.Object{canary, db, one(statefulSets, "db")}, was: []string{"Rollout/canary", "StatefulSet/db"},
			change: func(c *cluster) { c.putStatefulSet(ofCanary) }, want: []string{"Rollout/canary"},
			classes: 1,
		},
		"an owner that is named lets go of a StatefulSet": {
			objects: []runtime.Object{canary, ofCanary, one(statefulSets, "db")}, was: []string{"Rollout/canary"},
			change: func(c *cluster) { c.putStatefulSet(db) }, want: []string{"Rollout/canary", "StatefulSet/db"},
			after: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := []runtime.Object{enabledNamespace(), rotated("one")}
				var custom []runtime.Object
				for _, o := range test.objects {
					if o == canary {
						custom = append(custom, o)
						continue
					}
					objects = append(objects, o.DeepCopyObject())
				}
				inBubble(objects)
				c := start(t, objects, withRollouts(custom...))
				defer c.stop()
				check := func(when string, notes []string, classes int) {
					t.Helper()
					if diff := cmp.Diff(notes, c.remembered()); diff != "" {
						t.Errorf("%s, notes (-want +got)\n%s", when, diff)
					}
					if got := c.stalePods(); got != 1 {
						t.Errorf("%s, %v stale pods, want 1", when, got)
					}
					if got := len(c.classesOf()); got != classes {
						t.Errorf("%s, %d classes, want %d", when, got, classes)
					}
				}
				time.Sleep(10 * time.Minute)
				check("before", test.was, test.classes)
				test.change(c)
				time.Sleep(2 * time.Hour)
				check("after", test.want, test.after)
			})
		})
	}
}

func (c *cluster) putStatefulSet(s *appsv1.StatefulSet) {
	c.t.Helper()
	_, err := c.kube.AppsV1().StatefulSets(shop).Update(c.t.Context(), s, metav1.UpdateOptions{})
	c.must(err)
}
