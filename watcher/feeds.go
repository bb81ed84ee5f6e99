package watcher

import (
	"sync"

	"keyroll.dev/watcher/rollout"
)

// feeds keep for each class what its live mounts hold. Mounts that hold the
// same versions are told by the newest of them, which is all that a decision
// asks of them: so a look at one of a thousand workloads that share a class
// costs what it costs for the only one, and a mount that changes is filed anew
// without a look at the others. Safe for concurrent use.
type feeds struct {
	mu sync.Mutex
	of map[classKey]*feed
}

// feed is what is known of one class.
type feed struct {
	live   map[string]*status // by name
	groups map[*versions]*group
}

// group is the mounts of a class that hold the same versions.
type group struct {
	size   int
	newest *status // nil: it left, and the next one is to be found
}

// file brings the mount under a status's name up to date: now is what the caches
// have of it, asked with the lock held, so that of two calls the later one knows
// better; nil when there is no such mount, or its pod has ended.
func (f *feeds) file(k classKey, name string, now func() *status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := now()
	one := f.of[k]
	if one == nil {
		if s == nil {
			return
		}
		one = &feed{live: map[string]*status{}, groups: map[*versions]*group{}}
		if f.of == nil {
			f.of = map[classKey]*feed{}
		}
		f.of[k] = one
	}
	one.remove(name)
	if s != nil {
		one.add(s)
	}
	if len(one.live) == 0 {
		delete(f.of, k)
	}
}

func (f *feed) add(s *status) {
	f.live[s.Name] = s
	g := f.groups[s.versions]
	if g == nil {
		g = &group{newest: s}
		f.groups[s.versions] = g
	}
	g.size++
	if g.newest != nil && s.newer(g.newest) {
		g.newest = s
	}
}

func (f *feed) remove(name string) {
	s := f.live[name]
	if s == nil {
		return
	}
	delete(f.live, name)
	g := f.groups[s.versions]
	g.size--
	switch {
	case g.size == 0:
		delete(f.groups, s.versions)
	case g.newest == s:
		g.newest = nil
	}
}

// newer reports whether a mount that holds the same counts as changed later, in
// the order of the decision.
func (s *status) newer(other *status) bool {
	if c := s.changed.Compare(other.changed); c != 0 {
		return c > 0
	}
	return s.Generation > other.Generation
}

// get answers one status for each content that live mounts of the class hold.
func (f *feeds) get(k classKey, told func(*status) rollout.Status) []rollout.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.of[k]
	if one == nil {
		return nil
	}
	one.findNewest()
	all := make([]rollout.Status, 0, len(one.groups))
	for _, g := range one.groups {
		all = append(all, told(g.newest))
	}
	return all
}

// findNewest looks for the newest of the groups whose newest left.
func (f *feed) findNewest() {
	lacking := map[*group]bool{}
	for _, g := range f.groups {
		if g.newest == nil {
			lacking[g] = true
		}
	}
	if len(lacking) == 0 {
		return
	}
	for _, s := range f.live {
		if g := f.groups[s.versions]; lacking[g] && (g.newest == nil || s.newer(g.newest)) {
			g.newest = s
		}
	}
}

// refile brings up to date whether, and as what, a mount counts for its class.
func (c *caches) refile(s *status) {
	c.feeds.file(classKey{s.Namespace, s.class}, s.Name, func() *status {
		now := c.statuses.get(s.Namespace, s.Name)
		if now == nil || now.class != s.class {
			return nil
		}
		if p := c.podOf(now); p == nil || p.finished {
			return nil
		}
		return now
	})
}
