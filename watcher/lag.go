package watcher

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// laggards finds mounts that the driver has not brought up to date although it
// has done so for others of the same class: rotation is off, or it fails for
// this pod, which the driver does not tell anyone (driver v1.6.0
// pkg/secrets-store/nodeserver.go answers kubelet that all is well).
type laggards struct {
	caches  *caches
	queue   *queue[classKey]
	patient time.Duration // how long a mount may lag
	tell    *teller
	metrics *metrics

	mu     sync.Mutex
	counts map[classKey]int
	newest map[classKey]map[string]string
}

// sync counts one class's laggards.
func (l *laggards) sync(_ context.Context, k classKey) error {
	now := time.Now()
	mounts := l.caches.statuses.by(byClass, path(k.namespace, k.name))
	newest, since := l.newestOf(mounts)
	l.note(k, newest)
	var lagging []*pod
	wait := time.Duration(0)
	for _, s := range mounts {
		p := l.caches.podOf(s)
		if p == nil || p.finished || maps.Equal(*s.versions, newest) {
			continue
		}
		if wait = l.patient - now.Sub(since); wait > 0 {
			break
		}
		lagging = append(lagging, p)
	}
	for _, one := range l.caches.leftOf(lagging) {
		l.tell.lags(one, k.name, newest, now.Sub(since))
	}
	if wait > 0 {
		l.queue.AddAfter(k, wait)
	}
	l.count(k, len(lagging))
	return nil
}

// left are the pods of one workload that are left behind, with their nodes.
type left struct {
	workload *workload
	pods     []string
}

func (c *caches) leftOf(lagging []*pod) map[types.UID]*left {
	by := map[types.UID]*left{}
	for _, p := range lagging {
		w := c.workloadOf(p)
		if w == nil {
			w = p.alone()
		}
		if by[w.UID] == nil {
			by[w.UID] = &left{workload: w}
		}
		by[w.UID].pods = append(by[w.UID].pods, p.Name+" on "+p.node)
	}
	return by
}

// newestOf answers the versions that came last, and since when the first of the
// live mounts has had them.
func (l *laggards) newestOf(mounts []*status) (newest map[string]string, since time.Time) {
	var last time.Time
	for _, s := range mounts {
		if p := l.caches.podOf(s); p == nil || p.finished {
			continue
		}
		if at := s.arrived(); newest == nil || at.After(last) {
			newest, last = *s.versions, at
		}
	}
	since = last
	for _, s := range mounts {
		if at := s.arrived(); maps.Equal(*s.versions, newest) && at.Before(since) && l.caches.podOf(s) != nil {
			since = at
		}
	}
	return newest, since
}

// arrived is when the mount got the content that it has.
func (s *status) arrived() time.Time {
	if s.Generation <= 1 || s.changed.IsZero() {
		return s.CreationTimestamp.Time
	}
	return s.changed
}

// note counts a rotation when a class has other versions than before.
func (l *laggards) note(k classKey, newest map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if newest == nil {
		delete(l.newest, k)
		return
	}
	if before, known := l.newest[k]; known && !maps.Equal(before, newest) {
		l.metrics.rotations.Inc()
	}
	l.newest[k] = newest
}

func (l *laggards) count(k classKey, lagging int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics.lagging.Add(float64(lagging - l.counts[k]))
	if lagging == 0 {
		delete(l.counts, k)
		return
	}
	l.counts[k] = lagging
}

// lags tells once for each workload and content that pods are left behind, and
// not of each pod: of one object client-go writes only so many Events.
func (t *teller) lags(one *left, class string, newest map[string]string, behind time.Duration) {
	content := fnv.New64a()
	fmt.Fprint(content, newest) // in the order of the keys
	if t.once(one.workload.UID, fmt.Sprint(reasonLagging, class, content.Sum64())) {
		slices.Sort(one.pods)
		t.event(one.workload, warning, reasonLagging, fmt.Sprintf(
			"The driver has not brought %s of %d pods up to date for %s, though it has for others (%s): "+
				"is rotation enabled in the driver, and what does the provider log on those nodes?",
			class, len(one.pods), behind.Round(time.Second), few(one.pods)))
	}
}
