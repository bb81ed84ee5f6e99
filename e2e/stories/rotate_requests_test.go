package stories

import (
	"slices"
	"strings"
	"testing"
	"time"

	"keyroll.dev/e2e/asked"
	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/install"
)

// baselineOf is the ConfigMap in which the watcher keeps what it knows of a namespace.
func baselineOf(namespace string) string { return "keyroll-baseline-" + namespace }

// rotatedOnce rotates two objects of each workload together. What the API server
// was asked meanwhile counts if one watcher has seen all of it: one that takes over
// reads what there is.
func (f fleet) rotatedOnce(t *testing.T) {
	var requests cluster.Requests
	byOneWatcher(t, func() {
		begin := time.Now()
		f.rotate("db-username", "db-password")
		f.settled(t, "rotated")
		f.rolled(t, "one rollout", 1)
		requests = requestsSince(t, begin)
	}, func() { awaitLeader(t) })
	t.Run("the watcher asks for little", func(t *testing.T) { f.asksLittle(t, requests) })
}

// requestsSince are none where there is no audit log.
func requestsSince(t *testing.T, begin time.Time) cluster.Requests {
	t.Helper()
	if !shared.Modelled() {
		return nil
	}
	requests, err := shared.Requests(begin)
	if err != nil {
		t.Fatal(err)
	}
	return requests
}

// asksLittle is invariant 10, for the one rotation that rolled the whole fleet
// within these requests: the watcher reads nothing, patches each workload once,
// and makes no more requests than the invariant says.
func (f fleet) asksLittle(t *testing.T, everything cluster.Requests) {
	needsModel(t, "read the audit log")
	var namespaces, baselines []string
	for _, w := range f {
		if !slices.Contains(namespaces, w.ns) {
			namespaces, baselines = append(namespaces, w.ns), append(baselines, baselineOf(w.ns))
		}
	}
	// Others of the watcher's requests are about stories that are told at the same time.
	ours := everything.Where(func(q cluster.Request) bool {
		return q.Namespace == "" || slices.Contains(namespaces, q.Namespace) || slices.Contains(baselines, q.Name)
	})
	got, err := asked.Of(ours, shared.Keyroll.User("watcher"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("asked for %d rollouts: %s", len(f), asked.Counted(got.Ours))
	// The invariant's first bound takes all to be patched at once. Where rollouts wait for
	// their turn, others have ended before the last patch, and that has been told.
	ended := toldTwice(got.UntilPatched)
	if n, most := len(got.UntilPatched), asked.MostUntilPatched(len(f))+ended; n > most {
		t.Errorf("%d requests until the last patch, want at most %d with the ends of %d rollouts: %s", n, most, ended, asked.Counted(got.UntilPatched))
	}
	if n, most := len(got.Ours), asked.MostUntilDone(len(f)); n > most {
		t.Errorf("%d requests until the rollouts ended, want at most %d", n, most)
	}
	if len(got.Patches) != len(f) {
		t.Errorf("%d patches for %d rollouts", len(got.Patches), len(f))
	}
	reads := got.Ours.Where(func(q cluster.Request) bool { return q.Verb == "get" || q.Verb == "list" })
	if len(reads) > 0 {
		t.Errorf("it reads: %s", asked.Counted(reads))
	}
	for _, name := range baselines {
		writes := got.Ours.Where(func(q cluster.Request) bool { return q.Resource == "configmaps" && q.Name == name })
		if len(writes) > 1 {
			t.Errorf("%s is written %d times", name, len(writes))
		}
	}
}

// watching is the watcher of this moment.
func watching() *install.Process {
	tending.Lock()
	defer tending.Unlock()
	return shared.Watcher
}

// byOneWatcher plays what one watcher has to see from its begin to its end. Where
// another has taken over meanwhile it is played again, after what that one needs: on
// a busy machine the suite's short leases run out.
func byOneWatcher(t *testing.T, play, again func()) {
	t.Helper()
	const tries = 3
	for try := 1; ; try++ {
		since := watching()
		play()
		switch {
		case stillWatches(since):
			return
		case try == tries:
			t.Fatalf("another watcher has taken over in each of %d tries", tries)
		}
		t.Log("another watcher has taken over meanwhile, and has not seen all of it: once more")
		again()
	}
}

// stillWatches reports whether a watcher has been the one since then. One that
// has just lost its lease is not: what it knew, it has written, and the next one reads.
func stillWatches(since *install.Process) bool {
	if !shared.Modelled() {
		return true // or nobody can tell
	}
	select {
	case <-since.Done():
		return false
	default:
		return watching() == since
	}
}

// toldTwice counts the workloads that have two Events: of a rollout's start and of its end.
func toldTwice(all cluster.Requests) int {
	events, twice := map[string]int{}, 0
	for _, q := range all {
		if q.Resource != "events" {
			continue
		}
		workload, _, _ := strings.Cut(q.Name, ".")
		workload = q.Namespace + "/" + workload
		if events[workload]++; events[workload] == 2 {
			twice++
		}
	}
	return twice
}
