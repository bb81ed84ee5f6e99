package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/e2e/driver"
)

// TestRotateDriver has a driver that is not what it should be: one that does not
// rotate, and one whose kinds were taken away and brought back, with all that it
// had noted of running pods.
func TestRotateDriver(t *testing.T) {
	needsModel(t, "change the driver")
	env := raise(t, "driver-env")
	f := fleet{
		raise(t, "driver-files").deployed(appName, 3, asksForFiles, nil),
		env.deployed(appName, 3, asksForEnv(), bothInEnv),
		raise(t, "driver-guide").deployedByHand(2),
		raise(t, "driver-set").statefulSet(appName, 2, asksForFiles),
	}
	f.settled(t, "deployed")
	f.rolledSoFar(t, "a deployment rolls nothing by itself", 0)
	everyGeneration(t, func(t *testing.T, g generation) {
		t.Run("rotation is off", func(t *testing.T) { rotationOff(t, f, g) })
		t.Run("kinds installed anew", func(t *testing.T) { reinstalled(t, f, g) })
	})
}

// lagTold is when a pod that was left behind is told of: the driver's interval
// and three minutes after its siblings were given something else.
const lagTold = 5 * time.Minute

// rotationOff switches rotation off in the driver: running pods keep what they
// have, and of what new pods are given the watcher makes nothing but an Event.
// That it is off the newer driver lets on, and an Event of the driver tells.
func rotationOff(t *testing.T, f fleet, g generation) {
	rotation := func(on bool) {
		if err := shared.Driver.SetRotation(context.WithoutCancel(t.Context()), on); err != nil {
			t.Fatal(err)
		}
	}
	rotation(false)
	t.Cleanup(func() { rotation(true) }) // for those that come after a failure
	if g.of == driver.Republishing {
		eventually(t, "people who look at the driver are told", offTold)
	}
	f.rotate("db-password")
	f.rolled(t, "nobody knows, nothing rolls", 0)
	grown := f[0]
	grown.scale(t, 4)
	eventually(t, "the new pod runs", grown.unfinished)
	f.rolled(t, "one pod that is newer than its siblings is no reason", 0)
	if soaking() {
		grown.lags(t) // that is all that is said of it
		f.rolled(t, "and nothing rolls then", 0)
	}
	rotation(true)
	f.settled(t, "on again")
	f.rolledSoFar(t, "one rollout", 1)
	grown.scale(t, 3)
	eventually(t, "one pod less", grown.unfinished)
}

// offTold wants an Event of the driver, which is in no namespace, and its Events in the default one.
func offTold(ctx context.Context) string {
	const selector = "involvedObject.kind=CSIDriver,involvedObject.name=" + driver.Name + ",reason=RotationOff"
	events, err := shared.Client().CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return err.Error()
	}
	if len(events.Items) == 0 {
		return "no Event"
	}
	return ""
}

// lags wants the pods told of that were left behind: once for all of them, and late.
func (w *target) lags(t *testing.T) {
	t.Helper()
	const reason = "RotationLagging"
	before, err := w.timesTold(t.Context(), reason) // with the driver before
	if err != nil {
		t.Fatal(err)
	}
	told := func(ctx context.Context) string {
		after, err := w.timesTold(ctx, reason)
		if err != nil || after-before != 1 {
			return fmt.Sprintf("%d Events, want one; error %v", after-before, err)
		}
		return ""
	}
	eventuallyIn(t, lagTold, "the pods that were left behind are told of", told)
	quiet(t)
	if lacking := told(t.Context()); lacking != "" {
		t.Errorf("later: %s", lacking)
	}
}

// scale changes the number of a Deployment's pods, which counts as no rollout.
func (w *target) scale(t *testing.T, replicas int32) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := w.Client().AppsV1().Deployments(w.ns).Patch(t.Context(), w.name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	w.counted.Generation++
}

// reinstalled deletes the driver's kinds with all classes and statuses, and
// brings them back. The newer driver writes its statuses anew. The older one has
// forgotten its pods for good, and the watcher hears of no rotation until people
// have restarted them.
func reinstalled(t *testing.T, f fleet, g generation) {
	if err := shared.Driver.UninstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := shared.Driver.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range f {
		if w.classes != nil {
			w.t = t
			w.classes()
		}
	}
	if g.of == driver.Republishing {
		f.each(t, "told of again", func(t *testing.T, w *target) {
			eventually(t, "a status for each pod", func(ctx context.Context) string { return w.untold(ctx) })
		})
	}
	f.rolled(t, "the same content is no reason", 0)
	f.rotate("db-password")
	if g.of == driver.Polling {
		f.rolled(t, "a driver that has forgotten its pods tells nothing", 0)
		f.each(t, "restarted by people", func(t *testing.T, w *target) {
			w.kubectl("rollout", "restart", w.kind+"/"+w.name, "--namespace="+w.ns)
		})
	}
	f.settled(t, "rotated")
	quiet(t)
	f.each(t, "one rollout", func(t *testing.T, w *target) {
		got := w.count(t)
		// The older driver writes the Secret at its next poll only, so that the first
		// pod that people restart may start on the old one: then one rollout more.
		again := g.of == driver.Polling && w.env != nil && got == w.counted.and(2)
		if want := w.counted.and(1); got != want && !again {
			t.Errorf("%+v, want %+v", got, want)
		}
		w.counted = got
	})
}

// untold tells which pod has no status, "" if all have one.
func (w *target) untold(ctx context.Context) string {
	statuses, err := w.Kubectl(ctx, "get", "secretproviderclasspodstatuses", "--namespace="+w.ns, "-o", "jsonpath={.items[*].status.podName}")
	if err != nil {
		return err.Error()
	}
	for _, pod := range w.podNames() {
		if !slices.Contains(strings.Fields(statuses), pod) {
			return "none of " + pod
		}
	}
	return ""
}
