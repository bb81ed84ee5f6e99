package rollout

// How the decision core is tested, besides its tables:
//
//   - The simulation plays random sequences of events in a small cluster
//     (world_test.go) and checks the invariants at every step; a sequence that
//     fails is shrunk and printed. go test plays 1,500, make soak 100,000.
//     -seed and -sequences=1 -v show one of them.
//   - sabotage_test.go breaks what decisions are made from, and expects the
//     simulation to notice.
//   - make mutants negates every condition of the package, one at a time, and
//     expects one of all these tests to fail (mutation_test.go).

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var (
	sequences = flag.Int("sequences", 1500, "random sequences of events that the simulations run together; 100000 for a thorough run")
	firstSeed = flag.Uint64("seed", 1, "seed of the first sequence; with -sequences=1 -v it shows that one's trace")
)

// step is one event of a sequence. Its arguments choose among what is there, so
// that a shortened sequence still makes sense.
type step struct {
	gap  time.Duration // since the step before
	kind string
	a, b int
}

func (s step) String() string { return fmt.Sprintf("+%-10s %s(%d, %d)", s.gap, s.kind, s.a, s.b) }

func (w *world) do(s step) {
	w.happens(s.kind)
	w.changed = ""
	ids := slices.Sorted(maps.Keys(w.vault))
	id := ids[s.a%len(ids)]
	value := w.vault[id].value
	wl := w.target(s)
	switch s.kind {
	case "rotate":
		w.rotate(id, false)
		w.contentChanged(id, value)
	case "rotate to the same value":
		w.rotate(id, true)
		w.contentChanged(id, value)
	case "roll back":
		if w.rollback(id) {
			w.contentChanged(id, value)
		}
	case "there and back", "there and back unseen":
		if s.kind == "there and back unseen" && w.watcher.up {
			w.stopWatcher(12 * time.Minute)
		}
		w.rotate(id, false)
		w.contentChanged(id, value)
		w.after(time.Duration(s.b)*360*time.Millisecond, func() { // six minutes at most
			w.rollback(id)
			for _, wl := range w.workloads {
				if w.depends(wl, id, true) {
					wl.changes++
				}
			}
		})
	case "crash":
		if p := wl.pick(s.b); p != nil {
			w.crash(p)
			w.disturbed(wl)
		}
	case "crash loop":
		if p := wl.pick(s.b); p != nil {
			p.crashing = w.now + w.between(time.Minute, 20*time.Minute)
			w.crash(p)
			w.disturbed(wl)
		}
	case "evict":
		if p := wl.pick(s.b); p != nil {
			w.deletePod(p)
			w.disturbed(wl)
		}
	case "lag":
		if p := wl.pick(s.b); p != nil {
			w.logf("remounts of %s fail", p.name)
			p.failing = w.now + w.between(time.Minute, 20*time.Minute)
		}
	case "unready":
		if p := wl.pick(s.b); p != nil && wl.kind == "Deployment" { // a StatefulSet's controller waits for it
			w.logf("the probe of %s fails", p.name)
			p.unready = w.now + w.between(time.Minute, time.Hour)
			w.touch(wl)
			w.after(p.unready-w.now, func() { w.touch(wl); w.control(wl) })
		}
	case "scale", "scale to zero":
		was := wl.replicas
		wl.replicas = int32(s.b%3 + 1)
		if s.kind == "scale to zero" {
			wl.replicas = 0
		}
		if wl.replicas < was {
			w.happens("scaled down")
		} else if wl.replicas > was {
			w.happens("scaled up")
		}
		w.logf("%s scaled to %d", wl.name, wl.replicas)
		w.change(wl)
		w.disturbed(wl)
	case "image", "image that crashes":
		w.logf("%s gets another %s", wl.name, s.kind)
		if s.kind == "image that crashes" {
			wl.crashing = w.now + w.between(time.Minute, 20*time.Minute)
		}
		wl.past = append(wl.past, wl.template)
		wl.template.image++
		w.change(wl)
		w.disturbed(wl)
	case "replace":
		w.logf("%s is replaced, without its stamp", wl.name)
		wl.past = append(wl.past, wl.template)
		wl.template = template{image: wl.template.image + 1}
		w.change(wl)
		w.disturbed(wl)
	case "undo":
		if n := len(wl.past); n > 0 {
			w.logf("%s is undone", wl.name)
			wl.template, wl.past = wl.past[n-1], append(wl.past[:n-1], wl.template)
			w.change(wl)
			w.disturbed(wl)
		}
	case "move partition":
		if wl.kind == "StatefulSet" {
			wl.partition = int32(s.b % 4)
			w.logf("%s has its partition at %d", wl.name, wl.partition)
			w.change(wl)
			w.disturbed(wl)
		}
	case "pause":
		if wl.kind == "Deployment" {
			wl.paused = true
			w.change(wl)
			w.after(w.between(time.Minute, 20*time.Minute), func() { wl.paused = false; w.change(wl) })
		}
	case "refuse patches":
		wl.refuse = w.now + w.between(time.Minute, 10*time.Minute)
	case "operator":
		w.operate(wl)
	case "rotate while patches are refused":
		w.workloads[s.b%len(w.workloads)].refuse = w.now + 10*time.Minute
		w.rotate(id, false)
		w.contentChanged(id, value)
	case "restart watcher":
		if w.watcher.up {
			w.stopWatcher(w.between(time.Second, time.Duration(1+s.b%10)*time.Minute))
		}
	case "change leader":
		if w.watcher.up {
			w.write() // the one before has time to
			w.stopWatcher(w.between(0, 15*time.Second))
		}
	case "end after next patch":
		w.watcher.lose = true
	case "slow driver":
		w.slow = w.now + w.between(time.Minute, 20*time.Minute)
	case "delete Secret":
		w.deleteSecret(s.a)
	case "delete statuses":
		if w.driver == Republishing { // the polling driver would never look at those pods again
			w.deleteStatuses(s.a)
		}
	default:
		panic("no such step: " + s.kind)
	}
}

// target is the workload that a step is about, if it is about one.
func (w *world) target(s step) *simWorkload { return w.workloads[s.a%len(w.workloads)] }

func (wl *simWorkload) pick(n int) *simPod {
	live := wl.live()
	if len(live) == 0 {
		return nil
	}
	return live[n%len(live)]
}

// operate has an operator undo the workload's rollouts for a while, and bounds
// how many it has to: each watcher tries twice at once, then after 1, 2, 4, 8 minutes.
func (w *world) operate(wl *simWorkload) {
	if w.now < wl.undoing {
		return
	}
	w.logf("an operator undoes the rollouts of %s", wl.name)
	wl.undoing = w.now + w.between(time.Minute, 30*time.Minute)
	undone, watchers := wl.undone, w.happened["watcher stopped"]
	w.after(wl.undoing-w.now, func() {
		watchers = 1 + w.happened["watcher stopped"] - watchers
		if n := wl.undone - undone; n > 6*watchers {
			w.fail("an operator had to undo %d rollouts of %s, of %d watchers", n, wl.name, watchers)
		}
	})
}

// deleteSecret is by hand: the driver brings it back, at the latest with its next look.
func (w *world) deleteSecret(n int) {
	names := slices.Sorted(maps.Keys(w.secrets))
	if len(names) == 0 {
		return
	}
	name := names[n%len(names)]
	w.logf("Secret %s deleted", name)
	w.secrets[name].values = nil
	w.touchSecret(name)
	for _, wl := range w.workloads {
		if has(wl.consumes, name) {
			w.disturbed(wl)
		}
	}
}

// deleteStatuses is what reinstalling the driver's CRDs does.
func (w *world) deleteStatuses(n int) {
	c := w.classes[n%len(w.classes)]
	w.logf("statuses of %s deleted", c.name)
	for _, wl := range w.workloads {
		for _, p := range wl.pods {
			delete(p.status, c.name)
		}
	}
	w.touchClass(c.name)
}

func (w *world) contentChanged(id, value string) {
	w.changed, w.changedValue = id, w.vault[id].value != value
	for _, wl := range w.workloads {
		if w.depends(wl, id, w.changedValue) {
			wl.changes++
		}
	}
}

func (w *world) disturbed(wl *simWorkload) { wl.disturbances++ }

// depends reports whether the object reaches the workload, through files or, if
// the value changes, through a Secret.
func (w *world) depends(wl *simWorkload, id string, value bool) bool {
	for _, c := range w.classes {
		if slices.Contains(wl.mounts, c.name) && slices.Contains(c.ids, id) {
			return true
		}
		if value && c.secret != "" && has(wl.consumes, c.secret) && slices.Contains(c.synced, id) {
			return true
		}
	}
	return false
}

// newWorld builds a cluster by chance.
func newWorld(seed uint64, tracing bool) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		rng: rng, tracing: tracing, driver: Driver(rng.IntN(2)), opts: defaults(), interval: 2 * time.Minute,
		happened: map[string]int{}, vault: map[string]object{}, secrets: map[string]*simSecret{}, orphans: map[string]*simStatus{}, ledger: Ledger{},
	}
	w.opts.MaxParallel = []int{0, 1, 10}[rng.IntN(3)]
	w.opts.MinInterval = []time.Duration{0, 0, 5 * time.Minute}[rng.IntN(3)]
	w.hidden = rng.IntN(8) == 0
	for range 3 {
		w.skews = append(w.skews, w.between(-59*time.Second, 59*time.Second))
		if skew := w.skews[len(w.skews)-1]; skew.Abs() > 55*time.Second {
			w.happens("clock a minute off")
		}
	}
	for i := range 1 + rng.IntN(2) {
		w.classes = append(w.classes, w.newClass(i))
	}
	for i := range 1 + rng.IntN(3) {
		wl := w.newWorkload(i)
		wl.inits = rng.IntN(6) == 0
		w.workloads = append(w.workloads, wl)
	}
	w.startWatcher()
	for _, wl := range w.workloads {
		w.control(wl)
	}
	return w
}

func (w *world) newClass(i int) *simClass {
	c := &simClass{name: fmt.Sprintf("class%d", i)}
	for j := range 1 + w.rng.IntN(3) {
		id := fmt.Sprintf("secret/s%d%d", i, j)
		c.ids = append(c.ids, id)
		w.vault[id] = object{version: fmt.Sprintf("s%d%d-v0", i, j), value: "value0"}
	}
	if w.rng.IntN(3) > 0 {
		c.secret = fmt.Sprintf("synced%d", i)
		c.synced = c.ids[:1+w.rng.IntN(len(c.ids))]
		w.secrets[c.secret] = &simSecret{}
	}
	return c
}

func (w *world) newWorkload(i int) *simWorkload {
	wl := &simWorkload{
		uid: types.UID(fmt.Sprintf("workload-%d", i)), name: fmt.Sprintf("w%d", i), kind: "Deployment",
		consumes: map[string]Secret{}, replicas: int32(1 + w.rng.IntN(3)), generation: 1, observed: 1,
	}
	if w.rng.IntN(3) == 0 {
		wl.kind = "StatefulSet"
		wl.onDelete = w.rng.IntN(10) == 0
		wl.partition = max(0, int32(w.rng.IntN(12))-8)
	}
	wl.never = w.rng.IntN(15) == 0
	first := w.classes[w.rng.IntN(len(w.classes))]
	if i > 0 && !w.hidden && w.rng.IntN(3) == 0 {
		if fed := w.class(w.workloads[0].mounts[0]); fed.secret != "" {
			wl.consumes[fed.secret] = Secret{Env: true, Trigger: true} // of the Secret alone
			return wl
		}
	}
	wl.mounts = []string{first.name}
	if w.rng.IntN(12) == 0 {
		wl.mounts = append(wl.mounts, first.name)
	}
	if w.rng.IntN(3) == 0 {
		for _, c := range w.classes {
			if c != first {
				wl.mounts = append(wl.mounts, c.name)
			}
		}
	}
	for _, c := range w.classes {
		if slices.Contains(wl.mounts, c.name) && c.secret != "" && w.rng.IntN(4) > 0 {
			wl.consumes[c.secret] = Secret{Env: true, Trigger: true}
		}
	}
	return wl
}

// ---- what is checked

// checkRoll is invariant 4: nothing rolls but for content that a pod lacks, or
// that it cannot be shown to have.
func (w *world) checkRoll(wl *simWorkload, s State, d Decision) {
	switch {
	case s.Workload.Never, s.Workload.Paused, s.Workload.OnDelete, s.Workload.Replicas == 0, d.Stuck && wl.replacing():
		w.fail("%s rolled although %+v", wl.name, s.Workload)
	case d.Stamp == wl.template.stamp, slices.ContainsFunc(wl.past, func(t template) bool { return t.stamp == d.Stamp }):
		w.fail("%s: stamp %s was there before", wl.name, d.Stamp)
	case w.opts.MinInterval > 0 && len(wl.rolls) > 0 && w.now-wl.rolls[len(wl.rolls)-1] < w.opts.MinInterval-time.Second:
		w.fail("%s rolled again after %s", wl.name, w.now-wl.rolls[len(wl.rolls)-1])
	case w.opts.MaxParallel > 0 && s.Underway >= w.opts.MaxParallel:
		w.fail("%s rolled beside %d others", wl.name, s.Underway)
	}
	for _, p := range wl.live() {
		if p.template == wl.template && p.running && (w.lacks(p) || w.doubtful(p)) {
			return
		}
	}
	w.fail("%s rolled for nothing: %s: %s", wl.name, d.Reason, d.Message)
}

// replacing reports whether the workload has pods that its rollout is to replace.
func (wl *simWorkload) replacing() bool {
	return slices.ContainsFunc(wl.live(), func(p *simPod) bool { return p.template != wl.template && p.ordinal >= wl.partition })
}

// checkPlace is that a rollout which has ended takes no place again, whatever
// becomes of its pods.
func (w *world) checkPlace(wl *simWorkload, s State, d Decision) {
	if s.Workload.Complete && len(wl.live()) > 0 {
		wl.ended = s.Workload.Stamp
	}
	if d.Underway && wl.ended == s.Workload.Stamp {
		w.fail("%s holds a place, though its rollout has ended", wl.name)
	}
}

// lacks reports whether a pod's containers started with other content than the
// newest, or than what has been delivered to them.
func (w *world) lacks(p *simPod) bool { return w.lacksFiles(p) || w.lacksEnv(p) }

func (w *world) lacksFiles(p *simPod) bool {
	for class, started := range p.startFiles {
		if !maps.Equal(started, versionsIn(p.files[class])) || !maps.Equal(started, versionsIn(w.class(class).fetch(w.vault))) {
			return true
		}
	}
	return false
}

func (w *world) lacksEnv(p *simPod) bool {
	for name, started := range p.startEnv {
		if w.hidden {
			break // nothing is known, and nothing promised
		}
		if started != digestOf(w.secrets[name].values) && w.secrets[name].values != nil || started != w.wanted(name) {
			return true
		}
	}
	return false
}

// wanted is the digest that the vault's content gives a Secret.
func (w *world) wanted(secret string) string {
	for _, c := range w.classes {
		if c.secret == secret {
			return digestOf(c.secretValues(c.fetch(w.vault)))
		}
	}
	return ""
}

// doubtful reports whether clocks or a restart of the watcher leave open what a
// pod's containers started with.
func (w *world) doubtful(p *simPod) bool {
	if n := len(p.w.rolls); p.w.capped > 0 && w.watcher.since > p.w.rolls[n-1] {
		return true // the roll could not wait, and what was seen of it is forgotten
	}
	near := func(t time.Duration) bool { return t > p.started-125*time.Second && t < p.started+125*time.Second }
	for class, st := range p.status {
		if st.created > p.started {
			return true // re-created: judged by what others ran on
		}
		unseen := w.watcher.since > p.started && !w.recorded(p, class)
		for i, t := range st.changes {
			if i > 0 && (near(t) || t > p.started && unseen) {
				return true
			}
		}
	}
	for name := range p.w.consumes {
		s := w.secrets[name]
		if slices.ContainsFunc(s.switched, near) {
			return true
		}
		// The rewrites of driver v1.6.0 hide when the data changed.
		unseen := w.driver == Republishing && w.watcher.since > p.started-125*time.Second
		if unseen && len(s.switched) > 1 {
			return true
		}
		// A change before this watcher hides others before it, unless a record speaks of the pod.
		again := slices.ContainsFunc(s.switched, func(t time.Duration) bool { return t > p.started && t < w.watcher.since })
		if again && !w.recordedSecret(p, name) {
			return true
		}
	}
	return false
}

// recorded reports whether the watcher found a record which speaks of a pod for
// certain: then no change there and back that nobody saw may roll it.
func (w *world) recorded(p *simPod, class string) bool {
	b := w.watcher.read[p.w.uid]
	c := b.Classes[class]
	return b.Stamp == p.template.stamp && p.ordinal >= c.From && c.Since.After(t0.Add(p.started+121*time.Second))
}

// recordedSecret is the same of a Secret.
func (w *world) recordedSecret(p *simPod, name string) bool {
	b := w.watcher.read[p.w.uid]
	s := b.Secrets[name]
	return b.Stamp == p.template.stamp && p.ordinal >= s.From && !s.Unsettled && s.Since.After(t0.Add(p.started+121*time.Second))
}

// checkUpToDate is invariant 2 at every step: nothing that the driver brought to
// a pod after its start goes unseen.
func (w *world) checkUpToDate(wl *simWorkload, d Decision) {
	if d.Reason != UpToDate {
		return
	}
	for _, p := range wl.live() {
		if p.template != wl.template || p.template != wl.observedT || !p.running || p.riddle || wl.mountsTwice() || w.trackless(p) {
			continue
		}
		for class, started := range p.startFiles {
			if !maps.Equal(started, versionsIn(p.files[class])) {
				w.fail("%s is said to be up to date, but started on %v and holds %v", p.name, started, versionsIn(p.files[class]))
			}
		}
	}
}

// checkConverged is invariant 2: when all is quiet, every pod runs on the newest
// content, or people are told why not.
func (w *world) checkConverged() {
	for _, wl := range w.workloads {
		if !wl.complete(w.now) && !wl.onDelete {
			w.fail("%s is not complete", wl.name)
		}
		for _, p := range wl.live() {
			if w.lacks(p) && !p.riddle && !w.trackless(p) && !wl.excused(p.ordinal) {
				w.fail("%s runs on %v and %v, the vault holds %v", p.name, p.startFiles, p.startEnv, w.vault)
			}
			if w.lacksFiles(p) && !p.told && !p.odd() {
				w.fail("%s runs on %v, and nobody was told", p.name, p.startFiles)
			}
		}
	}
}

// trackless reports whether a pod may have started on content that came and
// went while nobody watched, and left no trace: a Secret keeps none, nor does a
// status that was written anew, inherited, or written by two volumes.
func (w *world) trackless(p *simPod) bool {
	if !p.unseen || !w.returned() {
		return false
	}
	return p.odd() || len(p.w.consumes) > 0
}

// odd reports whether a status was written anew, inherited, or written by two
// volumes, so that it does not tell by itself what the pod started with.
func (p *simPod) odd() bool {
	return p.w.mountsTwice() || slices.ContainsFunc(slices.Collect(maps.Values(p.status)), func(st *simStatus) bool {
		return st.created > p.started || st.created < p.created
	})
}

func (wl *simWorkload) mountsTwice() bool {
	return len(wl.mounts) > 1 && wl.mounts[0] == wl.mounts[1]
}

// excused reports whether a rollout would not, or may not, replace a pod.
func (wl *simWorkload) excused(ordinal int32) bool {
	return wl.never || wl.onDelete || ordinal < wl.partition
}

func (w *world) rolls() []int {
	var all []int
	for _, wl := range w.workloads {
		all = append(all, len(wl.rolls))
	}
	return all
}

const (
	settleIn = 10 * time.Minute // all is deployed by then
	quiet    = 80 * time.Minute // longer than anything takes
	silent   = 30 * time.Minute // at the end of which nothing rolls
)

// after is called when a step has been done, with the rolls from before it.
type after func(w *world, s step, before []int)

// play runs a sequence to its end and checks what must hold for any.
func play(seed uint64, steps []step, tracing bool, then after, meddle func(*State, *Options)) *world {
	w := newWorld(seed, tracing)
	w.meddle = meddle
	w.run(settleIn)
	if slices.Max(w.rolls()) > 0 {
		w.fail("rolled with nothing rotated")
	}
	for _, s := range steps {
		w.run(w.now + s.gap)
		before := w.rolls()
		w.logf("--- %s", s)
		w.do(s)
		if then != nil {
			then(w, s, before)
		}
	}
	for _, wl := range w.workloads {
		if wl.replicas == 0 {
			wl.replicas = 1
			w.change(wl)
		}
	}
	w.run(w.now + quiet)
	before := w.rolls()
	w.checkConverged()
	w.run(w.now + silent)
	if after := w.rolls(); !slices.Equal(before, after) {
		w.fail("rolled when all was quiet: %v, then %v", before, after)
	}
	w.checkConverged()
	return w
}

// shrink drops steps as long as the sequence still fails.
func shrink(steps []step, fails func([]step) bool) []step {
	for again := true; again; {
		again = false
		for i := range steps {
			fewer := slices.Delete(slices.Clone(steps), i, i+1)
			if i < len(fewer) {
				fewer[i].gap += steps[i].gap
			}
			if fails(fewer) {
				steps, again = fewer, true
				break
			}
		}
	}
	return steps
}

// simulation is one kind of sequences, and what must hold after each step of them.
type simulation struct {
	sequence func(*rand.Rand) []step
	then     after
}

func (s simulation) steps(seed uint64) []step { return s.sequence(rand.New(rand.NewPCG(seed, 2))) }

// run plays a share of the sequences, and fails if one fails or if anything
// that it should be about never happened.
func (s simulation) run(t *testing.T, share float64, events ...string) {
	t.Helper()
	t.Parallel()
	n := max(1, uint64(float64(*sequences)*share))
	happened := map[string]int{}
	for seed := *firstSeed; seed < *firstSeed+n; seed++ {
		w := play(seed, s.steps(seed), n == 1, s.then, nil)
		if n == 1 {
			t.Log(strings.Join(w.trace, "\n"))
		}
		if w.failure != "" {
			w, _ = s.shrunk(seed, nil)
			t.Fatalf("seed %d: %s\n%s", seed, w.failure, strings.Join(w.trace, "\n"))
		}
		for what, times := range w.happened {
			happened[what] += times
		}
	}
	for _, what := range events {
		if n >= 300 && happened[what] == 0 {
			t.Errorf("never happened: %s", what)
		}
	}
	t.Logf("%d sequences from seed %d, of %v", n, *firstSeed, happened)
}

// shrunk plays the shortest sequence that still fails, and traces it.
func (s simulation) shrunk(seed uint64, meddle func(*State, *Options)) (*world, []step) {
	steps := shrink(s.steps(seed), func(fewer []step) bool { return play(seed, fewer, false, s.then, meddle).failure != "" })
	return play(seed, steps, true, s.then, meddle), steps
}

func gap(rng *rand.Rand) time.Duration {
	longest := []time.Duration{3 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute}[rng.IntN(4)]
	return time.Duration(rng.Int64N(int64(longest)))
}

func randomSteps(rng *rand.Rand, n int, gap func() time.Duration, kinds ...string) []step {
	var steps []step
	for range n {
		steps = append(steps, step{gap(), kinds[rng.IntN(len(kinds))], rng.IntN(1000), rng.IntN(1000)})
	}
	return steps
}

var everything = []string{
	"rotate", "rotate", "rotate", "rotate to the same value", "rotate while patches are refused", "roll back", "there and back",
	"there and back unseen", "crash", "crash", "crash loop", "evict", "unready", "lag", "scale", "image", "image that crashes", "replace", "undo", "pause",
	"move partition", "refuse patches", "restart watcher", "restart watcher", "change leader", "end after next patch", "delete Secret", "delete statuses",
}

// oneThingAtATime lets each event have its full effect before the next one:
// then every change of content rolls each workload that depends on it exactly
// once, and nothing else rolls any. What changes and changes back rolls none, or
// two if it was answered between. One that cannot be patched delays no other.
var oneThingAtATime = simulation{
	sequence: func(rng *rand.Rand) []step {
		gap := func() time.Duration { return time.Duration(rng.Int64N(int64(10 * time.Minute))) }
		return randomSteps(rng, 3+rng.IntN(6), gap, everything...)
	},
	then: func(w *world, s step, before []int) {
		changed, since := w.changed, w.now
		var least, most []int
		for _, wl := range w.workloads {
			a, b := w.expected(wl, s)
			least, most = append(least, a), append(most, b)
		}
		w.run(w.now + 40*time.Minute)
		for i, wl := range w.workloads {
			got := len(wl.rolls) - before[i]
			if got < least[i] || got > most[i]+wl.mayDoubt(s, since) {
				w.fail("%s rolled %d times on %q, want %d to %d", wl.name, got, s.kind, least[i], most[i])
			}
			// A poll of every pod, and at most another one of the Secret's; or a patch that is tried again.
			prompt, within := changed != "" && least[i] == 1 && got == 1 && w.opts.MaxParallel != 1 && w.watcher.since < since, 3*time.Minute
			if w.setBack(wl, since) {
				within += rewrittenAfter
			}
			if took := wl.rolls; prompt && took[len(took)-1]-max(since, wl.refuse) > within {
				w.fail("%s took %s to roll", wl.name, took[len(took)-1]-since)
			}
		}
	},
}

// setBack reports whether a Secret that the workload consumes was.
func (w *world) setBack(wl *simWorkload, since time.Duration) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(wl.consumes)), func(name string) bool { return w.secrets[name].setBack > since })
}

// expected bounds the rollouts of a workload that a step brings about, all being
// quiet before it.
func (w *world) expected(wl *simWorkload, s step) (least, most int) {
	switch {
	case s.kind == "move partition" && wl == w.target(s) && !wl.excused(wl.replicas-1):
		return w.uncovered(wl)
	case w.changed == "" || wl.excused(wl.replicas-1) || !w.depends(wl, w.changed, w.changedValue):
		return 0, 0
	case s.returns():
		return 0, 2
	}
	return 1, 1
}

func (s step) returns() bool { return s.kind == "there and back" || s.kind == "there and back unseen" }

// uncovered bounds the rollouts for pods that are below the partition no longer. One
// of an older revision its controller replaces by itself.
func (w *world) uncovered(wl *simWorkload) (least, most int) {
	for _, p := range wl.live() {
		if p.template != wl.template || !p.running || p.ordinal < wl.partition {
			continue
		}
		if w.lacks(p) && !p.riddle && !w.trackless(p) {
			return 1, 1
		}
		if w.lacks(p) || w.doubtful(p) {
			most = 1
		}
	}
	return 0, most
}

// mayDoubt is 1 if a workload rolled for a doubt alone, and one is left: what
// cannot be told is better rolled for than left on old content.
//
//   - Content that comes back while its rollout goes on is written to the Secret,
//     and by lagging pods overwritten, within the skew of a start, which may have
//     read either.
//   - A status that a pod inherits within the skew of its start is judged by the
//     record. That of the content before may stand there still, of what comes back,
//     and where a partition kept every pod on a revision that is no longer the newest.
func (wl *simWorkload) mayDoubt(s step, since time.Duration) int {
	leaves := s.returns() && len(wl.consumes) > 0 || s.kind == "move partition"
	if leaves && len(wl.doubts) > 0 && wl.doubts[len(wl.doubts)-1] >= since {
		return 1
	}
	return 0
}

// rotationsAndFaults rotates at any time while the watcher and its patches
// fail, and leaves the pods alone: no workload rolls more often than its content changed.
var rotationsAndFaults = simulation{
	sequence: func(rng *rand.Rand) []step {
		return randomSteps(rng, 3+rng.IntN(8), func() time.Duration { return gap(rng) },
			"rotate", "rotate", "rotate", "rotate to the same value", "rotate while patches are refused", "roll back", "there and back",
			"there and back unseen", "lag", "refuse patches", "restart watcher", "restart watcher", "change leader",
			"end after next patch", "delete Secret")
	},
	then: func(w *world, s step, before []int) {
		for _, wl := range w.workloads {
			if len(wl.rolls) > wl.changes+wl.capped {
				w.fail("%s rolled %d times for %d changes, %d of them before the Secret had settled", wl.name, len(wl.rolls), wl.changes, wl.capped)
			}
		}
	},
}

// anythingGoes lets everything happen at any time. Clocks and lost memory may
// then cost a rollout that was not needed, but never an endless row of them.
var anythingGoes = simulation{
	sequence: func(rng *rand.Rand) []step {
		return randomSteps(rng, 3+rng.IntN(12), func() time.Duration { return gap(rng) }, append([]string{"rotate", "scale to zero", "slow driver", "operator"}, everything...)...)
	},
	then: func(w *world, s step, before []int) {
		for _, wl := range w.workloads {
			if limit := 2*wl.changes + wl.disturbances + wl.capped + wl.undone; len(wl.rolls) > limit {
				w.fail("%s rolled %d times for %d changes, %d disturbances and %d that were undone", wl.name, len(wl.rolls), wl.changes, wl.disturbances, wl.undone)
			}
		}
	},
}

// faults are events that no step brings about for certain.
var faults = []string{
	"rolled", "partial poll", "remount failed", "Secret set back", "patch refused", "watcher stopped",
	"watcher ended between patch and record", "clock a minute off",
}

func TestOneThingAtATime(t *testing.T) {
	oneThingAtATime.run(t, 0.3, slices.Concat(faults, everything)...)
}

func TestRotationsAndFaults(t *testing.T) {
	rotationsAndFaults.run(t, 0.3, append(faults, "rolled at the cap")...)
}

func TestAnythingGoes(t *testing.T) {
	anythingGoes.run(t, 0.4, append(slices.Concat(faults, everything), "scale to zero", "Secret late", "rollout undone", "scaled up", "scaled down", "pod crashed", "pod crashed again", "init container failed", "status inherited", "status re-created")...)
}
