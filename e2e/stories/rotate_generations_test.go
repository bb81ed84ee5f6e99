package stories

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/world"
)

// TestRotateGenerations plays the same with both generations of the driver, and
// upgrades the driver under running workloads. What happens to one workload is
// nothing to the others, so most of it happens at the same time.
func TestRotateGenerations(t *testing.T) {
	if shared.Modelled() {
		ownerKinds(t)
	}
	files, env := raise(t, "gen-files"), raise(t, "gen-env")
	f := fleet{
		files.deployed(appName, 3, asksForFiles, nil),
		env.deployed(appName, 3, asksForEnv(), bothInEnv),
		raise(t, "gen-guide").deployedByHand(3),
		raise(t, "gen-two").deployedWithTwoClasses(),
	}
	many := raise(t, "gen-many")
	for i := range 50 {
		f = append(f, many.deployed(fmt.Sprintf("web-%d", i), 1, asksForFiles, nil))
	}
	spread := fleet{
		raise(t, "spread-files").deployed(appName, 3, asksForFiles, nil),
		raise(t, "spread-env").deployed(appName, 3, asksForEnv(), bothInEnv),
	}
	all := append(append(fleet{}, f...), spread...)
	all.settled(t, "deployed")
	all.rolled(t, "a deployment rolls nothing by itself", 0)

	everyGeneration(t, func(t *testing.T, g generation) {
		if g.of != driver.Polling {
			all.rolled(t, "an upgrade of the driver rolls nothing", 0)
		}
		t.Run("at once", func(t *testing.T) {
			for name, part := range map[string]func(*testing.T){
				"two objects rotated together are one rollout": f.rotatedOnce,
				"a second rotation within the spread of files": spread[0].within,
				"a second rotation within the spread of env": func(t *testing.T) {
					if g.of == driver.Polling {
						spread[1].within(t)
						return
					}
					t.Run("before the first is rolled", spread[1].disagree)
					t.Run("when the first is rolled", spread[1].overtaken)
				},
				"kinds":          func(t *testing.T) { kinds(t, g) },
				"refused":        func(t *testing.T) { refused(t, g) },
				"undone":         func(t *testing.T) { undone(t, g) },
				"stripped":       func(t *testing.T) { stripped(t, g) },
				"class edited":   func(t *testing.T) { classEdited(t, g) },
				"there and back": func(t *testing.T) { thereAndBack(t, g) },
				"people roll":    func(t *testing.T) { peopleRoll(t, g) },
				"fails silently": func(t *testing.T) { failsSilently(t, g) },
				"not mounted":    func(t *testing.T) { notMounted(t, g) },
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					part(t)
				})
			}
		})
		disturb(t, f[1:3])
	})
}

// disturb changes Secrets and the driver, but not what they deliver.
func disturb(t *testing.T, f fleet) {
	t.Helper()
	f.each(t, "its Secret is deleted", func(t *testing.T, w *target) { w.deleteSecrets(t) })
	f.rolledSoFar(t, "the driver made it again with equal data", 0)
	f.each(t, "its Secret is relabelled 100 times", func(t *testing.T, w *target) { w.relabelSecrets(t, 100) })
	f.rolled(t, "labels are no content", 0)
	t.Run("a restart of the driver changes nothing", func(t *testing.T) {
		needsModel(t, "restart the driver")
		if err := shared.Driver.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.rolled(t, "no rollout", 0)
	})
}

// within rotates again as soon as a pod of the rollout has started, while one
// pod lags behind even the first rotation.
func (w *target) within(t *testing.T) {
	needsModel(t, "pause a pod's polling")
	w.t = t
	f := fleet{w}
	lagging := w.podNames()[0]
	w.Driver.Pause(w.ns, lagging)
	defer w.Driver.Release(w.ns, lagging)
	w.startsWith(t, w.rotate("db-password"))
	w.rotate("db-password")
	f.settled(t, "rotated again")
	f.rolled(t, "exactly one more rollout", 2)
}

// startsWith waits until a pod has started with a version of db-password, and answers which.
func (w *target) startsWith(t *testing.T, version string) (pod string) {
	t.Helper()
	eventually(t, "a pod has started with "+version, func(context.Context) string {
		w.everyContainer(func(c world.Container) string {
			if c.Started[w.id("db-password")] == version {
				pod = c.Pod
			}
			return ""
		})
		if pod == "" {
			return "none has"
		}
		return ""
	})
	return pod
}

// disagree rotates twice while one pod lags, whose driver would put the old
// values back into the Secret: nothing rolls before it has caught up.
func (w *target) disagree(t *testing.T) {
	needsModel(t, "pause a pod's polling")
	w.t = t
	f := fleet{w}
	lagging := w.podNames()[0]
	w.Driver.Pause(w.ns, lagging)
	defer w.Driver.Release(w.ns, lagging)
	w.rotate("db-password")
	f.rolled(t, "none while the statuses disagree", 0)
	w.rotate("db-password")
	w.Driver.Release(w.ns, lagging)
	f.settled(t, "all pods have caught up")
	f.rolled(t, "both rotations are one rollout", 1)
}

// overtaken rotates again as soon as a pod of the rollout has started, and has that
// pod lag behind, whose driver would put the values of the first rotation back into
// the Secret: nothing more rolls before it has caught up.
func (w *target) overtaken(t *testing.T) {
	needsModel(t, "pause a pod's polling")
	w.t = t
	f := fleet{w}
	lagging := w.startsWith(t, w.rotate("db-password"))
	w.Driver.Pause(w.ns, lagging)
	defer w.Driver.Release(w.ns, lagging)
	w.rotate("db-password")
	f.rolled(t, "the first rollout, and none while the statuses disagree", 1)
	w.Driver.Release(w.ns, lagging)
	f.settled(t, "all pods have caught up")
	f.rolled(t, "exactly one more rollout", 1)
}

// deleteSecrets deletes the Secrets that the driver made and waits until it has
// made others with the same data.
func (w *target) deleteSecrets(t *testing.T) {
	t.Helper()
	names := w.syncedSecrets()
	if len(names) == 0 {
		t.Fatal("the driver has made no Secret")
	}
	secrets := w.Client().CoreV1().Secrets(w.ns)
	for _, name := range names {
		before, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the Secret is there again", func(ctx context.Context) string {
			after, err := secrets.Get(ctx, name, metav1.GetOptions{})
			switch {
			case err != nil:
				return err.Error()
			case after.UID == before.UID:
				return "still the old one"
			case fmt.Sprint(after.Data) != fmt.Sprint(before.Data):
				return "with other data"
			}
			return ""
		})
	}
}

func (w *target) relabelSecrets(t *testing.T, times int) {
	t.Helper()
	for _, name := range w.syncedSecrets() {
		for i := range times {
			patch := fmt.Appendf(nil, `{"metadata":{"labels":{"churn":"%d"},"annotations":{"churn":"%d"}}}`, i, i)
			if _, err := w.Client().CoreV1().Secrets(w.ns).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
