package watcher

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/secretsstore"
)

func TestAMountThatTheDriverLeavesBehindIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		// The second pod's rotation fails, silently: only the first is rolled for, and
		// the rollout is refused, so that the pods stay.
		c.refuse(forbidden)
		time.Sleep(time.Minute)
		c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus("web-1-a", "files", "v2", 2, time.Now()), shop))
		lagging := func() float64 { return testutil.ToFloat64(c.controller.metrics.lagging) }
		time.Sleep(4*time.Minute + 50*time.Second)
		if got := lagging(); got != 0 {
			t.Errorf("%v mounts lag before interval and slack are over", got)
		}
		time.Sleep(time.Minute)
		if got := lagging(); got != 1 {
			t.Errorf("%v mounts lag, want 1", got)
		}
		if !slices.Contains(c.events(), "Warning RotationLagging Deployment/web") {
			t.Errorf("events %v tell nothing of it", c.events())
		}
		c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus("web-1-b", "files", "v2", 2, time.Now()), shop))
		time.Sleep(time.Minute)
		if got := lagging(); got != 0 {
			t.Errorf("%v mounts lag after the driver has caught up", got)
		}
		if got := testutil.ToFloat64(c.controller.metrics.rotations); got != 1 {
			t.Errorf("%v rotations counted, want 1", got)
		}
	})
}

func TestAMountThatIsLeftBehindAgainIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		c.refuse(forbidden)
		update := func(pod, version string, generation int64) {
			c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus(pod, "files", version, generation, time.Now()), shop))
		}
		time.Sleep(time.Minute)
		update("web-1-a", "v2", 2)
		time.Sleep(10 * time.Minute)
		update("web-1-a", "v3", 3)
		time.Sleep(10 * time.Minute)
		if got := c.told(reasonLagging); got != 2 {
			t.Errorf("told %d times of two contents that a pod did not get", got)
		}
		update("web-1-a", "v3", 4) // written again, the same
		time.Sleep(10 * time.Minute)
		if got := c.told(reasonLagging); got != 2 {
			t.Errorf("told %d times of two contents", got)
		}
	})
}

// TestManyMountsThatAreLeftBehindAreToldInOneEvent: of each of them, an Event
// would use up what client-go writes of one workload.
func TestManyMountsThatAreLeftBehindAreToldInOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		for _, o := range objects {
			if p, ok := o.(*corev1.Pod); ok {
				p.Spec.NodeName = "node-1"
			}
		}
		created := time.Now().Add(-time.Hour)
		add := func(name string, owned func(*corev1.Pod)) {
			p := injectedPod(name, "web-1", "files", owned)
			p.Spec.NodeName = "node-1"
			p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", created)}
			status := podStatus(name, "files", "v1", 1, created)
			status.CreationTimestamp = metav1.NewTime(created)
			objects = append(objects, p, status)
		}
		for i := range 28 {
			add(fmt.Sprintf("web-1-c%02d", i), func(*corev1.Pod) {})
		}
		add("alone", func(p *corev1.Pod) { p.OwnerReferences = nil })
		c := start(t, objects)
		defer c.stop()
		c.refuse(forbidden)
		time.Sleep(time.Minute)
		c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus("web-1-a", "files", "v2", 2, time.Now()), shop))
		time.Sleep(time.Hour)
		events, err := c.kube.CoreV1().Events(shop).List(t.Context(), metav1.ListOptions{})
		c.must(err)
		var got []string
		for _, e := range events.Items {
			if e.Reason == reasonLagging {
				got = append(got, fmt.Sprintf("%d %s/%s %s", e.Count, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message))
			}
		}
		slices.Sort(got)
		const behind = "up to date for 5m0s, though it has for others"
		const asks = "is rotation enabled in the driver, and what does the provider log on those nodes?"
		want := []string{
			"1 Deployment/web The driver has not brought files of 29 pods " + behind + " (web-1-b on node-1, web-1-c00 on node-1, web-1-c01 on node-1 and 26 more): " + asks,
			"1 Pod/alone The driver has not brought files of 1 pods " + behind + " (alone on node-1): " + asks,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if got := testutil.ToFloat64(c.controller.metrics.lagging); got != 30 {
			t.Errorf("%v mounts lag, want 30", got)
		}
	})
}
