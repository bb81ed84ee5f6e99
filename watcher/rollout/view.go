package rollout

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// view is a State with everything worked out that the checks ask for.
type view struct {
	now     time.Time
	s       State
	o       Options
	base    Baseline
	content content
	current []*judged // live pods of the newest revision
	running []*judged // those of them whose containers run
	stale   []*judged // those that a rollout would replace
	kept    []*judged // stale ones that it would not, see keeps, or has spared
	left    []*judged // such as kept, but of older revisions
	below   []*judged // of older revisions, below the partition
	counts  Counts
	memory  Memory
}

func look(now time.Time, s State, o Options) *view {
	j := newJudge(now, s, o)
	v := &view{now: now, s: s, o: o, base: j.base, content: newestContent(s)}
	v.memory = Memory{start: s.Memory.start, settling: s.Memory.settling, pods: make(map[types.UID]held, len(s.Pods))}
	if v.memory.start.IsZero() {
		v.memory.start = now
	}
	all := make([]judged, len(s.Pods))
	for i, p := range s.Pods {
		if !p.Finished {
			all[i] = j.pod(p)
			v.add(&all[i])
		}
	}
	v.memory.secrets = v.agreements()
	v.memory.ended = v.ended()
	v.memory.undone = v.undone()
	v.memory.progress = v.measure()
	if len(v.stale) == 0 || v.memory.settling.stamp != s.Workload.Stamp {
		v.memory.settling = settling{}
	}
	return v
}

// keeps reports whether the workload's controller leaves the pod as it is, whatever
// the template says.
func (w Workload) keeps(p Pod) bool { return w.OnDelete || p.Ordinal < w.Partition }

// add sorts a judged pod to its kind.
func (v *view) add(p *judged) {
	runs := !p.Started.IsZero()
	v.memory.pods[p.UID] = p.held
	if !v.s.current(p.Pod) {
		v.counts.Older++
		if p.Ordinal < v.s.Workload.Partition {
			v.below = append(v.below, p)
		}
		if v.s.Workload.keeps(p.Pod) && p.certainlyStale() {
			v.counts.Stale++
			v.left = append(v.left, p)
		}
		return
	}
	v.current = append(v.current, p)
	if runs {
		v.running = append(v.running, p)
	}
	switch p.verdict.Freshness {
	case Fresh:
		v.counts.Fresh++
	case Unknown:
		v.counts.Unknown++
	case Stale:
		v.counts.Stale++
		if p.spared || v.s.Workload.keeps(p.Pod) {
			v.kept = append(v.kept, p)
		} else {
			v.stale = append(v.stale, p)
		}
	}
}

// leaving are the live pods that a rollout has still to replace.
func (v *view) leaving() int { return v.counts.Older - len(v.below) }

// agreements brings up to date since when the statuses behind each Secret agree.
func (v *view) agreements() map[string]agreement {
	all := map[string]agreement{}
	for name, secret := range v.s.Secrets {
		if !secret.consumed() {
			continue
		}
		is := agreement{on: v.s.feedsOf(name), fed: v.s.fed(name), since: v.now, left: v.now}
		if was, known := v.s.Memory.secrets[name]; known {
			if was.on == is.on {
				is.since = was.since
			}
			if was.on == is.on || was.on == "" {
				is.left = was.left
			}
		}
		all[name] = is
	}
	return all
}

// ended is the stamp whose rollout has come to its end. What becomes of the pods
// later is no rollout of ours any more. Of one that ended before this process
// looked, the record tells.
func (v *view) ended() string {
	w := v.s.Workload
	confirmed := v.s.Memory.start.IsZero() && v.base.Stamp == w.Stamp && !v.base.Confirmed.IsZero()
	there := len(v.current) > 0 || len(v.below) > 0 && v.leaving() == 0 // not complete by a status of before
	if confirmed || w.Complete && there {
		return w.Stamp
	}
	return v.s.Memory.ended
}

// undone counts the last rollout of this process if its stamp went before its end.
// One that went later has done its work: pods that come of the older template again
// start on the content of now.
func (v *view) undone() undone {
	was, patched := v.s.Memory.undone, v.s.Patched
	switch {
	case v.memory.ended == patched:
		return undone{stamp: patched}
	case v.s.Workload.Stamp == patched, was.stamp == patched:
		return was
	}
	return undone{stamp: patched, count: was.count + 1, since: v.now}
}

// ours reports whether the newest stamp is ours, and its rollout has not ended.
func (v *view) ours() bool {
	w := v.s.Workload
	return w.Stamp != "" && !w.Rolled.IsZero() && v.memory.ended != w.Stamp
}

// rolling reports whether a rollout is under way that should end by itself: one
// of ours, or anybody's that has pods left to replace. A pod that is not
// available is none.
func (v *view) rolling() bool {
	w := v.s.Workload
	held := w.Fixed || w.Paused || w.OnDelete || w.Deleting || w.Replicas == 0
	return !w.Complete && !held && (v.leaving() > 0 || v.ours())
}

// measure brings up to date since when the workload's rollout has not moved.
// Only what it has never come to before counts: pods that crash start again and
// again. Another template is another rollout; a new generation may be no more than
// a scale, of which an autoscaler makes as many as it likes.
func (v *view) measure() progress {
	if !v.rolling() {
		return progress{}
	}
	w, was := v.s.Workload, v.s.Memory.progress
	is := progress{since: v.now, stamp: w.Stamp, revision: w.Revision, started: len(v.running), older: v.leaving()}
	if was.since.IsZero() || was.stamp != is.stamp || was.revision != is.revision {
		return is
	}
	if is.started <= was.started && is.older >= was.older {
		is.since = was.since
	}
	is.started, is.older = max(is.started, was.started), min(is.older, was.older)
	return is
}

// stuck reports whether a rollout has not moved for too long.
func (v *view) stuck() bool {
	since := v.memory.progress.since
	return v.o.StuckAfter > 0 && !since.IsZero() && v.now.Sub(since) >= v.o.StuckAfter
}

// untilStuck is when a rollout that does not move frees its place.
func (v *view) untilStuck() time.Duration {
	return v.o.StuckAfter - v.now.Sub(v.memory.progress.since)
}

// underway reports whether a rollout of ours holds a place.
func (v *view) underway() bool {
	return v.rolling() && v.ours() && !v.stuck()
}

// done reports whether a rollout of ours has reached its end.
func (v *view) done() bool {
	w := v.s.Workload
	return w.Stamp != "" && w.Complete && len(v.current) > 0 && v.counts.Fresh == len(v.current) && len(v.running) == len(v.current)
}

// rotated is when the earliest known change came that a stale pod lacks.
func (v *view) rotated() time.Time {
	var first time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	pods := slices.Concat(v.stale, v.kept)
	if len(pods) == 0 {
		pods = v.left // what they lack has been answered by a rollout already
	}
	for _, p := range pods {
		for _, m := range p.Mounts {
			if m.Status != nil && slices.Contains(p.staleClasses, m.Class) {
				earlier(m.Status.Changed)
			}
		}
		for _, name := range p.staleSecrets {
			earlier(v.s.Secrets[name].Since)
		}
	}
	return first
}

// certainlyStale reports whether a pod is known to lack content. One of an older
// revision need not consume what the newest does, nor does the record speak of it.
func (p *judged) certainlyStale() bool {
	return len(p.staleClasses) > 0 || slices.ContainsFunc(p.staleSecrets, func(name string) bool { return p.held.secrets[name] != "" })
}

// staleSecrets are the Secrets by whose digest a pod is stale.
func (v *view) staleSecrets() map[string]bool {
	all := map[string]bool{}
	for _, p := range v.stale {
		for _, name := range p.staleSecrets {
			all[name] = true
		}
	}
	return all
}

// byFiles reports whether a pod is stale by what it mounts.
func (v *view) byFiles() bool {
	for _, p := range v.stale {
		if len(p.staleClasses) > 0 {
			return true
		}
	}
	return false
}
