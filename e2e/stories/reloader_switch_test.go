package stories

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestReloaderSwitchedOver has Reloader roll workloads as long as no watcher
// honors its annotations, and one starts then: it finds what rotated in between
// and rolls nothing that Reloader has rolled.
func TestReloaderSwitchedOver(t *testing.T) {
	needsModel(t, "take the watcher away")
	manifests := guide(t)
	killWatcher(t)
	away := true
	t.Cleanup(func() { // for those that come after a failure
		if away {
			_ = shared.StartWatcher(context.WithoutCancel(t.Context()))
		}
	})
	synced, files, missed := reloads(t, "switch-synced"), reloads(t, "switch-files"), reloads(t, "switch-missed")
	synced.apply(manifests[0])
	files.apply(manifests[1])
	missed.apply(manifests[1])
	rolled := fleet{synced.target("Deployment", "web", bothInEnv), files.target("Deployment", "web", nil)}
	left := fleet{missed.target("Deployment", "web", nil)}
	all := append(rolled[:2:2], left...)
	all.settled(t, "deployed")

	all.rotate("db-password")
	all.holding(t, "db-password")
	synced.filled(t, "app-secrets", "password", "db-password")
	rolled[0].rollAsReloader(t, byVariable)
	rolled[1].rollAsReloader(t, byAnnotation)
	rolled.settled(t, "rolled by Reloader")
	rolled.rolledSoFar(t, "one rollout", 1)
	left.rolledSoFar(t, "Reloader is off already", 0)

	startWatcher(t)
	away = false
	left.settled(t, "found")
	left.rolledSoFar(t, "one rollout", 1)
	rolled.rolled(t, "no second one", 0)

	all.rotate("db-password")
	all.settled(t, "rotated")
	all.rolled(t, "one rollout", 1)
}

// filled waits until a Secret holds what the vault does.
func (s *story) filled(t *testing.T, secret, key, object string) {
	t.Helper()
	eventually(t, "Secret "+secret+" is up to date", func(ctx context.Context) string {
		found, err := s.Client().CoreV1().Secrets(s.ns).Get(ctx, secret, metav1.GetOptions{})
		switch {
		case err != nil:
			return err.Error()
		case string(found.Data[key]) != s.newest(object).Value:
			return "it holds what was before"
		}
		return ""
	})
}

// The two strategies by which Reloader rolls a workload: what each writes into
// the template, for a value that is always another.
const (
	byVariable   = `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"STAKATER_APP_SECRETS_SECRET","value":"%d"}]}]}}}}`
	byAnnotation = `{"spec":{"template":{"metadata":{"annotations":{"reloader.stakater.com/last-reloaded-from":"{\"type\":\"SECRETPROVIDERCLASS\",\"name\":\"akv-app-secrets\",\"observedAt\":%d}"}}}}}`
)

// rollAsReloader writes into the template what Reloader writes.
func (w *target) rollAsReloader(t *testing.T, strategy string) {
	t.Helper()
	patch := fmt.Sprintf(strategy, time.Now().UnixNano())
	if _, err := w.Kubectl(t.Context(), "patch", "deployment", w.name, "--namespace="+w.ns, "--field-manager=Reloader", "--patch="+patch); err != nil {
		t.Fatal(err)
	}
}
