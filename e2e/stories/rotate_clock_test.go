package stories

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/world"
)

// TestRotateClocks has nodes whose clocks are a minute ahead and a minute
// behind that of the API server.
func TestRotateClocks(t *testing.T) {
	needsModel(t, "set a node's clock")
	clock := map[string]time.Duration{"ahead": time.Minute, "behind": -time.Minute}
	off := clocked(t, clock)
	var f fleet
	for node := range clock {
		for name, asks := range map[string]map[string]string{"files": asksForFiles, "env": asksForEnv()} {
			s := raise(t, "clock-"+node+"-"+name)
			s.World = off
			d := s.deployment(appName, 2, asks)
			d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
			d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}}
			s.create(d)
			w := s.target("Deployment", appName, nil)
			if name == "env" {
				w.env = bothInEnv
			}
			f = append(f, w)
		}
	}
	f.settled(t, "deployed")
	f.rolled(t, "a deployment rolls nothing by itself", 0)
	for _, w := range f {
		for _, h := range off.Driver.Current(w.ns) {
			if ahead := h.StartedAt.Sub(h.At).Round(time.Minute); ahead != clock[h.Node] {
				t.Fatalf("pod %s of %s says that it started %s off, want %s", h.Pod, h.Node, ahead, clock[h.Node])
			}
		}
	}
	everyGeneration(t, func(t *testing.T, _ generation) {
		f.rotate("db-password")
		f.settled(t, "rotated")
		f.rolledSoFar(t, "one rollout", 1)
		killWatcher(t)
		takeOver(t)
		f.rolled(t, "a watcher that knows nothing rolls nothing", 0)
	}, off.Driver)
}

// clocked adds nodes with clocks of their own, on which nothing runs that does
// not ask for it, and answers a world in which the driver is the one of these
// nodes.
func clocked(t *testing.T, clock map[string]time.Duration) *world.World {
	t.Helper()
	var names []string
	nodes := shared.Client().CoreV1().Nodes()
	for name := range clock {
		if err := shared.AddNode(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nodes.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}) })
		if _, err := nodes.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	d, err := driver.New(driver.Config{
		REST: shared.Admin(), Vault: shared.Vault, Nodes: names,
		RotationEnabled: true, Timings: driver.Fast(), Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return shared.On(d)
}
