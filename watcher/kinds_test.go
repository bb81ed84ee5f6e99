package watcher

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

// ownedPod is a current, injected pod of a set, on old content.
func ownedPod(name string, kind schema.GroupVersionKind, owner, hash string) *corev1.Pod {
	hourAgo := time.Now().Add(-time.Hour)
	p := injectedPod(name, "none", "files", func(p *corev1.Pod) {
		p.CreationTimestamp = metav1.NewTime(hourAgo)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", hourAgo)}
		p.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
	})
	p.OwnerReferences = nil
	if owner != "" {
		controlledBy(&p.ObjectMeta, kind, owner)
	}
	return p
}

// rotated is the status of a pod's mount that changed ten minutes ago.
func rotated(pod string) *secretsstore.SecretProviderClassPodStatus {
	s := podStatus(pod, "files", "v2", 2, time.Now().Add(-10*time.Minute))
	s.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
	return s
}

var argoRollout = OwnerKind{
	Kind:     schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"},
	Resource: schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"},
}

func argo(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
		"metadata": map[string]any{"namespace": shop, "name": name, "uid": name + "-uid", "resourceVersion": "1", "generation": int64(1)},
		"spec":     map[string]any{"replicas": int64(1), "template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "x"}}}},
		"status":   map[string]any{"observedGeneration": "1", "updatedReplicas": int64(1), "availableReplicas": int64(1)},
	}}
}

func TestEveryKindIsRolledOrToldOf(t *testing.T) {
	stateful := func(change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		s := &appsv1.StatefulSet{ObjectMeta: meta("db")}
		s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, UpdateRevision: "db-2"}
		for _, f := range change {
			f(s)
		}
		return s
	}
	agent := &appsv1.DaemonSet{ObjectMeta: meta("agent")}
	agent.Status = appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 1, UpdatedNumberScheduled: 1, NumberAvailable: 1}
	alone := replicaSet("alone", "")
	alone.OwnerReferences = nil
	one := int32(1)
	alone.Spec.Replicas = &one
	argoSet := replicaSet("canary-1", "")
	controlledBy(&argoSet.ObjectMeta, argoRollout.Kind, "canary")
	job := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	foo := schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Foo"}
	referring := argo("canary")
	unstructured.RemoveNestedField(referring.Object, "spec", "template")
	// It was stamped half an hour before the bubble's clock begins, its pod half an hour before that.
	inPlace := argo("canary")
	inPlace.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: fieldManager, Operation: metav1.ManagedFieldsOperationUpdate,
		Time: &metav1.Time{Time: time.Date(1999, 12, 31, 23, 30, 0, 0, time.UTC)},
	}})
	if err := unstructured.SetNestedStringMap(inPlace.Object, map[string]string{annotation.Content: "aa-1"}, "spec", "template", "metadata", "annotations"); err != nil {
		t.Fatal(err)
	}
	stampedInPlace := ownedPod("canary-a", replicaSets, "canary-1", "")
	stampedInPlace.Annotations[annotation.Content] = "aa-1"
	fooSet := replicaSet("thing-1", "")
	controlledBy(&fooSet.ObjectMeta, foo, "thing")
	numbered := func(partition int32) *appsv1.StatefulSet {
		return stateful(func(s *appsv1.StatefulSet) {
			s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
		})
	}

	tests := map[string]struct {
		objects    []runtime.Object
		wantPatch  []string
		wantEvents []string
	}{
		"a StatefulSet": {
			objects:   []runtime.Object{stateful(), ownedPod("db-0", statefulSets, "db", "db-2"), rotated("db-0")},
			wantPatch: []string{"statefulsets/db"}, wantEvents: []string{"Normal ContentRollout StatefulSet/db"},
		},
		"a StatefulSet that replaces no pod by itself": {
			objects: []runtime.Object{
				stateful(func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }),
				ownedPod("db-0", statefulSets, "db", "db-2"), rotated("db-0"),
			},
			wantEvents: []string{"Normal OnDelete StatefulSet/db"},
		},
		"a StatefulSet whose pod is below the partition": {
			objects: []runtime.Object{
				stateful(func(s *appsv1.StatefulSet) {
					s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &one}
				}),
				ownedPod("db-0", statefulSets, "db", "db-2"), rotated("db-0"),
			},
			wantEvents: []string{"Normal BelowPartition StatefulSet/db"},
		},
		"a StatefulSet whose first ordinal is another, and whose pod is below the partition": {
			objects:    []runtime.Object{numbered(1), ownedPod("db-5", statefulSets, "db", "db-2"), rotated("db-5")},
			wantEvents: []string{"Normal BelowPartition StatefulSet/db"},
		},
		"a StatefulSet whose first ordinal is another, and that keeps no pod": {
			objects:   []runtime.Object{numbered(0), ownedPod("db-5", statefulSets, "db", "db-2"), rotated("db-5")},
			wantPatch: []string{"statefulsets/db"}, wantEvents: []string{"Normal ContentRollout StatefulSet/db"},
		},
		"a DaemonSet": {
			objects: []runtime.Object{
				agent, controllerRevision("agent-y", 3, "y"), ownedPod("agent-a", daemonSets, "agent", "y"), rotated("agent-a"),
			},
			wantPatch: []string{"daemonsets/agent"}, wantEvents: []string{"Normal ContentRollout DaemonSet/agent"},
		},
		"a paused Deployment": {
			objects: []runtime.Object{
				deployment(func(d *appsv1.Deployment) { d.Spec.Paused = true }), replicaSet("web-1", "1"),
				ownedPod("web-1-a", replicaSets, "web-1", ""), rotated("web-1-a"),
			},
			wantEvents: []string{"Normal Paused Deployment/web"},
		},
		"a Deployment that asks never to be rolled, on its own metadata": {
			objects: []runtime.Object{
				deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.Restart] = "never" }), replicaSet("web-1", "1"),
				ownedPod("web-1-a", replicaSets, "web-1", ""), rotated("web-1-a"),
			},
			wantEvents: []string{"Normal RestartNever Deployment/web"},
		},
		"an Argo Rollout, through its ReplicaSet": {
			objects:   []runtime.Object{argo("canary"), argoSet, ownedPod("canary-a", replicaSets, "canary-1", ""), rotated("canary-a")},
			wantPatch: []string{"rollouts/canary"}, wantEvents: []string{"Normal ContentRollout Rollout/canary"},
		},
		"an owner that gives its pods the stamp in place": {
			objects:    []runtime.Object{inPlace, argoSet, stampedInPlace, rotated("canary-a")},
			wantEvents: []string{"Normal NotReplaced Rollout/canary"},
		},
		"an Argo Rollout that takes its template from a Deployment": {
			objects:    []runtime.Object{referring, argoSet, ownedPod("canary-a", replicaSets, "canary-1", ""), rotated("canary-a")},
			wantEvents: []string{"Normal NotRestartable Rollout/canary"},
		},
		"a ReplicaSet under an owner that is not named": {
			objects:    []runtime.Object{fooSet, ownedPod("thing-1-a", replicaSets, "thing-1", ""), rotated("thing-1-a")},
			wantEvents: []string{"Normal NotRestartable Foo/thing"},
		},
		"a StatefulSet under an owner that is named is the owner's": {
			objects: []runtime.Object{
				argo("canary"), stateful(func(s *appsv1.StatefulSet) { controlledBy(&s.ObjectMeta, argoRollout.Kind, "canary") }),
				ownedPod("db-0", statefulSets, "db", "db-2"), rotated("db-0"),
			},
			wantPatch: []string{"rollouts/canary"}, wantEvents: []string{"Normal ContentRollout Rollout/canary"},
		},
		"a StatefulSet under an owner that is not named is rolled itself": {
			objects: []runtime.Object{
				stateful(func(s *appsv1.StatefulSet) { controlledBy(&s.ObjectMeta, foo, "thing") }),
				ownedPod("db-0", statefulSets, "db", "db-2"), rotated("db-0"),
			},
			wantPatch: []string{"statefulsets/db"}, wantEvents: []string{"Normal ContentRollout StatefulSet/db"},
		},
		"a ReplicaSet that nothing controls": {
			objects:    []runtime.Object{alone, ownedPod("alone-a", replicaSets, "alone", ""), rotated("alone-a")},
			wantEvents: []string{"Normal NotRestartable ReplicaSet/alone"},
		},
		"a bare pod": {
			objects:    []runtime.Object{ownedPod("bare", pods, "", ""), rotated("bare")},
			wantEvents: []string{"Normal NotRestartable Pod/bare"},
		},
		"a Job's pod": {
			objects:    []runtime.Object{ownedPod("migrate-a", job, "migrate", ""), rotated("migrate-a")},
			wantEvents: []string{"Normal NotRestartable Job/migrate"},
		},
		"a pod whose ReplicaSet is not there": {
			objects: []runtime.Object{ownedPod("web-1-a", replicaSets, "web-1", ""), rotated("web-1-a")},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The clock of a bubble is another one than that which made the objects.
				objects := []runtime.Object{enabledNamespace()}
				var custom []runtime.Object
				for _, o := range test.objects {
					switch o := o.DeepCopyObject().(type) {
					case *unstructured.Unstructured:
						custom = append(custom, o)
					default:
						objects = append(objects, o)
					}
				}
				inBubble(objects)
				c := start(t, objects, withRollouts(custom...))
				defer c.stop()
				time.Sleep(20 * time.Second)
				if diff := cmp.Diff(test.wantPatch, c.patched()); diff != "" {
					t.Errorf("patches (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(test.wantEvents, c.events()); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
			})
		})
	}
}

// TestAnOwnerInPlaceIsRolledOnceWithoutManagedFields: who has stamped it, and
// when, is then known to this process alone.
func TestAnOwnerInPlaceIsRolledOnceWithoutManagedFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, p := replicaSet("canary-1", ""), ownedPod("canary-a", replicaSets, "canary-1", "")
		controlledBy(&set.ObjectMeta, argoRollout.Kind, "canary")
		c := start(t, []runtime.Object{enabledNamespace(), set, p, rotated("canary-a")}, withRollouts(argo("canary")))
		defer c.stop()
		time.Sleep(10 * time.Second)
		if len(c.patches()) != 1 {
			t.Fatalf("%d patches were sent, want 1", len(c.patches()))
		}
		stamp := c.patches()[0].Spec.Template.Metadata.Annotations
		p.Annotations[annotation.Content] = stamp[annotation.Content]
		_, err := c.kube.CoreV1().Pods(shop).Update(t.Context(), p, metav1.UpdateOptions{})
		c.must(err)
		stamped := argo("canary")
		stamped.SetGeneration(2)
		stamped.SetResourceVersion("2")
		c.must(unstructured.SetNestedStringMap(stamped.Object, stamp, "spec", "template", "metadata", "annotations"))
		c.must(unstructured.SetNestedField(stamped.Object, "2", "status", "observedGeneration"))
		_, err = c.config.Dynamic.Resource(argoRollout.Resource).Namespace(shop).Update(t.Context(), stamped, metav1.UpdateOptions{})
		c.must(err)
		time.Sleep(time.Hour)
		if len(c.patches()) != 1 {
			t.Errorf("%d patches were sent, want no other", len(c.patches()))
		}
		want := []string{"Normal ContentRollout Rollout/canary", "Normal NotReplaced Rollout/canary"}
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

// withRollouts names Argo's Rollout as a kind of owners.
func withRollouts(rollouts ...runtime.Object) func(*Config) {
	return func(config *Config) {
		config.OwnerKinds = []OwnerKind{argoRollout}
		config.Dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
			map[schema.GroupVersionResource]string{argoRollout.Resource: "RolloutList"}, rollouts...)
	}
}

// inBubble moves pods and statuses to the clock of the bubble.
func inBubble(objects []runtime.Object) {
	hourAgo, rotated := metav1.NewTime(time.Now().Add(-time.Hour)), metav1.NewTime(time.Now().Add(-10*time.Minute))
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Pod:
			o.CreationTimestamp = hourAgo
			o.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", hourAgo.Time)}
		case *secretsstore.SecretProviderClassPodStatus:
			o.CreationTimestamp = hourAgo
			o.ManagedFields[0].Time = &rotated
		}
	}
}

func TestOwnersStatus(t *testing.T) {
	tests := map[string]struct {
		change                 func(*unstructured.Unstructured)
		wantComplete, wantTold bool
	}{
		"all replicas updated and available": {func(*unstructured.Unstructured) {}, true, true},
		"one replica not available": {func(o *unstructured.Unstructured) {
			o.Object["spec"].(map[string]any)["replicas"] = int64(2)
		}, false, true},
		"not observed, in a string": {func(o *unstructured.Unstructured) { o.SetGeneration(2) }, false, true},
		"no status":                 {func(o *unstructured.Unstructured) { delete(o.Object, "status") }, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := argo("canary")
			test.change(o)
			w := lens{}.owner(argoRollout.Kind)(o)
			if w.complete != test.wantComplete || w.untold == test.wantTold {
				t.Errorf("complete %t, told %t; want %t, %t", w.complete, !w.untold, test.wantComplete, test.wantTold)
			}
		})
	}
}
