package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Decide tells what to do with a workload now. It is total: whatever the State
// says, it answers, and an answer to wait says how long.
func Decide(now time.Time, s State, o Options) Decision {
	v := look(now, s, o)
	d := v.decide()
	d.Counts = v.counts
	d.Rotated = v.rotated()
	d.Underway = v.underway()
	d.Done = v.done()
	d.Stuck = v.stuck()
	d.Memory = v.memory
	if d.Action != Roll {
		d.Baseline = v.observe()
	}
	switch {
	case d.Action == Wait:
		d.After = max(d.After, shortestWait)
	case d.Action == None && d.Underway && o.StuckAfter > 0:
		d.After = max(v.untilStuck(), shortestWait)
	case d.Action == None && v.unconfirmed(d.Baseline) && v.allRun() && v.untilCovered() > 0:
		d.After = max(v.untilCovered(), shortestWait) // to confirm the record
	}
	return d
}

// shortestWait keeps a wait from spinning, whatever the clocks say.
const shortestWait = 100 * time.Millisecond

// check speaks or holds its tongue.
type check func(*view) (Decision, bool)

// checks is the specification: in this order, the first that speaks decides.
var checks = []check{
	deleting,     // nothing matters any more
	notObserved,  // which pods are the newest is not known yet
	scaledToZero, // those that come later start on the newest content
	nobodyStale,
	notRestartable,
	restartNever,
	paused,
	onDelete,
	notReplaced,
	belowPartition,
	rolloutStuck,
	rolledRecently,
	rolloutUndone,
	secretFlips,
	notSettled,
	tooManyRollouts,
}

func (v *view) decide() Decision {
	for _, c := range checks {
		if d, spoken := c(v); spoken {
			return d
		}
	}
	return v.roll()
}

func none(r Reason, format string, args ...any) (Decision, bool) {
	return Decision{Action: None, Reason: r, Message: fmt.Sprintf(format, args...)}, true
}

func wait(after time.Duration, r Reason, format string, args ...any) (Decision, bool) {
	return Decision{Action: Wait, Reason: r, After: after, Message: fmt.Sprintf(format, args...)}, true
}

func deleting(v *view) (Decision, bool) {
	if !v.s.Workload.Deleting {
		return Decision{}, false
	}
	return none(Deleting, "is being deleted")
}

// observeWait is only a fallback: the controller's update of the status wakes the watcher.
const observeWait = 5 * time.Second

func notObserved(v *view) (Decision, bool) {
	w := v.s.Workload
	if w.Fixed || w.ObservedGeneration >= w.Generation {
		return Decision{}, false
	}
	return wait(observeWait, NotObserved, "its controller has not seen generation %d yet", w.Generation)
}

func scaledToZero(v *view) (Decision, bool) {
	if v.s.Workload.Fixed || v.s.Workload.Replicas > 0 {
		return Decision{}, false
	}
	return none(ScaledToZero, "is scaled to zero; new pods start on the newest content")
}

func nobodyStale(v *view) (Decision, bool) {
	if len(v.stale)+len(v.kept) > 0 {
		return Decision{}, false
	}
	switch unknown := v.unknown(); {
	case v.stuck():
		return none(RolloutStuck, "its rollout has not moved for %s", v.sinceMoved())
	case len(unknown) > 0:
		why := unknown[0].verdict
		return none(why.Reason, "cannot be told for %s: %s of %s", podNames(unknown), unknownText[why.Reason], why.Of)
	case len(v.left) > 0 && v.s.Workload.OnDelete:
		return none(OnDelete, onDeleteText, lackText(v.left))
	case len(v.left) > 0:
		return none(BelowPartition, belowPartitionText, lackText(v.left), v.s.Workload.Partition)
	case len(v.current) == 0:
		return none(NoPods, "no pod of the newest revision is there yet")
	case v.counts.Fresh > len(v.running):
		return none(Starting, "%d of %d pods are starting", v.counts.Fresh-len(v.running), v.counts.Fresh)
	default:
		return none(UpToDate, "every pod runs on the newest content")
	}
}

// unknownText says in words why nothing can be said.
var unknownText = map[Reason]string{
	StatusMissing:   "the driver has written no status",
	StatusForeign:   "the status is that of another pod of the same name",
	StatusInherited: "the status is older than the pod",
	StatusRecreated: "the status is younger than the containers",
	MountedTwice:    "two volumes share one status",
	StatusUntold:    "the status carries no time of its last change",
}

func notRestartable(v *view) (Decision, bool) {
	if !v.s.Workload.Fixed {
		return Decision{}, false
	}
	return none(NotRestartable, "%s: replace it by hand, a %s cannot be rolled", v.staleText(), v.s.Workload.Kind)
}

func restartNever(v *view) (Decision, bool) {
	if !v.s.Workload.Never {
		return Decision{}, false
	}
	return none(RestartNever, "%s; its annotation keyroll.dev/restart says never", v.staleText())
}

func paused(v *view) (Decision, bool) {
	if !v.s.Workload.Paused {
		return Decision{}, false
	}
	return none(Paused, "%s; its rollouts are paused", v.staleText())
}

// What is said of pods that their controller keeps, of whatever revision.
const (
	onDeleteText       = "%s; its update strategy OnDelete leaves it to you to delete them"
	belowPartitionText = "%s; all of them are below the partition %d"
)

func onDelete(v *view) (Decision, bool) {
	if !v.s.Workload.OnDelete {
		return Decision{}, false
	}
	return none(OnDelete, onDeleteText, v.staleText())
}

func notReplaced(v *view) (Decision, bool) {
	if len(v.stale) > 0 || !slices.ContainsFunc(v.kept, func(p *judged) bool { return p.spared }) {
		return Decision{}, false
	}
	return none(NotReplaced, "%s; the last rollout changed them in place, which starts no container again: restart them by hand", v.staleText())
}

func belowPartition(v *view) (Decision, bool) {
	if len(v.stale) > 0 {
		return Decision{}, false
	}
	return none(BelowPartition, belowPartitionText, v.staleText(), v.s.Workload.Partition)
}

// rolloutStuck holds a workload back that has pods left to replace: another
// rollout would only begin with the same pods again. Where none are left, pods
// that are not available may be waiting for the new content.
func rolloutStuck(v *view) (Decision, bool) {
	if !v.stuck() || v.leaving() == 0 {
		return Decision{}, false
	}
	return none(RolloutStuck, "%s; its rollout has not moved for %s", v.staleText(), v.sinceMoved())
}

func rolledRecently(v *view) (Decision, bool) {
	w := v.s.Workload
	rest := v.o.MinInterval - v.now.Sub(w.Rolled)
	if w.Rolled.IsZero() || rest <= 0 {
		return Decision{}, false
	}
	return wait(min(rest, v.o.MinInterval), RolledRecently, "%s; the last rollout is younger than %s", v.staleText(), v.o.MinInterval)
}

// firstUndone and lastUndone bound how long the next rollout waits when somebody
// undoes them. Once is no fight: a person may do so, or deploy something else.
const (
	firstUndone = time.Minute
	lastUndone  = 30 * time.Minute
)

// rolloutUndone does not fight a controller that writes its own pod template over
// the stamp, but for a try now and then.
func rolloutUndone(v *view) (Decision, bool) {
	u := v.memory.undone
	if u.count < 2 {
		return Decision{}, false
	}
	rest := min(firstUndone<<min(u.count-2, 5), lastUndone) - v.now.Sub(u.since)
	if rest <= 0 {
		return Decision{}, false
	}
	writer := v.s.Writer
	if writer != "" {
		writer = " (" + writer + " does)"
	}
	return wait(rest, RolloutUndone, "%s; the last %d rollouts were undone before their end: what writes the pod template%s has to leave its annotation keyroll.dev/content alone",
		v.staleText(), u.count, writer)
}

// secretFlips holds back a rollout that only fighting writers ask for.
func secretFlips(v *view) (Decision, bool) {
	if v.byFiles() {
		return Decision{}, false
	}
	var first pending
	for _, name := range slices.Sorted(maps.Keys(v.staleSecrets())) {
		p, flips := v.flips(name)
		if !flips {
			return Decision{}, false
		}
		if first.reason == "" || p.after < first.after {
			first = p
		}
	}
	return wait(first.after, SecretFlips,
		"Secret %s went back to content that was rolled for already, though the objects that feed it stayed: does something else write it?", first.of)
}

// notSettled waits until new pods would certainly start on the new content. At
// Options.SettleMax it gives way, once for each content; where that is about to come,
// later by rewrittenAfter at most.
func notSettled(v *view) (Decision, bool) {
	if v.memory.settling.since.IsZero() {
		v.memory.settling = settling{since: v.now, stamp: v.s.Workload.Stamp}
	}
	waited := v.now.Sub(v.memory.settling.since)
	if rest := v.o.Settle - waited; rest > 0 {
		return wait(rest, Gathering, "%s; gathering what changes together", v.staleText())
	}
	awaited := v.unsettled()
	rest := v.o.SettleMax - waited
	if !slices.ContainsFunc(awaited, func(p pending) bool { return !p.soon() }) {
		rest += rewrittenAfter
	}
	if len(awaited) == 0 || rest <= 0 && (v.byFiles() || v.unanswered()) {
		return Decision{}, false
	}
	p := awaited[0]
	if rest <= 0 {
		rest = v.o.SettleMax
	}
	if p.after > 0 {
		rest = min(rest, p.after)
	}
	return wait(rest, p.reason, "%s; %s", v.staleText(), p.text())
}

// unanswered reports whether a pod is stale by a digest that no rollout has
// answered or left.
func (v *view) unanswered() bool {
	for name := range v.staleSecrets() {
		base, digest := v.base.Secrets[name], v.s.Secrets[name].Digest
		if base.Digest != digest && !v.edited(name) && !slices.Contains(base.Answered, digest) {
			return true
		}
	}
	return false
}

func (p pending) text() string {
	switch p.reason {
	case SecretMissing:
		return fmt.Sprintf("Secret %s does not exist", p.of)
	case SecretEdited:
		return fmt.Sprintf("Secret %s changed though the objects that feed it did not", p.of)
	case StatusesDisagree:
		return fmt.Sprintf("pods that feed Secret %s hold different versions", p.of)
	default:
		return fmt.Sprintf("waiting for Secret %s to hold the new content", p.of)
	}
}

// placeWait is only a fallback: the end of another rollout wakes the watcher.
const placeWait = 10 * time.Second

func tooManyRollouts(v *view) (Decision, bool) {
	if v.o.MaxParallel <= 0 || v.s.Underway < v.o.MaxParallel {
		return Decision{}, false
	}
	return wait(placeWait, TooManyRollouts, "%s; %d rollouts are under way", v.staleText(), v.s.Underway)
}

func (v *view) roll() Decision {
	unsettled := map[string]bool{}
	for _, p := range v.unsettled() {
		unsettled[p.of] = true
	}
	d := Decision{Action: Roll, Reason: v.stale[0].verdict.Reason, Message: v.staleText()}
	d.Stamp = newStamp(v.content.fingerprint(len(unsettled) > 0), v.s.Workload.Generation)
	d.Cause = v.cause()
	d.Baseline = v.base.answered(d.Stamp, v.content, v.s, v.now, func(name string) bool { return !unsettled[name] })
	for name, secret := range d.Baseline.Secrets {
		if v.sameAssumed(name) {
			secret.Feeds = "" // if it is written after all, that is no edit
			d.Baseline.Secrets[name] = secret
		}
	}
	return d
}

func (v *view) unknown() []*judged {
	var some []*judged
	for _, p := range v.current {
		if p.verdict.Freshness == Unknown {
			some = append(some, p)
		}
	}
	return some
}

func (v *view) sinceMoved() time.Duration {
	return v.now.Sub(v.memory.progress.since).Truncate(time.Second)
}

// staleText names the stale pods and what they lack.
func (v *view) staleText() string {
	return lackText(slices.Concat(v.stale, v.kept))
}

func lackText(pods []*judged) string {
	what := "the content of " + pods[0].verdict.Of
	if pods[0].verdict.Reason == SecretChanged {
		what = "Secret " + pods[0].verdict.Of
	}
	return fmt.Sprintf("%s changed after the start of %s", what, podNames(pods))
}

// podNames lists a few names and counts the rest.
func podNames(pods []*judged) string {
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return bounded(names, 3)
}
