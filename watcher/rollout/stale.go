package rollout

import (
	"maps"
	"slices"
	"time"
)

// Freshness is what is known of a pod.
type Freshness int

// In the order of their weight. Unknown asks for an Event rather than for a rollout.
const (
	Fresh Freshness = iota
	Unknown
	Stale
)

// String is the word for logs and metric labels.
func (f Freshness) String() string {
	switch f {
	case Fresh:
		return "fresh"
	case Unknown:
		return "unknown"
	case Stale:
		return "stale"
	}
	return "invalid"
}

// Verdict is what [Judge] finds.
type Verdict struct {
	Freshness Freshness
	Reason    Reason
	// Of names the class or the Secret that speaks; "" where none does.
	Of string
}

// Judge tells whether a pod runs on the newest content. A pod is as stale as its
// stalest mount, then as the Secrets it takes its environment from.
func Judge(now time.Time, p Pod, s State, o Options) Verdict {
	return newJudge(now, s, o).pod(p).verdict
}

// judged is a pod with what was found of it.
type judged struct {
	Pod
	verdict      Verdict
	held         held
	spared       bool // it bears the newest stamp, which has not replaced it
	rests        bool // on what is remembered or recorded: the driver's own object would tell otherwise
	staleClasses []string
	staleSecrets []string // by their digest
}

// judge holds what verdicts on the pods of one workload rest on.
type judge struct {
	s       State
	base    Baseline
	skew    time.Duration
	secrets []string // names, in order
	digests lastDigest
}

func newJudge(now time.Time, s State, o Options) *judge {
	return &judge{s: s, base: recoverBaseline(now, s), skew: o.ClockSkew, secrets: slices.Sorted(maps.Keys(s.Secrets))}
}

// pod judges one pod and tells what its containers started with.
func (j *judge) pod(p Pod) judged {
	switch {
	case p.Finished:
		return judged{Pod: p, verdict: Verdict{Fresh, Finished, ""}}
	case p.Started.IsZero():
		return judged{Pod: p, held: held{mounted: j.mounted(p)}, verdict: Verdict{Fresh, Starting, ""}}
	}
	was := j.s.Memory.of(p)
	is := judged{Pod: p, held: was, spared: j.spared(p)}
	if is.spared {
		p.Stamp = "" // what it answered, the pod did not start with
	}
	for _, m := range p.Mounts {
		v, started := j.mount(p, m, was.classes[m.Class], was.mounted[m.Class])
		is.rests = is.rests || v.Reason == SameAgain
		if started != "" {
			is.held.classes = with(is.held.classes, m.Class, started)
		}
		is.verdict = worse(is.verdict, v)
		if v.Freshness == Stale {
			is.staleClasses = append(is.staleClasses, m.Class)
		}
	}
	for _, name := range j.secrets {
		digest, told := j.startedOn(p, name, j.s.Secrets[name], was)
		if !told {
			continue
		}
		is.held.secrets = with(is.held.secrets, name, digest)
		if j.s.Secrets[name].stale(digest) {
			is.verdict = worse(is.verdict, Verdict{Stale, SecretChanged, name})
			is.staleSecrets = append(is.staleSecrets, name)
		}
	}
	is.verdict = worse(is.verdict, Verdict{Fresh, Unchanged, ""})
	return is
}

// spared reports whether a pod was given the newest stamp in place of being
// replaced for it. That stamp must be the last one of ours, of which Rolled tells:
// an undo brings back an older one, with pods that were made for it.
func (j *judge) spared(p Pod) bool {
	w := j.s.Workload
	return w.InPlace && w.Stamp != "" && p.Stamp == w.Stamp && j.base.newest() == w.Stamp && p.Created.Before(w.Rolled)
}

// worse prefers stale to unknown to fresh, and the first among equals.
func worse(a, b Verdict) Verdict {
	if a.Reason == "" || b.Freshness > a.Freshness {
		return b
	}
	return a
}

// mount judges what one mount delivers. C is when its status was written first,
// M when the driver changed it last, G its generation, S when the containers
// started; S is told by another clock, so "before S" means by more than the skew.
//
//	no status, or another pod's                        unknown
//	C after the pod, C not after S, G 1                fresh: as the first mount brought it
//	the same, mounted n times, M not after S, G n      fresh: as the first mounts brought it
//	M before S                                         fresh: the containers started since
//	what the pod started with is known                 fresh if the versions are those, else stale
//	C after the pod, C not after S, G above 1          stale
//	C before the pod (inherited) and M after S         stale
//	C after S (re-created), G above 1, M after S       stale
//	it was seen with other versions before S           stale
//	inherited, re-created, mounted twice, or no M      by the versions of the baseline; without one, or as recorded
//	                                                   where some pods run on something else, unknown
//
// With the verdict comes the digest of what the containers started with, "" where
// that is still to be told.
func (j *judge) mount(p Pod, m Mount, was, before string) (v Verdict, started string) {
	st := m.Status
	if st == nil {
		return Verdict{Unknown, StatusMissing, m.Class}, was
	}
	if !st.belongsTo(p) {
		return Verdict{Unknown, StatusForeign, m.Class}, was
	}
	odd, now := j.oddity(p, m), j.digests.of(st.Versions)
	switch {
	case odd == "" && st.unchanged(), odd == MountedTwice && j.asMounted(p, m):
		return Verdict{Fresh, Unchanged, m.Class}, now
	case !st.Changed.IsZero() && st.Changed.Add(j.skew).Before(p.Started):
		return Verdict{Fresh, StartedSince, m.Class}, now
	}
	base, recorded := j.base.Classes[m.Class]
	if was == "" && recorded && j.base.covers(base, p, j.skew) {
		was = base.Digest
	}
	switch {
	case was == now:
		return Verdict{Fresh, SameAgain, m.Class}, was
	case was != "":
		return Verdict{Stale, ContentChanged, m.Class}, was
	case odd == "", j.certainlyChanged(p, m, odd), before != "" && before != now:
		return Verdict{Stale, ContentChanged, m.Class}, lost
	case !recorded, base.Digest == now && base.Mixed:
		return Verdict{Unknown, odd, m.Class}, ""
	case base.Digest != now, p.Ordinal < base.From && !j.madeSince(p, base.Since):
		return Verdict{Stale, ContentChanged, m.Class}, lost
	}
	return Verdict{Fresh, SameAgain, m.Class}, now
}

// mounted is what the statuses of a pod tell before its containers start: lost where
// that changes meanwhile, for it is seen late that they have.
func (j *judge) mounted(p Pod) map[string]string {
	all := map[string]string{}
	was := j.s.Memory.of(p).mounted
	for _, m := range p.Mounts {
		if m.Status == nil || !m.Status.belongsTo(p) {
			continue
		}
		all[m.Class] = j.digests.of(m.Status.Versions)
		if before := was[m.Class]; before != "" && before != all[m.Class] {
			all[m.Class] = lost
		}
	}
	return all
}

// oddity tells why the generation of a mount's status cannot be taken at its
// word: it must count from this pod's first mount, and grow with content only.
func (j *judge) oddity(p Pod, m Mount) Reason {
	st := m.Status
	switch {
	case p.volumes(m.Class) > 1:
		return MountedTwice
	case st.Created.Before(p.Created):
		return StatusInherited
	case st.Created.After(p.Started.Add(j.skew)):
		return StatusRecreated
	case st.Changed.IsZero() && !st.unchanged():
		return StatusUntold
	}
	return ""
}

// asMounted reports whether the volumes of a class that is mounted more than once
// have written their one status once each, and nothing has since: each has a
// target path of its own, so the first mounts alone count up to their number.
func (j *judge) asMounted(p Pod, m Mount) bool {
	st := m.Status
	return st.Generation == p.volumes(m.Class) && !st.Created.Before(p.Created) && !st.Changed.After(p.Started.Add(j.skew))
}

// certainlyChanged reports whether an odd status tells by itself of a change
// after the containers started, the first write of it left aside.
func (j *judge) certainlyChanged(p Pod, m Mount, odd Reason) bool {
	late := m.Status.Changed.After(p.Started.Add(j.skew))
	switch odd {
	case StatusInherited:
		return late
	case StatusRecreated:
		return late && !m.Status.unchanged()
	default:
		return false
	}
}

// unchanged reports whether the status still says what it was created with.
// Where the generation tells nothing, the time of the last change does, by the second.
func (st Status) unchanged() bool {
	if st.Generation == 0 {
		return !st.Changed.IsZero() && !st.Changed.After(st.Created)
	}
	return st.Generation == 1
}

// belongsTo reports whether the status was written for this very pod, not for
// one before it of the same name.
func (st Status) belongsTo(p Pod) bool {
	return st.Owner == p.UID && (st.Target == "" || st.Target == p.UID)
}

// volumes counts the pod's volumes of a class.
func (p Pod) volumes(class string) (n int64) {
	for _, m := range p.Mounts {
		if m.Class == class {
			n++
		}
	}
	return n
}

// stale reports whether a pod that started on the digest lacks what the Secret
// holds now. A Secret that is away holds nothing new.
func (s Secret) stale(started string) bool {
	return s.Trigger && !s.Hidden && s.Digest != "" && s.Digest != started
}

// consumed reports whether the Secret matters to a rollout at all.
func (s Secret) consumed() bool { return s.Env || s.Trigger }

// startedOn tells the digest that a Secret held when the pod's containers
// started, "" where it cannot be told, and false where there is nothing to tell
// yet. The first that applies counts:
//
//	already told for this start of the containers    that
//	away, or the record waits for one that is        nothing yet
//	unchanged since before the start, by the clocks  what it holds
//	never recorded                                   what it holds: first sight
//	record does not speak of this pod, or unsettled  cannot be told
//	changed before this process looked, start after  cannot be told
//	changed while nobody watched, or not at all      the recorded one
//	as recorded, never seen otherwise since          the recorded one
//	changed after the start, by the clocks           the recorded one
//	otherwise                                        cannot be told
func (j *judge) startedOn(p Pod, name string, secret Secret, was held) (digest string, told bool) {
	if digest, told := was.secrets[name]; told {
		return digest, true
	}
	if secret.Digest == "" || j.s.recoversLater(j.base) {
		return "", false
	}
	base, recorded := j.base.Secrets[name]
	switch {
	case j.heldSinceBefore(secret, p.Started), !recorded:
		return secret.Digest, true
	case !j.speaksOf(p, base), base.Unsettled, j.startedOnOther(p, secret, base, was):
		return "", true
	case secret.Since.IsZero(),
		secret.Digest == base.Digest && !secret.Since.After(base.Since),
		secret.Digest != base.Digest && p.Started.Add(j.skew).Before(secret.Since):
		return base.Digest, true
	}
	return "", true
}

// startedOnOther reports whether the Secret has held something else than recorded
// ever since this process looks, and the pod's containers started after that.
func (j *judge) startedOnOther(p Pod, s Secret, base SecretBaseline, was held) bool {
	return s.Since.IsZero() && s.Digest != base.Digest && (was.watched || before(j.s.Memory.start, p.Created, 0))
}

// heldSinceBefore reports whether the Secret has held its data since before a
// moment that another clock told.
func (j *judge) heldSinceBefore(s Secret, t time.Time) bool {
	since := s.Since
	if since.IsZero() {
		since = j.s.Memory.start // unchanged for as long as this process has looked
	}
	return before(since, t, j.skew) || before(s.Changed, t, j.skew)
}

// before reports whether a, if it is known, precedes b by more than the skew.
func before(a, b time.Time, skew time.Duration) bool {
	return !a.IsZero() && a.Add(skew).Before(b)
}

// speaksOf reports whether the record of a Secret holds for this pod: it is not
// below the partition that it was recorded at, unless made since, and bears the
// recorded stamp, or lost it to somebody's edit after the record was made.
func (j *judge) speaksOf(p Pod, s SecretBaseline) bool {
	b := j.base
	return (p.Ordinal >= s.From || j.madeSince(p, s.Since)) && (p.Stamp == b.Stamp || b.knows(p.Stamp) && p.Created.After(s.Since))
}

// madeSince reports whether a pod was made after the record, so that it started on
// what is recorded or later, whatever its ordinal. Only a record that this process
// has kept up all the while tells that: in the ledger its time may be an older one.
func (j *judge) madeSince(p Pod, recorded time.Time) bool {
	return p.Created.After(recorded) && before(j.s.Memory.start, p.Created, 0)
}
