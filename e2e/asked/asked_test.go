package asked

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/e2e/cluster"
)

const watcher = "system:serviceaccount:keyroll-system:keyroll-watcher"

// at is so many seconds after noon.
func at(second int) time.Time {
	return time.Date(2026, 1, 1, 12, 0, second, 0, time.UTC)
}

func request(second int, user, verb, group, resource string, code int) cluster.Request {
	return cluster.Request{User: user, Verb: verb, Group: group, Resource: resource, Code: code, Received: at(second)}
}

func TestARotationIsFoundAmongAllRequests(t *testing.T) {
	const statuses, driver = "secretproviderclasspodstatuses", "driver"
	status := func(second int, verb string) cluster.Request {
		return request(second, driver, verb, "secrets-store.csi.x-k8s.io", statuses, 200)
	}
	first, conflict, last := request(3, watcher, "patch", "apps", "deployments", 200), request(4, watcher, "patch", "apps", "deployments", 409), request(5, watcher, "patch", "apps", "statefulsets", 200)
	event, later := request(3, watcher, "create", "", "events", 201), request(9, watcher, "create", "", "events", 201)
	got, err := Of(cluster.Requests{
		status(0, "create"), status(2, "update"), status(1, "update"), // in the order of the answers
		request(2, watcher, "update", "coordination.k8s.io", "leases", 200),
		first, event, request(3, "kube-controller-manager", "patch", "apps", "deployments", 200),
		last, conflict, later,
	}, watcher)
	if err != nil {
		t.Fatal(err)
	}
	want := Rotation{
		FirstStatus: at(1), LastStatus: at(2), LastPatch: at(5),
		Patches:      cluster.Requests{first, last},
		Ours:         cluster.Requests{first, event, last, conflict, later},
		UntilPatched: cluster.Requests{first, event, last, conflict},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := Counted(got.Ours), "1 patch statefulsets, 2 create events, 2 patch deployments"; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
}

func TestNoRotationIsAnError(t *testing.T) {
	if _, err := Of(cluster.Requests{request(1, watcher, "patch", "apps", "deployments", 200)}, watcher); err == nil {
		t.Error("a rollout without a change of the driver's is one")
	}
}
