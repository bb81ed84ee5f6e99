package stories

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// failsSilently has the driver fail to bring the pods of one workload up to date, of
// which the newer one tells nobody: the class has other pods, which it does bring up
// to date. The pods that lag are told of, in make soak, which waits for it, and are
// not restarted before they have caught up.
func failsSilently(t *testing.T, g generation) {
	needsModel(t, "make a rotation fail")
	s := raise(t, "silent"+g.end)
	lags, goes := s.deployed("lags", 2, asksForFiles, nil), s.deployed("goes", 2, asksForFiles, nil)
	f := fleet{lags, goes}
	f.settled(t, "deployed")
	f.rolledSoFar(t, "a deployment rolls nothing by itself", 0)

	failing := s.podsOf(t, lags.name)
	for _, pod := range failing {
		s.Driver.FailRotation(s.ns, pod)
		defer s.Driver.Release(s.ns, pod)
	}
	f.rotate("db-password")
	eventually(t, "the others are rolled", goes.unrolled(t))
	eventually(t, "and the rollout is complete", goes.unfinished)
	fleet{goes}.rolled(t, "the others", 1)
	fleet{lags}.rolledSoFar(t, "none for files that have not changed", 0)
	if soaking() {
		eventuallyIn(t, lagTold, "the metric tells of the pods that lag", lagging(t, len(failing)))
		lags.told(t, lags.kind, lags.name, "RotationLagging")
		fleet{lags}.rolled(t, "and nothing rolls then", 0)
	}
	for _, pod := range failing {
		s.Driver.Release(s.ns, pod)
	}
	f.settled(t, "caught up")
	fleet{lags}.rolled(t, "one rollout", 1)
	fleet{goes}.rolledSoFar(t, "no other", 0)
	eventually(t, "no pod lags", lagging(t, 0))
}

// lagging tells of another number of mounts that lag than this.
func lagging(t *testing.T, want int) func(context.Context) string {
	return func(ctx context.Context) string {
		m, err := watching().Metrics(ctx)
		if got := m.Sum("keyroll_watcher_lagging_mounts", nil); err != nil || int(got) != want {
			return fmt.Sprintf("%v lag, error %v", got, err)
		}
		return ""
	}
}

// podsOf are the names of the pods that are labelled with the workload's name.
func (s *story) podsOf(t *testing.T, workload string) []string {
	t.Helper()
	pods, err := s.Client().CoreV1().Pods(s.ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + workload})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods.Items {
		names = append(names, p.Name)
	}
	return names
}
