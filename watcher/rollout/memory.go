package rollout

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Memory is what one process saw of one workload. It makes answers exact that
// would else be careful; losing it costs at most a needless rollout. Only
// [Decide] makes it, and never changes one that it has handed out.
type Memory struct {
	start    time.Time // of this memory
	pods     map[types.UID]held
	secrets  map[string]agreement
	settling settling
	progress progress
	ended    string // stamp whose rollout has come to its end
	undone   undone
}

// held is what a pod's containers started with. An absent class or Secret has
// not been told yet.
type held struct {
	started time.Time         // valid for this start of the containers only; zero while none runs
	watched bool              // this process knew the pod before that start
	mounted map[string]string // by class: digest of the versions that were seen just before it
	classes map[string]string // by class: digest of the versions; lost
	secrets map[string]string // by Secret: digest of the data; "" cannot be told
}

// lost stands for versions that nobody can name: a pod that is stale by its status
// or by the record alone may have started on any, and must not pass for fresh when
// content changes back to what was recorded, or its status is written anew.
const lost = "lost"

// agreement tells since when all statuses that feed a Secret agree, and on what.
type agreement struct {
	on    string // "" while they disagree
	fed   bool   // there is any
	since time.Time
	left  time.Time // when they ceased to agree on what they did before
}

// settling tells since when the workload has been waiting for its content to
// settle. A new stamp ends it.
type settling struct {
	since time.Time
	stamp string
}

// progress of a rollout, whosever it is: a rollout is stuck when it comes no
// further than this for long.
type progress struct {
	since    time.Time
	stamp    string
	revision string
	started  int // running pods of the newest revision, the most so far
	older    int // pods that are left to replace, the least so far
}

// undone tells of rollouts that somebody else has undone one after the other, each
// before its end. One that comes to its end ends the row.
type undone struct {
	stamp string // of the last that is counted, or has ended
	count int
	since time.Time // when the last was undone
}

// of returns what is remembered of the pod's running containers.
func (m Memory) of(p Pod) held {
	h, ok := m.pods[p.UID]
	if ok && h.started.Equal(p.Started) {
		return h
	}
	is := held{started: p.Started, watched: ok}
	if h.started.IsZero() {
		is.mounted = h.mounted // else before an earlier one
	}
	return is
}

// with is m with one entry more or changed. What mostly is there already is
// shared with the memory before, which nobody writes to any more.
func with(m map[string]string, name, digest string) map[string]string {
	if was, told := m[name]; told && was == digest {
		return m
	}
	n := make(map[string]string, len(m)+1)
	maps.Copy(n, m)
	n[name] = digest
	return n
}
