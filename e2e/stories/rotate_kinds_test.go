package stories

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/internal/annotation"
)

// kinds has workloads that are rolled beside workloads that must not be, each
// of which has an answer of its own.
func kinds(t *testing.T, g generation) {
	rolls := fleet{
		raise(t, "kind-set"+g.end).statefulSet(appName, 3, asksForFiles),
		raise(t, "kind-set-env"+g.end).statefulSet(appName, 2, asksForEnv()),
		raise(t, "kind-daemon"+g.end).daemonSet(appName, asksForEnv()),
	}
	rolls[1].env, rolls[2].env = bothInEnv, bothInEnv
	if shared.Modelled() { // nobody else can tell the watcher of another kind
		rolls = append(rolls, raise(t, "kind-rollout"+g.end).rollout(appName, 3, asksForEnv()))
		rolls[3].env = bothInEnv
	}

	never := maps.Clone(asksForFiles)
	never[annotation.Restart] = annotation.RestartIsNever
	paused := raise(t, "kind-paused"+g.end).deployed(appName, 2, asksForFiles, nil)
	zero := raise(t, "kind-zero"+g.end).deployed(appName, 2, asksForFiles, nil)
	byHand := raise(t, "kind-by-hand"+g.end).statefulSet(appName, 2, asksForFiles, func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	below := raise(t, "kind-below"+g.end).statefulSet(appName, 2, asksForFiles, func(s *appsv1.StatefulSet) {
		partition := int32(2)
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	asked := raise(t, "kind-never"+g.end).deployed(appName, 2, never, nil)
	stays := fleet{paused, zero, byHand, below, asked}

	// Nothing replaces their pods.
	bare, batch := raise(t, "kind-bare"+g.end), raise(t, "kind-job"+g.end)
	bare.createBare("lonely")
	batch.createJob("lonely")
	alone := map[string]*story{"Pod": bare, "Job": batch}

	all := append(append(fleet{}, rolls...), stays...)
	all.settled(t, "deployed")
	pods := map[string]corev1.Pod{}
	for kind, s := range alone {
		eventually(t, "the pod of the "+kind+" runs", func(context.Context) string { return s.outdated(nil) })
		pods[kind] = s.onlyPod(t)
	}
	paused.kubectl("rollout", "pause", "deployment/"+appName, "--namespace="+paused.ns)
	zero.kubectl("scale", "deployment/"+appName, "--replicas=0", "--namespace="+zero.ns)
	paused.counted.Generation++
	zero.counted.Generation++
	all.rolled(t, "a deployment rolls nothing by itself", 0)

	all.rotate("db-password")
	for _, s := range alone {
		s.rotate("db-password")
	}
	rolls.settled(t, "rotated")
	stays.holding(t, "db-password")
	all[:len(rolls)].rolled(t, "one rollout", 1)
	stays.rolled(t, "none", 0)
	for w, reason := range map[*target]string{paused: "Paused", byHand: "OnDelete", below: "BelowPartition", asked: "RestartNever"} {
		w.told(t, w.kind, w.name, reason)
	}
	for kind, s := range alone {
		s.told(t, kind, "lonely", "NotRestartable")
		if was, is := pods[kind], s.onlyPod(t); is.UID != was.UID || is.Generation != was.Generation || is.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("the pod of the %s is not the one that it was", kind)
		}
	}

	t.Run("pods made again under their names", func(t *testing.T) {
		for _, w := range rolls[:2] {
			w.t = t
			w.kubectl("delete", "pod", w.name+"-0", "--namespace="+w.ns)
		}
		rolls.settled(t, "made again")
		rolls.rolled(t, "no rollout", 0)
	})
	t.Run("pods made again before their statuses are collected", func(t *testing.T) {
		needsModel(t, "delay the garbage collector")
		for _, w := range rolls[:2] {
			w.t = t
			w.inherits(t, w.name+"-0")
		}
		rolls[:2].settled(t, "made again")
		rolls[:2].rolled(t, "no rollout", 0)
		rolls[:2].rotate("db-password")
		rolls[:2].settled(t, "rotated")
		rolls[:2].rolled(t, "one rollout", 1)
	})
	t.Run("people make way", func(t *testing.T) {
		for _, w := range stays {
			w.t = t
		}
		paused.kubectl("rollout", "resume", "deployment/"+appName, "--namespace="+paused.ns)
		zero.kubectl("scale", "deployment/"+appName, "--replicas=2", "--namespace="+zero.ns)
		byHand.kubectl("delete", "pod", "--all", "--namespace="+byHand.ns)
		paused.counted.Generation++ // by those who resumed it
		zero.counted.Generation++
		fleet{paused, zero, byHand}.settled(t, "on the newest content")
		fleet{paused}.rolled(t, "one rollout once it is resumed", 1)
		fleet{zero, byHand}.rolled(t, "no rollout", 0)
	})
}

// createBare makes a pod that nobody owns.
func (s *story) createBare(name string) {
	s.t.Helper()
	pod := s.pod(name)
	pod.Annotations = s.inVault(asksForFiles)
	if _, err := s.Client().CoreV1().Pods(s.ns).Create(s.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(fmt.Errorf("bare pod: %w", err))
	}
}

// createJob makes one whose pod runs on.
func (s *story) createJob(name string) {
	s.t.Helper()
	spec := s.podSpec()
	spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: s.inVault(asksForFiles)},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}},
	}
	if _, err := s.Client().BatchV1().Jobs(s.ns).Create(s.t.Context(), job, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(fmt.Errorf("job: %w", err))
	}
}

// onlyPod is the one of the story's namespace.
func (s *story) onlyPod(t *testing.T) corev1.Pod {
	t.Helper()
	pods, err := s.Client().CoreV1().Pods(s.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 || len(pods.Items[0].Status.ContainerStatuses) != 1 {
		t.Fatalf("%d pods, error %v", len(pods.Items), err)
	}
	return pods.Items[0]
}

// inherits deletes a pod of a StatefulSet and has its status outlive it, as where the
// garbage collector is late: the pod that is made under its name takes it over. What
// keeps the status is another owner beside the pod.
func (w *target) inherits(t *testing.T, name string) {
	t.Helper()
	owner, err := w.object(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Driver.Pause(w.ns, name) // it would take the other owner away
	defer w.Driver.Release(w.ns, name)
	left := w.statusOf(t, name)
	w.kubectl("patch", "secretproviderclasspodstatuses", left.GetName(), "--namespace="+w.ns, "--type=json", "--patch="+fmt.Sprintf(
		`[{"op":"add","path":"/metadata/ownerReferences/-","value":{"apiVersion":"apps/v1","kind":"StatefulSet","name":%q,"uid":%q}}]`, w.name, owner.GetUID()))
	w.kubectl("delete", "pod", name, "--namespace="+w.ns)
	eventually(t, "pod "+name+" runs again", func(ctx context.Context) string {
		if lacking := w.unfinished(ctx); lacking != "" {
			return lacking
		}
		if !slices.Contains(w.podNames(), name) {
			return "it does not run"
		}
		return ""
	})
	if got := w.statusOf(t, name); got.GetUID() != left.GetUID() || got.GetGeneration() == left.GetGeneration() {
		t.Fatalf("%s was not taken over: uid %s, generation %d; it was %s, %d",
			got.GetName(), got.GetUID(), got.GetGeneration(), left.GetUID(), left.GetGeneration())
	}
}

// statusOf is the driver's status of a pod that has one mount.
func (s *story) statusOf(t *testing.T, pod string) *unstructured.Unstructured {
	t.Helper()
	client, err := dynamic.NewForConfig(s.Admin())
	if err != nil {
		t.Fatal(err)
	}
	statuses, err := client.Resource(driver.GroupVersion.WithResource("secretproviderclasspodstatuses")).Namespace(s.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range statuses.Items {
		if name, _, _ := unstructured.NestedString(statuses.Items[i].Object, "status", "podName"); name == pod {
			return &statuses.Items[i]
		}
	}
	t.Fatalf("pod %s has no status", pod)
	return nil
}
