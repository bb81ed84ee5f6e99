package watcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// manyObjects are Deployments w0, w1 and so on with a pod each, all of one class
// that has rotated.
func manyObjects(n int) []runtime.Object {
	objects := []runtime.Object{enabledNamespace()}
	for i := range n {
		name := fmt.Sprintf("w%d", i)
		objects = append(objects, deployment(func(d *appsv1.Deployment) {
			d.ObjectMeta = meta(name)
			d.ManagedFields = tracked()
			d.Annotations = map[string]string{revisionAnnotation: "1"}
			d.Spec.Replicas = new(int32)
			*d.Spec.Replicas = 1
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
		}))
		set := replicaSet(name+"-1", "1")
		controlledBy(&set.ObjectMeta, deployments, name)
		objects = append(objects, set, ownedPod(name+"-1-a", replicaSets, name+"-1", ""), rotated(name+"-1-a"))
	}
	return objects
}

func atMostOne(c *Config) { c.Rollout.MaxParallel = 1 }

func TestAStuckRolloutIsToldAndGivesItsPlaceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serviceAccount, class := &corev1.ServiceAccount{ObjectMeta: meta("web")}, syncingClass("files", "unused")
		class.Spec.Parameters["clientID"] = "22222222-2222-2222-2222-222222222222"
		c := start(t, append(manyObjects(2), serviceAccount, class), atMostOne)
		defer c.stop()
		time.Sleep(9 * time.Minute)
		if len(c.patched()) != 1 {
			t.Fatalf("patched %v while the first rollout is under way, want one", c.patched())
		}
		first := strings.TrimPrefix(c.patched()[0], "deployments/")
		waiting := injectedPod(first+"-2-a", first+"-2", "files", func(p *corev1.Pod) {
			p.CreationTimestamp = metav1.Now()
			p.Annotations[annotation.Content] = c.patches()[0].Spec.Template.Metadata.Annotations[annotation.Content]
			p.Spec.ServiceAccountName = "web"
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"},
			}}}
		})
		set := replicaSet(first+"-2", "2")
		controlledBy(&set.ObjectMeta, deployments, first)
		_, err := c.kube.AppsV1().ReplicaSets(shop).Create(t.Context(), set, metav1.CreateOptions{})
		c.must(err)
		_, err = c.kube.CoreV1().Pods(shop).Create(t.Context(), waiting, metav1.CreateOptions{})
		c.must(err)
		time.Sleep(30 * time.Minute)
		if len(c.patched()) != 2 || c.patched()[0] == c.patched()[1] {
			t.Errorf("patched %v, want both once", c.patched())
		}
		events, err := c.kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		c.must(err)
		told := slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.Reason == string(rollout.RolloutStuck) && e.InvolvedObject.Name == first && strings.Contains(e.Message, "ImagePullBackOff (container app)")
		})
		if !told {
			t.Errorf("events %v do not tell what %s is stuck on", c.events(), first)
		}
		stuck := func() float64 { return testutil.ToFloat64(c.controller.metrics.stuck) }
		if stuck() != 2 {
			t.Errorf("%v rollouts are stuck, want both", stuck())
		}
		c.must(c.kube.AppsV1().Deployments(shop).Delete(t.Context(), first, metav1.DeleteOptions{}))
		time.Sleep(time.Minute)
		if stuck() != 1 {
			t.Errorf("%v rollouts are stuck when one is gone, want the other", stuck())
		}
	})
}

func TestAStuckRolloutThatIsScaledGivesItsPlaceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, manyObjects(2), atMostOne)
		defer c.stop()
		time.Sleep(10 * time.Second)
		first := strings.TrimPrefix(c.patched()[0], "deployments/")
		for replicas := range int32(4) {
			d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), first, metav1.GetOptions{})
			c.must(err)
			*d.Spec.Replicas = 2 + replicas%2
			d.Generation++
			d.Status.ObservedGeneration = d.Generation
			d.ResourceVersion += "0"
			_, err = c.kube.AppsV1().Deployments(shop).Update(t.Context(), d, metav1.UpdateOptions{})
			c.must(err)
			time.Sleep(5 * time.Minute)
		}
		if len(c.patched()) != 2 || c.patched()[0] == c.patched()[1] {
			t.Errorf("patched %v, want both once", c.patched())
		}
	})
}

// TestWhatComesAfterARolloutIsNoneOfOurs drains nodes and scales, days after a
// rollout has ended, seen by the watcher that began it and by another one.
func TestWhatComesAfterARolloutIsNoneOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer func() { c.stop() }()
		available := func(n int32) {
			d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "web", metav1.GetOptions{})
			c.must(err)
			d.Status.AvailableReplicas = n
			d.ResourceVersion += "0"
			_, err = c.kube.AppsV1().Deployments(shop).Update(t.Context(), d, metav1.UpdateOptions{})
			c.must(err)
		}
		check := func(when string, want float64) {
			time.Sleep(5 * time.Second)
			m := c.controller.metrics
			if underway, _ := c.controller.pace.counts(); underway > 0 {
				t.Errorf("%s a rollout holds a place", when)
			}
			if done := testutil.ToFloat64(m.rollouts.WithLabelValues("Deployment", rolloutDone)); done != want {
				t.Errorf("%s %v rollouts are done, want %v", when, done, want)
			}
		}
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		c.rollOut("web")
		time.Sleep(72 * time.Hour)
		available(1)
		check("while a node is drained", 1)
		time.Sleep(time.Hour)
		available(2)
		check("after that", 1)
		available(1)
		c.stop()
		c.restart()
		check("to the next watcher", 0)
		time.Sleep(time.Hour)
		available(2)
		check("to the next watcher, in the end,", 0)
		want := []string{"Normal ContentRollout Deployment/web", "Normal ContentRolledOut Deployment/web"}
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestNoMoreThanMaxParallelAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 7
		c := start(t, manyObjects(all), func(config *Config) { config.Rollout.MaxParallel = 3 })
		defer c.stop()
		time.Sleep(10 * time.Second)
		for done := range all {
			if want := min(all, done+3); len(c.patched()) != want {
				t.Fatalf("%d rollouts began when %d had ended, want %d", len(c.patched()), done, want)
			}
			name := strings.TrimPrefix(c.patched()[done], "deployments/")
			d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), name, metav1.GetOptions{})
			c.must(err)
			d.Status.ObservedGeneration = d.Generation // its pods are all of the newest revision
			_, err = c.kube.AppsV1().Deployments(shop).Update(t.Context(), d, metav1.UpdateOptions{})
			c.must(err)
			time.Sleep(time.Second) // nobody waits for a clock: the end of one brings the next
		}
		sort := slices.Sorted(slices.Values(c.patched()))
		if compact := slices.Compact(slices.Clone(sort)); len(compact) != all {
			t.Errorf("patched %v, want each once", sort)
		}
	})
}

func TestANewLeaderCountsTheRolloutsOfTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, manyObjects(3), atMostOne)
		time.Sleep(10 * time.Second)
		c.stop()
		c.restart()
		defer func() { c.stop() }()
		time.Sleep(5 * time.Minute)
		if len(c.patched()) != 1 {
			t.Errorf("patched %v, want one at a time", c.patched())
		}
	})
}

// TestARefusalDoesNotFreeThePlaceOfTheRolloutBefore: one whose content changes
// again while it is rolled out is rolled again at once, which may be refused.
func TestARefusalDoesNotFreeThePlaceOfTheRolloutBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := manyObjects(2)
		other := objects[len(objects)-1].(*secretsstore.SecretProviderClassPodStatus)
		c := start(t, objects[:len(objects)-1], atMostOne)
		defer c.stop()
		time.Sleep(10 * time.Second)
		c.refuse(func(name string) error {
			if name == "w0" {
				return forbidden(name)
			}
			return nil
		})
		d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "w0", metav1.GetOptions{})
		c.must(err)
		set := replicaSet("w0-2", "2")
		controlledBy(&set.ObjectMeta, deployments, "w0")
		_, err = c.kube.AppsV1().ReplicaSets(shop).Create(t.Context(), set, metav1.CreateOptions{})
		c.must(err)
		next := ownedPod("w0-2-a", replicaSets, "w0-2", "")
		next.CreationTimestamp = metav1.Now()
		next.Annotations[annotation.Content] = d.Spec.Template.Annotations[annotation.Content]
		next.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", time.Now())}
		_, err = c.kube.CoreV1().Pods(shop).Create(t.Context(), next, metav1.CreateOptions{})
		c.must(err)
		status := podStatus(next.Name, "files", "v2", 1, time.Now())
		status.CreationTimestamp = next.CreationTimestamp
		c.must(c.statuses.Create(secretsstore.PodStatusResource, status, shop))
		available := func(n int32) {
			d.Annotations[revisionAnnotation] = "2"
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: n}
			d.ResourceVersion += "0"
			_, err := c.kube.AppsV1().Deployments(shop).Update(t.Context(), d, metav1.UpdateOptions{})
			c.must(err)
		}
		available(0)
		time.Sleep(2 * time.Minute)
		again := podStatus(next.Name, "files", "v3", 2, time.Now())
		again.CreationTimestamp = next.CreationTimestamp
		c.must(c.statuses.Update(secretsstore.PodStatusResource, again, shop))
		time.Sleep(10 * time.Second)
		if tries := len(c.patched()); tries < 3 {
			t.Fatalf("%d patches, want a rollout and its refused successor's", tries)
		}
		c.must(c.statuses.Create(secretsstore.PodStatusResource, other, shop))
		time.Sleep(3 * time.Minute)
		if slices.Contains(c.patched(), "deployments/w1") {
			t.Errorf("patched %v, want w1 to wait while w0 is under way", c.patched())
		}
		available(1)
		time.Sleep(5 * time.Second)
		if !slices.Contains(c.patched(), "deployments/w1") {
			t.Errorf("patched %v, want w1 when the rollout of w0 has ended", c.patched())
		}
	})
}

func TestOneThatIsRefusedDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, manyObjects(3), atMostOne)
		defer c.stop()
		c.refuse(func(name string) error {
			if name == "w0" {
				return forbidden(name)
			}
			return nil
		})
		time.Sleep(25 * time.Minute) // each rollout holds the one place for 10 minutes
		for _, name := range []string{"deployments/w0", "deployments/w1", "deployments/w2"} {
			if !slices.Contains(c.patched(), name) {
				t.Errorf("%s was not tried", name)
			}
		}
	})
}

func TestADaemonSetsPodsOnDeadNodesDoNotHoldItOpen(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		return n
	}
	on := func(node, hash string, ready corev1.ConditionStatus) *corev1.Pod {
		p := ownedPod("agent-"+node, daemonSets, "agent", hash)
		p.Spec.NodeName = node
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return p
	}
	yes, no := corev1.ConditionTrue, corev1.ConditionFalse
	pending := on("", "y", no)
	tests := map[string]struct {
		objects []runtime.Object
		want    bool
	}{
		"all nodes live, one pod is not ready":        {[]runtime.Object{node("a", yes), node("b", yes), on("a", "y", yes), on("b", "y", no)}, false},
		"the pod that is not ready is on a dead one":  {[]runtime.Object{node("a", yes), node("b", no), on("a", "y", yes), on("b", "y", no)}, true},
		"the old pod is on a dead one":                {[]runtime.Object{node("a", yes), node("b", corev1.ConditionUnknown), on("a", "y", yes), on("b", "x", no)}, true},
		"its node is gone":                            {[]runtime.Object{node("a", yes), on("a", "y", yes), on("b", "x", no)}, true},
		"a pod has no node yet":                       {[]runtime.Object{node("a", yes), node("b", yes), on("a", "y", yes), pending}, false},
		"the old pod is on a living one":              {[]runtime.Object{node("a", yes), node("b", yes), on("a", "y", yes), on("b", "x", yes)}, false},
		"a dead node, and an old pod on a living one": {[]runtime.Object{node("a", yes), node("b", no), on("a", "x", yes), on("b", "x", no)}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			agent := &appsv1.DaemonSet{ObjectMeta: meta("agent")}
			agent.Status = appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 2, UpdatedNumberScheduled: 1, NumberAvailable: 1}
			c := cached(t, append(test.objects, agent, controllerRevision("agent-x", 1, "x"), controllerRevision("agent-y", 2, "y"))...)
			if got := c.complete(c.workload(key{daemonSets.GroupKind(), shop, "agent"})); got != test.want {
				t.Errorf("complete %t, want %t", got, test.want)
			}
		})
	}
}

// operator is an operator that writes its whole pod template whenever it finds
// another one: for so long it looks once a second.
func (c *cluster) operator(name string, forSo time.Duration) {
	c.t.Helper()
	for range forSo / time.Second {
		time.Sleep(time.Second)
		d, err := c.kube.AppsV1().Deployments(shop).Get(c.t.Context(), name, metav1.GetOptions{})
		c.must(err)
		if d.Spec.Template.Annotations[annotation.Content] == "" {
			continue
		}
		delete(d.Spec.Template.Annotations, annotation.Content)
		d.Spec.Template.Labels = map[string]string{"generation": fmt.Sprint(d.Generation)} // that its managedFields entry has the time
		d.Generation++
		d.Status.ObservedGeneration = d.Generation
		d.ResourceVersion += "0"
		_, err = c.kube.AppsV1().Deployments(shop).Update(c.t.Context(), d, metav1.UpdateOptions{FieldManager: "thing-operator"})
		c.must(err)
	}
}

func TestAnOperatorThatUndoesRolloutsIsNotFoughtForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, manyObjects(1))
		defer c.stop()
		c.operator("w0", time.Hour)
		// At once, again at once, and then after 1, 2, 4, 8 and 16 minutes.
		if n := len(c.patches()); n != 7 {
			t.Errorf("%d patches were sent in an hour, want 7", n)
		}
		waiting := c.controller.metrics.waiting.WithLabelValues(string(rollout.RolloutUndone))
		if got := testutil.ToFloat64(waiting); got != 1 {
			t.Errorf("%v workloads wait for that, want 1", got)
		}
		if underway, _ := c.controller.pace.counts(); underway > 0 {
			t.Errorf("it holds %d places meanwhile", underway)
		}
		events, err := c.kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		c.must(err)
		told := slices.DeleteFunc(events.Items, func(e corev1.Event) bool { return e.Reason != string(rollout.RolloutUndone) })
		if len(told) != 1 || told[0].Type != warning || !strings.Contains(told[0].Message, "(thing-operator does)") {
			t.Errorf("told %v, want one warning that names thing-operator", told)
		}
		time.Sleep(time.Hour)
		if n := len(c.patches()); n != 8 {
			t.Errorf("%d patches were sent in all, want one more when the operator is gone", n)
		}
	})
}

// TestAPatchThatChangesNothingHoldsNoPlace: nothing of the workload changes then,
// which would have it looked at again.
func TestAPatchThatChangesNothingHoldsNoPlace(t *testing.T) {
	tests := map[string]struct {
		cause       string // of the workload
		mostStarted int
	}{
		"all of it is taken off again": {"image of the week", 0},
		// Which is another one at first, and it may be once more when the record has what is rolled for.
		"all of it but for the change-cause": {"keyroll: of last week", 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := manyObjects(2)
				for _, o := range objects {
					switch o := o.(type) {
					case *appsv1.Deployment:
						o.Annotations[annotation.ChangeCause] = test.cause
					case *secretsstore.SecretProviderClassPodStatus: // not rotated yet
						o.Generation, o.ManagedFields[0].Time = 1, &o.CreationTimestamp
					}
				}
				c := start(t, objects, atMostOne)
				defer c.stop()
				time.Sleep(time.Hour) // nothing is left that would have one looked at
				first, cause := "", test.cause
				c.admit(func(d *appsv1.Deployment) {
					if first == "" {
						first = d.Name
					}
					if d.Name != first {
						return
					}
					delete(d.Spec.Template.Annotations, annotation.Content)
					if cause != d.Annotations[annotation.ChangeCause] {
						cause = d.Annotations[annotation.ChangeCause]
						d.Status.ObservedGeneration = d.Generation + 1
					}
				})
				c.rotate("files", "v3", 0)
				time.Sleep(time.Minute)
				patched := c.patched() // under the lock that first is written under
				other := map[string]string{"w0": "w1", "w1": "w0"}[first]
				if !slices.Contains(patched, "deployments/"+other) {
					t.Fatalf("patched %v, want %s too", patched, other)
				}
				if tries := len(patched); tries > 12 {
					t.Errorf("%d patches were sent in a minute, want ever fewer", tries)
				}
				time.Sleep(12 * time.Minute) // the first may have to wait for the other to be stuck
				started, refused := 0, 0
				for _, e := range c.events() {
					switch e {
					case "Normal ContentRollout Deployment/" + first:
						started++
					case "Warning ContentRolloutRefused Deployment/" + first:
						refused++
					}
				}
				if started > test.mostStarted || refused != 1 {
					t.Errorf("told %d times that %s is rolled, and %d that it is refused, want at most %d and 1", started, first, refused, test.mostStarted)
				}
			})
		})
	}
}

func TestTheWriterOfATemplate(t *testing.T) {
	entry := func(manager, fields, subresource string, seconds int64) metav1.ManagedFieldsEntry {
		at := metav1.Unix(seconds, 0)
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, Time: &at, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const template, replicas = `{"f:spec":{"f:template":{}}}`, `{"f:spec":{"f:replicas":{}}}`
	tests := map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"nothing tells":      {nil, ""},
		"no fields, no time": {[]metav1.ManagedFieldsEntry{{Manager: "kubectl"}}, ""},
		"we alone":           {[]metav1.ManagedFieldsEntry{entry(fieldManager, template, "", 3), entry(mendManager, template, "", 2)}, ""},
		"the last of others": {[]metav1.ManagedFieldsEntry{
			entry("helm", template, "", 1), entry("shop-operator", template, "", 3), entry("kubectl", template, "", 2), entry(fieldManager, template, "", 4),
		}, "shop-operator"},
		"a scale is not of the template": {[]metav1.ManagedFieldsEntry{
			entry("helm", template, "", 1), entry("autoscaler", replicas, "", 2), entry("controller", template, "status", 3),
		}, "helm"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := templateWriter(test.entries); got != test.want {
				t.Errorf("templateWriter() = %q, want %q", got, test.want)
			}
		})
	}
}
