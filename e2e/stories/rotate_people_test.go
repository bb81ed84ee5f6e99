package stories

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/world"
)

// peopleRoll has a secret rotate while a rollout of the people's own, to another
// image, is under way.
func peopleRoll(t *testing.T, g generation) {
	needsModel(t, "pause a pod's polling")
	// Pods that started on the old content want one more rollout.
	before := fleet{
		raise(t, "people-files"+g.end).rollsSlowly("Deployment", asksForFiles),
		raise(t, "people-env"+g.end).rollsSlowly("Deployment", asksForEnv()),
		raise(t, "people-set"+g.end).rollsSlowly("StatefulSet", asksForFiles),
		raise(t, "people-daemon"+g.end).rollsSlowly("DaemonSet", asksForFiles),
	}
	before[1].env = bothInEnv
	// Those that started on the new one do not, though the others are stale until they go.
	after := fleet{
		raise(t, "people-files-after"+g.end).rollsSlowly("Deployment", asksForFiles),
		raise(t, "people-set-after"+g.end).rollsSlowly("StatefulSet", asksForFiles),
		raise(t, "people-daemon-after"+g.end).rollsSlowly("DaemonSet", asksForFiles),
	}
	all := append(append(fleet{}, before...), after...)
	all.settled(t, "deployed")
	all.rolled(t, "a deployment rolls nothing by itself", 0)

	var paused []func()
	release := func() {
		for _, f := range paused {
			f()
		}
	}
	defer release()
	for _, w := range after {
		for _, pod := range w.podNames() {
			w.Driver.Pause(w.ns, pod)
			paused = append(paused, func() { w.Driver.Release(w.ns, pod) })
		}
	}
	after.rotate("db-password")
	for _, w := range all {
		w.t = t
		w.kubectl("set", "image", w.kind+"/"+w.name, "app="+nextImage, "--namespace="+w.ns)
	}
	for _, w := range all {
		eventually(t, "a pod of "+w.ns+" runs the new image", w.runsNextImage)
	}
	before.rotate("db-password")
	release()
	for _, w := range after {
		eventually(t, "an older pod of "+w.ns+" is stale", w.someStale)
	}
	all.settled(t, "rolled out")
	quiet(t)
	before.rolledSoFar(t, "theirs and one more", 2)
	after.rolledSoFar(t, "theirs alone", 1)
}

const nextImage = "shop/app:2"

// rollsSlowly is a workload of three pods, each of which must have been ready for a
// while until the next one is replaced.
func (s *story) rollsSlowly(kind string, asks map[string]string) *target {
	s.t.Helper()
	const pods, seconds = 3, 10
	switch kind {
	case "StatefulSet":
		return s.statefulSet(appName, pods, asks, func(o *appsv1.StatefulSet) { o.Spec.MinReadySeconds = seconds })
	case "DaemonSet":
		return s.daemonSet(appName, asks, func(o *appsv1.DaemonSet) { o.Spec.MinReadySeconds = seconds })
	default:
		d := s.deployment(appName, pods, asks)
		d.Spec.MinReadySeconds = seconds
		s.create(d)
		return s.target(kind, appName, nil)
	}
}

// runsNextImage tells that no pod runs the image that people have set, "" if one does.
func (w *target) runsNextImage(ctx context.Context) string {
	pods, err := w.Client().CoreV1().Pods(w.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, p := range pods.Items {
		if p.Spec.Containers[0].Image == nextImage && p.Status.Phase == corev1.PodRunning {
			return ""
		}
	}
	return "none does"
}

// someStale tells that no pod holds newer files than it started with, "" if one does.
func (w *target) someStale(context.Context) string {
	found := "none is"
	w.everyContainer(func(c world.Container) string {
		if id := w.id("db-password"); c.Now[id] != c.Started[id] {
			found = ""
		}
		return ""
	})
	return found
}
