package rollout

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// world is a small cluster: a vault, the CSI driver of either generation, the
// workload controllers, nodes with clocks of their own, and the watcher's shell
// around Decide. It knows what every container really started with.
type world struct {
	rng   *rand.Rand
	now   time.Duration // true time since t0
	queue agenda
	order int

	driver   Driver
	opts     Options
	interval time.Duration // of the driver's rotation
	hidden   bool          // the watcher may not read Secrets
	skews    []time.Duration

	vault     map[string]object
	classes   []*simClass
	secrets   map[string]*simSecret
	workloads []*simWorkload
	orphans   map[string]*simStatus // statuses that wait for the garbage collector, by name
	slow      time.Duration         // the driver is late with Secrets until then

	uids         int
	watcher      *simWatcher
	ledger       Ledger
	changed      string // the object that the last step changed
	changedValue bool   // and not only its version
	happened     map[string]int
	meddle       func(*State, *Options) // breaks what Decide is given; nil: nothing
	tracing      bool
	trace        []string
	failure      string
}

// object is what the vault holds of one object id.
type object struct {
	number  int // of the newest version
	version string
	value   string
	past    []object
}

// returned reports whether an object ever went back to what it was.
func (w *world) returned() bool {
	for _, o := range w.vault {
		if o.number > len(o.past) {
			return true
		}
	}
	return false
}

type simClass struct {
	name   string
	ids    []string
	secret string   // "" for none
	synced []string // ids whose content the Secret holds
}

type simSecret struct {
	values   map[string]string // nil: does not exist
	changed  time.Duration     // any write that left a trace
	switched []time.Duration   // when the data changed
	setBack  time.Duration     // when it last became something else than the vault holds
}

type simStatus struct {
	generation       int64
	created, changed time.Duration
	owner            types.UID
	versions         map[string]string
	changes          []time.Duration
}

type simPod struct {
	w          *simWorkload
	name       string
	uid        types.UID
	node       int
	ordinal    int32
	created    time.Duration
	finished   bool
	gone       bool
	template   template
	files      map[string]map[string]object // class, id
	status     map[string]*simStatus
	running    bool
	reads      bool // its init containers run
	started    time.Duration
	startFiles map[string]map[string]string // class, id: version, at the start
	startEnv   map[string]string            // Secret: digest, at the start
	riddle     bool                         // the limits of what can be told, see where it is set
	unseen     bool                         // no watcher saw its start
	failing    time.Duration                // its remounts fail until then
	unready    time.Duration                // its probe fails until then
	crashing   time.Duration                // its containers crash soon after each start until then
	backoff    time.Duration                // after the last crash
	told       bool                         // people were told that it is left on old content
}

// template is what a revision is made of.
type template struct {
	image int
	stamp string
}

type simWorkload struct {
	uid                   types.UID
	name                  string
	kind                  string
	mounts                []string // classes, twice for a class in two volumes
	consumes              map[string]Secret
	inits                 bool // init containers alone take content
	replicas              int32
	template              template
	past                  []template
	generation            int64
	observed              int64
	observedT             template
	rolled                time.Duration
	paused                bool
	never                 bool
	onDelete              bool
	partition             int32
	settled               template // of a StatefulSet: what pods below its partition are made from
	pods                  []*simPod
	refuse                time.Duration // patches fail until then
	undoing               time.Duration // an operator undoes them until then
	undone                int           // rollouts that it has undone
	crashing              time.Duration // pods that are made until then crash
	queued                bool
	capped                int
	alarm                 int
	ordinal               int32
	rolls                 []time.Duration
	doubts                []time.Duration // rolls that no pod needed for what they are said to be for
	changes, disturbances int
	last                  Decision
	ended                 string // the stamp that this watcher has seen complete
}

type simWatcher struct {
	up        bool
	since     time.Duration
	memory    map[types.UID]Memory
	baselines map[types.UID]Baseline
	read      Ledger // the baselines of the watcher before
	patched   map[types.UID]string
	open      map[types.UID]bool // records of rolls, to be confirmed before they are written
	seen      map[string]string  // Secret: digest
	changed   map[string]time.Time
	lose      bool // end between the next patch and its record
}

type appointment struct {
	at    time.Duration
	order int
	do    func()
}

type agenda []appointment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, appointment{w.now + d, w.order, do})
}

// run lets the world go on until the given time.
func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.failure == "" {
		next := heap.Pop(&w.queue).(appointment)
		w.now = next.at
		next.do()
	}
	w.now = max(w.now, until)
}

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)+1))
}

func (w *world) logf(format string, args ...any) {
	if !w.tracing {
		return
	}
	w.trace = append(w.trace, fmt.Sprintf("%10.1fs  ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("at %.1fs: ", w.now.Seconds()) + fmt.Sprintf(format, args...)
		w.logf("VIOLATION %s", w.failure)
	}
}

// happens counts an event, so that a test can tell which ones never come.
func (w *world) happens(what string) { w.happened[what]++ }

// serverTime is what the API server writes for a moment: whole seconds.
func serverTime(d time.Duration) time.Time { return t0.Add(d).Truncate(time.Second) }

// ---- the vault

func (w *world) rotate(id string, sameValue bool) {
	o := w.vault[id]
	past := append(slices.Clone(o.past), object{version: o.version, value: o.value})
	o.number++
	o.version = fmt.Sprintf("%s-v%d", strings.TrimPrefix(id, "secret/"), o.number)
	if !sameValue {
		o.value = fmt.Sprintf("value%d", o.number)
	}
	o.past = past
	w.vault[id] = o
	w.logf("vault: %s is %s (%s)", id, o.version, o.value)
}

// rollback disables the newest version: the one before it is the newest again.
func (w *world) rollback(id string) bool {
	o := w.vault[id]
	if len(o.past) == 0 {
		return false
	}
	last := o.past[len(o.past)-1]
	w.vault[id] = object{number: o.number, version: last.version, value: last.value, past: o.past[:len(o.past)-1]}
	w.logf("vault: %s is %s again (%s)", id, last.version, last.value)
	return true
}

// ---- the driver

func (w *world) class(name string) *simClass {
	for _, c := range w.classes {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (c *simClass) fetch(vault map[string]object) map[string]object {
	files := map[string]object{}
	for _, id := range c.ids {
		files[id] = object{version: vault[id].version, value: vault[id].value}
	}
	return files
}

func versionsIn(files map[string]object) map[string]string {
	all := map[string]string{}
	for id, o := range files {
		all[id] = o.version
	}
	return all
}

func (c *simClass) secretValues(files map[string]object) map[string]string {
	all := map[string]string{}
	for _, id := range c.synced {
		all[id] = files[id].value
	}
	return all
}

// mount is the first NodePublishVolume of a pod.
func (w *world) mount(p *simPod) {
	if p.finished {
		return
	}
	for _, name := range p.w.mounts {
		c := w.class(name)
		p.files[name] = c.fetch(w.vault)
		w.writeStatus(p, name, true)
		w.afterStatus(p, c, true)
	}
	if len(p.w.mounts) > 0 {
		w.after(w.between(0, w.interval), func() { w.poll(p) })
		if w.driver == Republishing {
			w.scheduleRequeue(p)
		}
	}
	w.after(w.between(300*time.Millisecond, 20*time.Second), func() { w.start(p) })
}

// writeStatus is the driver's create or update of the status; target tells that
// the target path is another one than before, so that it changes even where the versions do not.
func (w *world) writeStatus(p *simPod, class string, target bool) {
	versions := versionsIn(p.files[class])
	name := p.name + "-" + class
	st := p.status[class]
	if st == nil {
		if st = w.orphans[name]; st != nil {
			w.happens("status inherited")
		}
		delete(w.orphans, name)
		p.status[class] = st
	}
	switch {
	case st == nil:
		if p.running {
			w.happens("status re-created")
		}
		// Within the skew of the start nobody can tell a re-created status from the first one.
		p.riddle = p.riddle || (p.running || p.reads) && w.now-p.started < 121*time.Second
		p.status[class] = &simStatus{generation: 1, created: w.now, changed: w.now, owner: p.uid, versions: versions, changes: []time.Duration{w.now}}
	case target || st.owner != p.uid || !maps.Equal(st.versions, versions):
		st.generation++
		st.changed, st.owner, st.versions = w.now, p.uid, versions
		st.changes = append(st.changes, w.now)
	default:
		return
	}
	w.touchClass(class)
}

// afterStatus is the way from a status to the synced Secret.
func (w *world) afterStatus(p *simPod, c *simClass, first bool) {
	if c.secret == "" {
		return
	}
	delay := w.between(2*time.Millisecond, 100*time.Millisecond)
	if w.driver == Polling {
		delay = w.between(220*time.Millisecond, 400*time.Millisecond)
	}
	if w.rng.IntN(10) == 0 {
		delay = w.between(time.Second, 3*time.Second)
	}
	// The polling driver compares at once, and is late to write.
	if w.now < w.slow && (w.driver == Republishing || !maps.Equal(w.secrets[c.secret].values, c.secretValues(p.files[c.name]))) {
		w.happens("Secret late")
		delay = w.between(sameValueAfter, 2*time.Minute)
	}
	w.after(delay, func() {
		if !p.finished && (w.driver == Republishing || !first || w.secrets[c.secret].values == nil) {
			w.writeSecret(c, p)
		}
	})
}

// writeSecret writes the whole Secret from one pod's files.
func (w *world) writeSecret(c *simClass, p *simPod) {
	s, values := w.secrets[c.secret], c.secretValues(p.files[c.name])
	if w.driver == Republishing {
		s.changed = w.now // ownerReferences are wiped and set again
	}
	if maps.Equal(s.values, values) && s.values != nil {
		return
	}
	w.logf("Secret %s is %v, by %s", c.secret, values, p.name)
	if !maps.Equal(values, c.secretValues(c.fetch(w.vault))) {
		w.happens("Secret set back")
		s.setBack = w.now
	}
	s.values, s.changed = values, w.now
	s.switched = append(s.switched, w.now)
	w.touchSecret(c.secret)
}

func (w *world) schedulePoll(p *simPod) {
	period := w.interval
	if w.driver == Republishing {
		period = w.between(time.Minute, 90*time.Second)
	}
	w.after(period, func() { w.poll(p) })
}

// scheduleRequeue is v1.6.0's rewrite of the Secret every five minutes for every pod.
func (w *world) scheduleRequeue(p *simPod) {
	w.after(5*time.Minute, func() {
		if p.finished {
			return
		}
		for _, name := range p.w.mounts {
			if c := w.class(name); c.secret != "" && p.status[name] != nil {
				w.writeSecret(c, p)
			}
		}
		w.scheduleRequeue(p)
	})
}

// poll is one look of the driver for new content of a pod.
func (w *world) poll(p *simPod) {
	if p.finished {
		return
	}
	defer w.schedulePoll(p)
	if w.now < p.failing {
		w.happens("remount failed")
		return
	}
	for i, name := range p.w.mounts {
		if w.driver == Polling && p.status[name] == nil {
			continue // its loop goes by the statuses
		}
		c := w.class(name)
		p.files[name] = c.fetch(w.vault)
		before := p.status[name]
		twice := w.driver == Republishing && slices.Contains(p.w.mounts[:i], name)
		changed := before == nil || !maps.Equal(before.versions, versionsIn(p.files[name])) || twice
		p.told = p.told && !changed
		w.writeStatus(p, name, twice)
		if changed && !twice && w.behind(name) {
			w.happens("partial poll")
		}
		if w.driver == Polling || changed {
			w.afterStatus(p, c, false)
		}
	}
}

// behind reports whether a pod holds other content of a class than the newest.
func (w *world) behind(class string) bool {
	for _, wl := range w.workloads {
		for _, p := range wl.live() {
			if files := p.files[class]; files != nil && !maps.Equal(versionsIn(files), versionsIn(w.class(class).fetch(w.vault))) {
				return true
			}
		}
	}
	return false
}

// ---- pods and their controllers

func (w *world) createPod(wl *simWorkload, name string, ordinal int32, of template) {
	w.uids++
	p := &simPod{
		w: wl, name: name, uid: types.UID(fmt.Sprintf("pod-%d", w.uids)), node: w.rng.IntN(len(w.skews)), ordinal: ordinal,
		created: w.now, template: of, crashing: wl.crashing, files: map[string]map[string]object{}, status: map[string]*simStatus{},
	}
	wl.pods = append(wl.pods, p)
	w.touch(wl)
	w.after(w.between(500*time.Millisecond, 4*time.Second), func() { w.mount(p) })
}

// start starts the pod's containers, for the first time or again.
func (w *world) start(p *simPod) {
	if p.finished {
		return
	}
	for name, s := range p.w.consumes {
		if s.Env && w.secrets[name].values == nil {
			w.after(10*time.Second, func() { w.start(p) })
			return
		}
	}
	p.started = w.now
	p.startFiles, p.startEnv = map[string]map[string]string{}, map[string]string{}
	for class, files := range p.files {
		p.startFiles[class] = versionsIn(files)
	}
	for name := range p.w.consumes {
		p.startEnv[name] = digestOf(w.secrets[name].values)
	}
	w.logf("%s %s started with %v, env %v (stamp %q)", p.name, p.uid, p.startFiles, p.startEnv, p.template.stamp)
	if p.reads = p.w.inits; p.reads {
		w.after(w.between(300*time.Millisecond, time.Minute), func() { w.endInit(p) })
		return
	}
	w.runs(p)
}

// endInit is the end of the init containers: what they read is seen only then.
func (w *world) endInit(p *simPod) {
	p.reads = false
	if w.now < p.crashing {
		w.happens("init container failed")
		w.after(w.backoff(p), func() { w.start(p) })
		return
	}
	w.runs(p)
}

// runs is seen of a pod whose containers run.
func (w *world) runs(p *simPod) {
	if p.finished {
		return
	}
	p.running = true
	p.unseen = !w.watcher.up || w.watcher.since > p.started
	w.touch(p.w)
	w.after(time.Second, func() { w.touch(p.w); w.control(p.w) })
	if w.now < p.crashing {
		w.after(w.between(200*time.Millisecond, 5*time.Second), func() { w.crash(p) })
	}
}

// crash starts the pod's containers again. What its init containers read stays as it is.
func (w *world) crash(p *simPod) {
	if p.finished || !p.running {
		return
	}
	w.logf("%s crashes", p.name)
	w.happens("pod crashed")
	again, backoff := w.start, w.backoff(p)
	if p.w.inits {
		again, p.unready = w.runs, max(p.unready, w.now+backoff)
	} else {
		p.running = false
	}
	w.touch(p.w)
	w.after(backoff, func() { again(p) })
}

// backoff is how long kubelet waits before it starts a container again.
func (w *world) backoff(p *simPod) time.Duration {
	if w.now >= p.crashing {
		p.backoff = 0
		return w.between(time.Second, 40*time.Second)
	}
	if p.backoff > 0 {
		w.happens("pod crashed again")
	}
	p.backoff = min(max(10*time.Second, 2*p.backoff), 5*time.Minute)
	return p.backoff
}

func (w *world) deletePod(p *simPod) {
	if p.finished {
		return
	}
	w.logf("%s %s deleted", p.name, p.uid)
	p.finished = true
	w.touch(p.w)
	for _, c := range p.w.mounts {
		w.touchClass(c)
	}
	w.after(w.between(time.Second, 5*time.Second), func() {
		p.gone = true
		p.w.pods = slices.DeleteFunc(p.w.pods, func(o *simPod) bool { return o == p })
		late := w.rng.IntN(4) == 0
		for class, st := range p.status {
			if name := p.name + "-" + class; late && st != nil {
				w.orphans[name] = st
			}
		}
		w.after(8*time.Second, func() {
			for class, st := range p.status {
				if name := p.name + "-" + class; w.orphans[name] == st {
					delete(w.orphans, name)
				}
			}
		})
		w.touch(p.w)
		w.control(p.w)
	})
}

func (wl *simWorkload) live() []*simPod {
	var some []*simPod
	for _, p := range wl.pods {
		if !p.finished {
			some = append(some, p)
		}
	}
	return some
}

func (p *simPod) ready(now time.Duration) bool {
	return p.running && now-p.started >= time.Second && now >= p.unready
}

// change is an edit of a workload's spec.
func (w *world) change(wl *simWorkload) {
	wl.generation++
	w.touch(wl)
	w.after(w.between(50*time.Millisecond, 2*time.Second), func() {
		wl.observed, wl.observedT = wl.generation, wl.template
		w.touch(wl)
		w.control(wl)
	})
}

// control is one pass of the workload's controller.
func (w *world) control(wl *simWorkload) {
	if wl.kind == "StatefulSet" {
		w.controlOrdinals(wl)
		return
	}
	var old, current []*simPod
	available := 0
	for _, p := range wl.live() {
		if p.template == wl.observedT {
			current = append(current, p)
		} else {
			old = append(old, p)
		}
		if p.ready(w.now) {
			available++
		}
	}
	want := int(wl.replicas)
	if wl.paused && len(old) > 0 {
		return
	}
	switch total := len(old) + len(current); {
	case len(current) < want && total < want+1:
		wl.ordinal++
		w.createPod(wl, fmt.Sprintf("%s-%d", wl.name, wl.ordinal), 0, wl.observedT)
		w.after(10*time.Millisecond, func() { w.control(wl) })
	case len(old) > 0 && (available > want || len(old)+len(current) > want && !old[0].ready(w.now) || want == 0):
		w.deletePod(old[0])
	case len(current) > want:
		w.deletePod(current[len(current)-1])
		w.after(10*time.Millisecond, func() { w.control(wl) })
	}
}

func (w *world) controlOrdinals(wl *simWorkload) {
	byOrdinal := map[int32]*simPod{}
	for _, p := range wl.pods {
		byOrdinal[p.ordinal] = p
	}
	if !slices.ContainsFunc(wl.pods, func(p *simPod) bool { return p.finished || p.template != wl.observedT || !p.ready(w.now) }) {
		wl.settled = wl.observedT // as completeRollingUpdate in kubernetes pkg/controller/statefulset
	}
	for i := range wl.replicas {
		switch p := byOrdinal[i]; {
		case p == nil:
			of := wl.observedT
			if i < wl.partition && !wl.onDelete {
				of = wl.settled
			}
			w.createPod(wl, fmt.Sprintf("%s-%d", wl.name, i), i, of)
			return
		case !p.ready(w.now):
			return
		}
	}
	for i := len(wl.pods) - 1; i >= 0; i-- {
		if p := wl.pods[i]; p.ordinal >= wl.replicas && !p.finished {
			w.deletePod(p)
			return
		}
	}
	if wl.onDelete {
		return
	}
	for i := wl.replicas - 1; i >= wl.partition; i-- {
		if p := byOrdinal[i]; p != nil && p.finished {
			return
		} else if p != nil && p.template != wl.observedT {
			w.deletePod(p)
			return
		}
	}
}

func (wl *simWorkload) complete(now time.Duration) bool {
	n := int32(0)
	for _, p := range wl.live() {
		if p.template != wl.template && p.ordinal >= wl.partition || !p.ready(now) {
			return false
		}
		n++
	}
	return n == wl.replicas && wl.observed == wl.generation
}

// ---- what the watcher sees

func (w *world) touch(wl *simWorkload) {
	if wt := w.watcher; wt.up && !wl.queued {
		wl.queued = true
		w.after(w.between(20*time.Millisecond, 300*time.Millisecond), func() { w.sync(wl) })
	}
}

// wake comes back to a workload unless something else does before.
func (w *world) wake(wl *simWorkload, after time.Duration) {
	alarm := wl.alarm
	w.after(after, func() {
		if wl.alarm == alarm {
			w.touch(wl)
		}
	})
}

func (w *world) touchClass(name string) {
	for _, wl := range w.workloads {
		if slices.Contains(wl.mounts, name) || w.class(name).secret != "" && has(wl.consumes, w.class(name).secret) {
			w.touch(wl)
		}
	}
}

func (w *world) touchSecret(name string) {
	w.see(name)
	for _, wl := range w.workloads {
		if has(wl.consumes, name) {
			w.touch(wl)
		}
	}
}

func has[V any](m map[string]V, key string) bool { _, ok := m[key]; return ok }

// see keeps what the watcher's Secret informer has seen.
func (w *world) see(name string) {
	wt := w.watcher
	if s := w.secrets[name]; wt.up && s.values != nil {
		digest := digestOf(s.values)
		if was, known := wt.seen[name]; known && was != digest {
			wt.changed[name] = t0.Add(w.now)
		}
		wt.seen[name] = digest
	}
}

func (w *world) startWatcher() {
	w.logf("watcher starts")
	w.watcher = &simWatcher{
		up: true, since: w.now, memory: map[types.UID]Memory{}, baselines: maps.Clone(w.ledger), read: w.ledger, open: map[types.UID]bool{},
		patched: map[types.UID]string{},
		seen:    map[string]string{}, changed: map[string]time.Time{},
	}
	for _, name := range slices.Sorted(maps.Keys(w.secrets)) {
		w.see(name)
	}
	for _, wl := range w.workloads {
		wl.queued, wl.last, wl.ended = false, Decision{}, ""
		w.touch(wl)
	}
}

func (w *world) stopWatcher(down time.Duration) {
	w.logf("watcher ends, for %s", down)
	w.happens("watcher stopped")
	w.watcher.up = false
	w.after(down, func() {
		if !w.watcher.up {
			w.startWatcher()
		}
	})
}

// gather is the watcher's gather step.
func (w *world) gather(wl *simWorkload) State {
	wt := w.watcher
	s := State{
		Workload: Workload{
			UID: wl.uid, Kind: wl.kind, Namespace: "shop", Name: wl.name, Generation: wl.generation, ObservedGeneration: wl.observed,
			Revision: fmt.Sprint(wl.template),
			Paused:   wl.paused, Never: wl.never, OnDelete: wl.onDelete, Partition: wl.partition, Replicas: wl.replicas,
			Complete: wl.complete(w.now), Stamp: wl.template.stamp,
		},
		Classes: map[string]Class{}, Secrets: map[string]Secret{}, Driver: w.driver,
		Memory: wt.memory[wl.uid], Baseline: wt.baselines[wl.uid], Patched: wt.patched[wl.uid],
	}
	if wl.rolled > 0 {
		s.Workload.Rolled = serverTime(wl.rolled)
	}
	for _, p := range wl.pods {
		s.Pods = append(s.Pods, w.seePod(p))
	}
	for _, c := range w.classes {
		if slices.Contains(wl.mounts, c.name) || c.secret != "" && has(wl.consumes, c.secret) {
			s.Classes[c.name] = w.seeClass(c)
		}
	}
	for name, as := range wl.consumes {
		sec := w.secrets[name]
		as.Since, as.Changed = wt.changed[name], serverTime(sec.changed)
		if sec.values != nil {
			as.Digest = digestOf(sec.values)
		}
		if w.hidden {
			as = Secret{Hidden: true, Env: as.Env}
		}
		s.Secrets[name] = as
	}
	for _, o := range w.workloads {
		if o != wl && (o.last.Underway || o.last.Action == Roll) {
			s.Underway++
		}
	}
	return s
}

func (w *world) seePod(p *simPod) Pod {
	seen := Pod{
		Name: p.name, UID: p.uid, Created: serverTime(p.created), Current: p.template == p.w.observedT, Finished: p.finished,
		Ordinal: p.ordinal, Stamp: p.template.stamp,
	}
	if p.running {
		seen.Started = t0.Add(p.started + w.skews[p.node]).Truncate(time.Second)
	}
	for _, name := range p.w.mounts {
		m := Mount{Class: name}
		if st := p.status[name]; st != nil {
			m.Status = st.see()
		}
		seen.Mounts = append(seen.Mounts, m)
	}
	return seen
}

func (st *simStatus) see() *Status {
	return &Status{
		Generation: st.generation, Created: serverTime(st.created), Changed: serverTime(st.changed),
		Owner: st.owner, Target: st.owner, Versions: st.versions,
	}
}

func (w *world) seeClass(c *simClass) Class {
	seen := Class{Vault: "shop-kv"}
	if c.secret != "" {
		seen.Synced = map[string][]string{c.secret: c.synced}
	}
	for _, wl := range w.workloads {
		for _, p := range wl.pods {
			if st := p.status[c.name]; !p.finished && st != nil {
				seen.Feeds = append(seen.Feeds, *st.see())
			}
		}
	}
	return seen
}

// decide meddles with copies: what is checked remains what is.
func (w *world) decide(s State) Decision {
	o := w.opts
	if w.meddle != nil {
		s.Pods = slices.Clone(s.Pods)
		w.meddle(&s, &o)
	}
	return Decide(t0.Add(w.now), s, o)
}

// sync is the watcher's shell around one Decide.
func (w *world) sync(wl *simWorkload) {
	wl.queued = false
	wl.alarm++
	wt := w.watcher
	if !wt.up {
		return
	}
	s := w.gather(wl)
	d := w.decide(s)
	if d.Action != wl.last.Action || d.Reason != wl.last.Reason || d.Message != wl.last.Message {
		w.logf("%s: %v %s after %s: %s", wl.name, d.Action, d.Reason, d.After, d.Message)
	}
	if d.Counts.Unknown > 0 {
		w.markRiddles(wl, s)
	}
	w.checkUpToDate(wl, d)
	w.checkPlace(wl, s, d)
	w.tell(wl, d)
	wt.memory[wl.uid] = d.Memory
	wl.last = d
	switch {
	case d.Action == Wait && d.After <= 0:
		w.fail("%s: %s waits without a time", wl.name, d.Reason)
	case d.Action == Roll:
		w.patch(wl, s, d)
	default:
		w.record(wl.uid, d.Baseline)
		if d.After > 0 {
			w.wake(wl, d.After)
		}
	}
}

// tell is what people learn from Events.
func (w *world) tell(wl *simWorkload, d Decision) {
	if d.Counts.Stale+d.Counts.Unknown == 0 || !slices.Contains(LeaveReasons, d.Reason) && !slices.Contains(UnknownReasons, d.Reason) {
		return
	}
	for _, p := range wl.live() {
		p.told = true
	}
}

// markRiddles excuses pods of which nothing can be told without a baseline:
// they are told by an Event and left alone.
func (w *world) markRiddles(wl *simWorkload, s State) {
	riddles := []Reason{StatusInherited, StatusRecreated, MountedTwice}
	for i, p := range wl.pods {
		v := Judge(t0.Add(w.now), s.Pods[i], s, w.opts)
		p.riddle = p.riddle || v.Freshness == Unknown && slices.Contains(riddles, v.Reason)
	}
}

// record keeps a baseline as the shell does. What says something new goes to
// the ledger and takes all others with it; but while one is pending, it waits.
func (w *world) record(uid types.UID, b Baseline) {
	if b.IsZero() {
		return
	}
	wt := w.watcher
	was := wt.baselines[uid]
	wt.baselines[uid] = b
	switch {
	case b.Same(was):
		return
	case b.Pending(was):
		wt.open[uid] = true
		w.after(10*time.Minute, func() {
			if wt == w.watcher && wt.up {
				w.write()
			}
		})
		return
	case wt.open[uid] && !b.Confirmed.IsZero():
		delete(wt.open, uid)
		if len(wt.open) > 0 {
			return
		}
	}
	w.write()
}

func (w *world) write() {
	clear(w.watcher.open)
	written, dropped := Ledger(w.watcher.baselines).Data()
	read, err := ReadLedger(written)
	if err != nil || dropped > 0 {
		w.fail("the ledger does not survive: %v, %d dropped", err, dropped)
	}
	w.ledger = read
}

func (w *world) patch(wl *simWorkload, s State, d Decision) {
	w.checkRoll(wl, s, d)
	if w.now < wl.refuse {
		w.logf("%s: patch refused", wl.name)
		w.happens("patch refused")
		wl.last.Action = Wait
		w.wake(wl, w.between(time.Second, 30*time.Second))
		return
	}
	wl.rolls = append(wl.rolls, w.now)
	lacks := w.lacksFiles
	if d.Reason == SecretChanged {
		lacks = w.lacksEnv
	}
	if !slices.ContainsFunc(wl.live(), func(p *simPod) bool { return p.template == wl.template && p.running && lacks(p) }) {
		wl.doubts = append(wl.doubts, w.now)
	}
	unsettled := slices.ContainsFunc(slices.Collect(maps.Values(d.Baseline.Secrets)), func(b SecretBaseline) bool { return b.Unsettled })
	if unsettled || s.secretAway() {
		w.happens("rolled at the cap")
		wl.capped++ // it may have been too early, and need another one
	}
	wl.past = append(wl.past, wl.template)
	wl.template.stamp, w.watcher.patched[wl.uid] = d.Stamp, d.Stamp
	wl.rolled = w.now
	w.logf("%s: ROLL %d %s: %s", wl.name, len(wl.rolls), d.Stamp, d.Cause)
	w.change(wl)
	w.happens("rolled")
	if w.now < wl.undoing {
		w.after(w.between(10*time.Millisecond, 1500*time.Millisecond), func() { w.undo(wl, d.Stamp) }) // before a pod can be ready
	}
	if w.watcher.lose {
		w.happens("watcher ended between patch and record")
		w.stopWatcher(w.between(time.Second, 3*time.Minute))
		return
	}
	w.record(wl.uid, d.Baseline)
}

// undo is an operator that finds a stamp on the template which it has made.
func (w *world) undo(wl *simWorkload, stamp string) {
	if wl.template.stamp != stamp {
		return
	}
	w.logf("%s: its operator drops %s", wl.name, stamp)
	w.happens("rollout undone")
	wl.undone++
	wl.past = append(wl.past, wl.template)
	wl.template.stamp = ""
	w.change(wl)
}
