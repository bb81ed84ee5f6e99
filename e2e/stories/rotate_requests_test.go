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

// asksLittle is invariant 10, for the one rotation that rolled the whole fleet
// since then: the watcher reads nothing, patches each workload once, and makes
// no more requests than the invariant says.
func (f fleet) asksLittle(t *testing.T, since time.Time, by *install.Process) {
	needsModel(t, "read the audit log")
	everything, err := shared.Requests(since)
	if err != nil {
		t.Fatal(err)
	}
	if !stillWatches(by) {
		t.Skip("another watcher has taken over meanwhile, and read what there is")
	}
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
