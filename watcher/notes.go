package watcher

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/watcher/rollout"
)

// note is what this process remembers of one workload. Only the worker that
// looks at the workload touches it, and no two look at one at a time.
type note struct {
	uid      types.UID
	memory   rollout.Memory
	baseline rollout.Baseline // of what cannot be rolled; those of others are kept
	patched  int64            // generation that our last patch made; a cache that shows less is behind
	stamp    string           // that it wrote
	writer   string           // who else wrote the pod template last, as it told
	decided  rollout.Decision
	reasoned time.Time     // since when the decision has its reason
	missed   int           // pods that were not injected
	stuck    bool          // a rollout to new content is, and counts as such
	rotated  time.Time     // what the rollout under way answers, zero when not known
	tracked  string        // stamp of the rollout under way that is followed to its end, "" for none
	began    time.Time     // when this process began it
	refused  time.Duration // how long the last refusal of our patch has us wait, 0 for none
	retryAt  time.Time     // until then
	traces   *traces       // of Reloader at the last look; nil: there was none
}

// notes are those of all workloads. Safe for concurrent use.
type notes struct {
	mu sync.Mutex
	by map[key]*note
}

// another reports whether the note is that of a workload which had the name before.
func (n *notes) another(k key, uid types.UID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.by[k]
	return found != nil && found.uid != uid
}

// of answers the note of a workload. Another workload under the same name
// starts with an empty one.
func (n *notes) of(k key, uid types.UID) *note {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.by == nil {
		n.by = map[key]*note{}
	}
	found := n.by[k]
	if found == nil || found.uid != uid {
		found = &note{uid: uid}
		n.by[k] = found
	}
	return found
}

// drop forgets a workload, and answers what was known of it, nil for nothing.
func (n *notes) drop(k key) *note {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.by[k]
	delete(n.by, k)
	return found
}

// sightings tell since when each Secret has its present digest, as far as this
// process saw it. Safe for concurrent use.
type sightings struct {
	mu   sync.Mutex
	seen map[classKey]sighting
}

type sighting struct {
	digest string
	since  time.Time // zero: it was so at first sight
}

// forget drops what was seen in a namespace that is gone.
func (s *sightings) forget(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.seen, func(k classKey, _ sighting) bool { return k.namespace == namespace })
}

// drop forgets one Secret.
func (s *sightings) drop(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, classKey{namespace, name})
}

// note answers since when the Secret has the digest, now being when it is seen.
// A Secret that went away and comes back the same has had it all along.
func (s *sightings) note(namespace, name, digest string, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[classKey]sighting{}
	}
	k := classKey{namespace, name}
	last, known := s.seen[k]
	switch {
	case !known:
		last = sighting{digest: digest}
	case last.digest != digest:
		last = sighting{digest: digest, since: now}
	}
	s.seen[k] = last
	return last.since
}
