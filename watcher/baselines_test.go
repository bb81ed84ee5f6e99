package watcher

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/rollout"
)

func TestTheNextWatcherKnowsWhatTheLastKnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		time.Sleep(time.Minute)
		c.stop()
		c.rotate("files", "v2", time.Second)
		c.restart()
		defer func() { c.stop() }()
		time.Sleep(10 * time.Second)
		d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "web", metav1.GetOptions{})
		c.must(err)
		want := "keyroll: secret/db-password changed (v1 -> v2)"
		if got := d.Annotations[annotation.ChangeCause]; got != want {
			t.Errorf("cause %q, want %q", got, want)
		}
	})
}

// writes counts what was written to ConfigMaps since the last call.
func (c *cluster) writes() int {
	n := 0
	for _, a := range c.kube.Actions() {
		if a.GetResource().Resource == "configmaps" && a.GetVerb() != "list" && a.GetVerb() != "watch" {
			n++
		}
	}
	c.kube.ClearActions()
	return n
}

func TestBaselinesAreWrittenOnceForARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Hour)
		if n := c.writes(); n != 1 {
			t.Errorf("%d writes at first sight, want 1", n)
		}
		c.rotate("files", "v2", 2*time.Second)
		time.Sleep(3 * time.Second)
		c.rollOut("web")
		time.Sleep(time.Minute)
		if n := c.writes(); n != 0 {
			t.Errorf("%d writes before the new pods are older than clocks may differ, want none", n)
		}
		time.Sleep(time.Hour)
		if n := c.writes(); n != 1 {
			t.Errorf("%d writes for a rotation, want 1", n)
		}
		if b := c.baseline("web-uid"); b.Confirmed.IsZero() || b.Classes["files"].Versions["secret/db-password"] != "v2" {
			t.Errorf("%+v is written, want what the new pods run on, confirmed", b)
		}
	})
}

func TestBaselineOfARolloutThatDoesNotEndIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Hour)
		c.rotate("files", "v2", 2*time.Second)
		time.Sleep(5 * time.Second)
		c.writes()
		time.Sleep(writePending - time.Minute)
		if n := c.writes(); n != 0 {
			t.Errorf("%d writes while the record is pending, want none", n)
		}
		time.Sleep(2 * time.Minute)
		if n := c.writes(); n != 1 {
			t.Errorf("%d writes when it has been pending for long, want 1", n)
		}
		if b := c.baseline("web-uid"); !b.Confirmed.IsZero() {
			t.Errorf("%+v is written, want it not confirmed", b)
		}
	})
}

// baseline is the record of one workload as it is written.
func (c *cluster) baseline(uid types.UID) rollout.Baseline {
	c.t.Helper()
	written, err := c.kube.CoreV1().ConfigMaps("keyroll-system").Get(c.t.Context(), baselinePrefix+shop, metav1.GetOptions{})
	c.must(err)
	l, err := rollout.ReadLedger(written.Data)
	c.must(err)
	return l[uid]
}

func TestBaselinesGoWithTheirWorkloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Minute)
		c.must(c.kube.AppsV1().Deployments(shop).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		time.Sleep(time.Minute)
		left, err := c.kube.CoreV1().ConfigMaps("keyroll-system").List(t.Context(), metav1.ListOptions{})
		c.must(err)
		if len(left.Items) > 0 {
			t.Errorf("%s is left with %v", left.Items[0].Name, left.Items[0].Data)
		}
	})
}

func TestBaselinesOfWhatWentWhileNobodyLedGoToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := func(namespace string) *corev1.ConfigMap {
			return &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: baselinePrefix + namespace, ResourceVersion: "7", Labels: map[string]string{baselineLabel: "true"}},
				Data:       map[string]string{"gone-uid": `{"classes":{"files":{"digest":"d","since":"1999-12-31T00:00:00Z"}}}`},
			}
		}
		ours := left(shop)
		ours.Data["web-uid"] = ours.Data["gone-uid"]
		c := start(t, append(shopObjects(), ours, left("gone"))) // there is something to write for web
		defer c.stop()
		time.Sleep(2 * time.Minute)
		list, err := c.kube.CoreV1().ConfigMaps("keyroll-system").List(t.Context(), metav1.ListOptions{})
		c.must(err)
		got := map[string][]string{}
		for _, m := range list.Items {
			got[m.Name] = slices.Sorted(maps.Keys(m.Data))
		}
		want := map[string][]string{baselinePrefix + shop: {"web-uid"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("baselines (-want +got)\n%s", diff)
		}
	})
}

// TestBaselinesOfAKindThatWasNotServedForAWhileStay: its workloads look as if they
// had gone.
func TestBaselinesOfAKindThatWasNotServedForAWhileStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: baselinePrefix + shop, ResourceVersion: "7", Labels: map[string]string{baselineLabel: "true"}},
			Data:       map[string]string{"canary-uid": `{"classes":{"files":{"digest":"d","since":"1999-12-31T00:00:00Z"}}}`},
		}
		c := start(t, []runtime.Object{enabledNamespace(), kept})
		defer func() { c.stop() }()
		time.Sleep(time.Hour)
		c.stop()
		withRollouts(argo("canary"))(&c.config)
		c.restart()
		time.Sleep(time.Hour)
		canary := c.controller.caches.workload(key{argoRollout.Kind.GroupKind(), shop, "canary"})
		if b := c.controller.keeper.get(canary); len(b.Classes) != 1 {
			t.Errorf("%+v is known, want what was written before", b)
		}
	})
}

func TestNothingIsRememberedOfANamespaceThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, append(shopObjects(), managedSecret("app-secrets", "one")))
		defer c.stop()
		time.Sleep(2 * time.Minute)
		remembered := func() int {
			synctest.Wait()
			return len(c.controller.keeper.held) + len(c.controller.seen.seen)
		}
		if got := remembered(); got != 2 {
			t.Fatalf("%d namespaces and Secrets are remembered, want one of each", got)
		}
		c.must(c.kube.AppsV1().Deployments(shop).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		c.must(c.kube.CoreV1().Secrets(shop).Delete(t.Context(), "app-secrets", metav1.DeleteOptions{}))
		c.must(c.kube.CoreV1().Namespaces().Delete(t.Context(), shop, metav1.DeleteOptions{}))
		time.Sleep(2 * time.Minute)
		if got := remembered(); got != 0 {
			t.Errorf("%d namespaces and Secrets are remembered", got)
		}
	})
}

func TestAnotherWritersBaselinesAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: baselinePrefix + shop, Labels: map[string]string{baselineLabel: "true"}},
			Data:       map[string]string{"elsewhere-uid": `{"classes":{"files":{"digest":"d","since":"1999-12-31T00:00:00Z"}}}`},
		}
		elsewhere := deployment(func(d *appsv1.Deployment) { d.Name, d.UID = "elsewhere", "elsewhere-uid" })
		c := start(t, append(shopObjects(), elsewhere))
		defer c.stop()
		time.Sleep(2 * time.Second) // caches are read, nothing is written yet
		_, err := c.kube.CoreV1().ConfigMaps("keyroll-system").Create(t.Context(), other, metav1.CreateOptions{})
		c.must(err)
		time.Sleep(time.Minute)
		got, err := c.kube.CoreV1().ConfigMaps("keyroll-system").Get(t.Context(), other.Name, metav1.GetOptions{})
		c.must(err)
		uids := slices.Sorted(maps.Keys(got.Data))
		if diff := cmp.Diff([]string{"elsewhere-uid", "web-uid"}, uids); diff != "" {
			t.Errorf("baselines (-want +got)\n%s", diff)
		}
	})
}

func TestWhatCannotBeReadIsSeenForTheFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: baselinePrefix + shop, ResourceVersion: "7", Labels: map[string]string{baselineLabel: "true"}},
			Data:       map[string]string{"web-uid": "{"},
		}
		c := start(t, append(shopObjects(), broken))
		defer c.stop()
		time.Sleep(time.Minute)
		got, err := c.kube.CoreV1().ConfigMaps("keyroll-system").Get(t.Context(), broken.Name, metav1.GetOptions{})
		c.must(err)
		if _, err := rollout.ReadLedger(got.Data); err != nil || len(got.Data) != 1 {
			t.Errorf("%d baselines, error %v", len(got.Data), err)
		}
	})
}
