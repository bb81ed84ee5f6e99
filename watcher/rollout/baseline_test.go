package rollout

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestBaselineFollowsThePods(t *testing.T) {
	classAt := func(v string) map[string]ClassBaseline {
		return map[string]ClassBaseline{class: newClassBaseline(versions(v), now)}
	}
	was, early := ranOn("v1", at(time.Minute)), ranOn("v1", at(2*time.Minute)) // clocks may differ by a minute
	was.Stamp, early.Stamp = "aa-2", "aa-2"
	stamped := func(p Pod) Pod { p.Stamp = "aa-2"; return p }
	onV2 := func(name string) Pod {
		p := stamped(firstMount(name))
		p.Mounts[0].Status.Versions = versions("v2")
		return p
	}
	riddle := func(name, v string) Pod { // inherited: it cannot be told what it started with
		p := rotated(name, v, at(5*time.Second))
		p.Mounts[0].Status.Created = t0.Add(-time.Hour)
		return p
	}
	starting := onV2("web-b")
	starting.Started = time.Time{}
	older := firstMount("web-b")

	withSecret := func(b Baseline) Baseline {
		b.Secrets = map[string]SecretBaseline{"old": {Digest: "x"}}
		return b
	}

	mixed := func(b Baseline) Baseline {
		b = b.clone()
		c := b.Classes[class]
		c.Mixed = true
		b.Classes[class] = c
		return b
	}

	tests := map[string]struct {
		was  Baseline
		pods []Pod
		want Baseline
	}{
		"a Secret that is consumed no longer is forgotten": {withSecret(was), []Pod{stamped(firstMount("web-a"))}, was},
		"a Secret is not forgotten while pods differ":      {withSecret(was), []Pod{onV2("web-a"), stamped(firstMount("web-b"))}, mixed(withSecret(was))},
		"first sight records what all run on":              {Baseline{}, []Pod{stamped(firstMount("web-a")), stamped(firstMount("web-b"))}, Baseline{Stamp: "aa-2", Classes: classAt("v1")}},
		"first sight without pods records nothing":         {Baseline{}, nil, Baseline{}},
		"first sight of starting pods records nothing":     {Baseline{}, []Pod{starting}, Baseline{}},
		"first sight of pods that differ records no versions": {
			Baseline{}, []Pod{stamped(firstMount("web-a")), onV2("web-b")}, Baseline{},
		},
		"first sight of what cannot be told records what all have": {
			Baseline{}, []Pod{stamped(riddle("web-a", "v1")), stamped(riddle("web-b", "v1"))}, Baseline{Stamp: "aa-2", Classes: classAt("v1")},
		},
		"first sight of what cannot be told, and differs, records nothing": {
			Baseline{}, []Pod{stamped(riddle("web-a", "v1")), stamped(riddle("web-b", "v2"))}, Baseline{},
		},
		"first sight of a stale pod does not take its versions for what runs": {
			Baseline{}, []Pod{stamped(rotated("web-a", "v2", at(time.Hour))), onV2("web-b")}, Baseline{},
		},
		"first sight of a status of another pod records nothing": {
			Baseline{}, []Pod{func() Pod { p := stamped(firstMount("web-a")); p.Mounts[0].Status.Owner = "other"; return p }()}, Baseline{},
		},
		"first sight amid a rollout records nothing": {Baseline{}, []Pod{onV2("web-a"), older}, Baseline{}},
		"first sight of a pod without a status records nothing": {
			Baseline{}, []Pod{func() Pod { p := stamped(firstMount("web-a")); p.Mounts[0].Status = nil; return p }()}, Baseline{},
		},
		"pods that all run on something else replace the record": {
			was, []Pod{onV2("web-a"), onV2("web-b")}, Baseline{Stamp: "aa-2", Classes: classAt("v2")},
		},
		"one that still starts leaves the record, mixed":    {was, []Pod{onV2("web-a"), starting}, mixed(was)},
		"one of an older revision leaves the record, mixed": {was, []Pod{onV2("web-a"), older}, mixed(was)},
		"pods that differ leave the record, mixed":          {was, []Pod{onV2("web-a"), stamped(firstMount("web-b"))}, mixed(was)},
		"pods of which one cannot be told leave the record mixed": {
			mixed(was), []Pod{stamped(firstMount("web-a")), stamped(riddle("web-b", "v1"))}, mixed(was),
		},
		"pods without the class do not make it mixed": {
			was, []Pod{stamped(firstMount("web-a")), func() Pod { p := onV2("web-b"); p.Mounts = nil; return p }()}, was,
		},
		"pods that all run on the record again leave nothing mixed": {mixed(was), []Pod{stamped(firstMount("web-a"))}, was},
		"pods that all run on something else leave nothing mixed": {
			mixed(was), []Pod{onV2("web-a"), onV2("web-b")}, Baseline{Stamp: "aa-2", Classes: classAt("v2")},
		},
		"a stale pod that the record speaks of for certain leaves it": {
			early, []Pod{stamped(rotated("web-a", "v2", at(time.Hour)))}, early,
		},
		"a stale pod that started on nobody knows what leaves the record, mixed": {
			was, []Pod{stamped(rotated("web-a", "v2", at(time.Hour)))}, mixed(was),
		},
		"no pods leave the record":                       {was, nil, was},
		"a class that is mounted no longer is forgotten": {Baseline{Stamp: "aa-2", Classes: map[string]ClassBaseline{"old": {Digest: "x"}, class: was.Classes[class]}}, []Pod{stamped(firstMount("web-a"))}, was},
		"pods without the class do not matter to it": {
			was, []Pod{onV2("web-a"), func() Pod { p := stamped(firstMount("web-b")); p.Mounts = nil; return p }()}, Baseline{Stamp: "aa-2", Classes: classAt("v2")},
		},
		"a class is not forgotten while pods differ": {
			Baseline{Stamp: "aa-2", Classes: map[string]ClassBaseline{"old": {Digest: "x"}, class: was.Classes[class]}}, []Pod{onV2("web-a"), stamped(firstMount("web-b"))},
			mixed(Baseline{Stamp: "aa-2", Classes: map[string]ClassBaseline{"old": {Digest: "x"}, class: was.Classes[class]}}),
		},
		"a stamp that somebody put back is recorded once all run on known content": {
			Baseline{Stamp: "bb-3", Classes: was.Classes}, []Pod{stamped(firstMount("web-a"))}, was,
		},
		"a stamp that somebody put back is not recorded while pods differ": {
			Baseline{Stamp: "bb-3", Classes: was.Classes}, []Pod{stamped(firstMount("web-a")), onV2("web-b")}, mixed(Baseline{Stamp: "bb-3", Classes: was.Classes}),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(Pod{})
			s.Pods, s.Workload.Stamp, s.Baseline = tt.pods, "aa-2", tt.was
			got := Decide(now, s, defaults()).Baseline
			got.Confirmed = time.Time{} // see TestRecordIsConfirmed
			if !got.Same(tt.want) {
				t.Errorf("Baseline = %+v\nwant %+v", got, tt.want)
			}
			for name, c := range got.Classes {
				if want := tt.want.Classes[name]; c.Digest == want.Digest && !cmp.Equal(c.Versions, want.Versions) {
					t.Errorf("Versions = %v, want %v", c.Versions, want.Versions)
				}
			}
		})
	}
}

// TestFirstSightAmidARollout has pods that a user's rollout has still to replace, or
// leaves alone, when the watcher sees them first, beside one that runs on what they
// lack. Once that rollout is undone, they are rolled.
func TestFirstSightAmidARollout(t *testing.T) {
	tests := map[string]struct {
		partition int32
		inherits  bool // the one that is there already
	}{
		"of a Deployment":                  {0, false},
		"of a StatefulSet":                 {0, true},
		"of a StatefulSet, by a partition": {1, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			replaced, left := rotated("db-1", "v2", at(5*time.Second)), rotated("db-0", "v2", at(time.Hour))
			replaced.Ordinal, left.Current = 1, false
			if tt.inherits {
				replaced.Mounts[0].Status.Created = t0.Add(-time.Hour)
			} else {
				replaced.Mounts[0].Status.Generation = 1
			}
			s := onePod(replaced)
			s.Pods, s.Workload.Partition = append(s.Pods, left), tt.partition
			undo := func(s *State) {
				left.Current = true
				s.Pods, s.Workload.Partition = []Pod{left}, 0
			}
			d := live(s, defaults(), append(looks(time.Minute, 2*time.Minute), moment{3 * time.Minute, undo}, moment{4 * time.Minute, func(*State) {}})...)
			if d.Action != Roll {
				t.Errorf("%v %s (%s), want a roll", d.Action, d.Reason, d.Message)
			}
		})
	}
}

func TestBaselineMovesOn(t *testing.T) {
	s := onePod(firstMount("web"))
	s.Baseline = ranOn("v1", at(time.Minute))
	s.Baseline.Confirmed = at(time.Minute)
	s.Baseline.Secrets = map[string]SecretBaseline{env: {Digest: "A", Since: at(time.Minute)}}
	s.Secrets = map[string]Secret{env: {Digest: "A", Trigger: true}}
	got := Decide(now, s, defaults()).Baseline
	if !got.Classes[class].Since.Equal(now) || !got.Secrets[env].Since.Equal(now) {
		t.Errorf("Baseline = %+v, want it confirmed at %v", got, now)
	}
	if !got.Same(s.Baseline) {
		t.Error("a later time alone asks for a write")
	}
	if !s.Baseline.Classes[class].Since.Equal(at(time.Minute)) {
		t.Error("the State's own Baseline was changed")
	}
}

// TestRecordIsConfirmed has a record that is confirmed once every pod has
// certainly started before, by whatever clock; and again for pods that only what
// is remembered tells to be fresh.
func TestRecordIsConfirmed(t *testing.T) {
	start := func(at time.Time) func(*State) {
		return func(s *State) { s.Pods[1].Started = at }
	}
	confirmed := func(s *State) { s.Baseline.Confirmed = at(66 * time.Second) }
	back := func(s *State) {
		st := *s.Pods[1].Mounts[0].Status
		st.Generation, st.Changed = 3, at(5*time.Minute)
		s.Pods[1].Mounts = []Mount{{Class: class, Status: &st}}
	}
	nothing := func(*State) {}
	again := 56*time.Second + 1 // firstMount starts at 5 s, and clocks may differ by a minute
	tests := map[string]struct {
		given func(*State)
		then  func(*State)  // after a first look
		look  time.Duration // after t0
		want  time.Duration // after t0, 0: not confirmed
		after time.Duration
	}{
		"all pods have just started":             {nothing, nothing, 9 * time.Second, 0, again},
		"all have started as the skew allows":    {nothing, nothing, 65 * time.Second, 0, shortestWait},
		"all have started before":                {nothing, nothing, 65*time.Second + 1, 65*time.Second + 1, 0},
		"one is still to start":                  {start(time.Time{}), nothing, 2 * time.Minute, 0, 0},
		"one has just started again":             {start(at(time.Minute)), nothing, 69 * time.Second, 0, 51*time.Second + 1},
		"one of another revision is left":        {func(s *State) { s.Pods[1].Stamp = "aa-1" }, nothing, 9 * time.Second, 0, 0},
		"of one it cannot be told":               {func(s *State) { s.Pods[1].Mounts[0].Status = nil }, nothing, 2 * time.Minute, 0, 0},
		"of one it cannot be told, and is young": {func(s *State) { s.Pods[1].Mounts[0].Status = nil }, nothing, 9 * time.Second, 0, again},
		"the rollout is not complete": {func(s *State) {
			s.Workload.Complete, s.Workload.Rolled = false, t0
		}, nothing, 9 * time.Second, 0, 10*time.Minute - time.Second},
		"a confirmed one stays":                            {confirmed, nothing, time.Hour, 66 * time.Second, 0},
		"a pod that started since does not need it":        {confirmed, start(at(4 * time.Minute)), time.Hour, 66 * time.Second, 0},
		"content came back, of pods that it speaks of":     {confirmed, back, time.Hour, 66 * time.Second, 0},
		"content came back, of a pod that started since":   {both(confirmed, start(at(6*time.Second))), back, time.Hour, time.Hour, 0},
		"content came back, of a pod that started of late": {both(confirmed, start(at(298*time.Second))), back, 301 * time.Second, 66 * time.Second, 57*time.Second + 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web-a"))
			s.Pods = append(s.Pods, firstMount("web-b"))
			s.Pods[0].Stamp, s.Pods[1].Stamp, s.Workload.Stamp = "aa-2", "aa-2", "aa-2"
			s.Baseline = ranOn("v1", t0)
			s.Baseline.Stamp = "aa-2"
			tt.given(&s)
			s.Memory = Decide(at(8*time.Second), s, defaults()).Memory
			tt.then(&s)
			d := Decide(at(tt.look), s, defaults())
			if d.Action != None || d.After != tt.after {
				t.Errorf("%v %s after %s, want nothing after %s", d.Action, d.Reason, d.After, tt.after)
			}
			var want time.Time
			if tt.want > 0 {
				want = at(tt.want)
			}
			if !d.Baseline.Confirmed.Equal(want) {
				t.Errorf("Confirmed = %s, want %s", d.Baseline.Confirmed, want)
			}
			if changed := !want.Equal(s.Baseline.Confirmed); d.Baseline.Same(s.Baseline) == changed {
				t.Errorf("Same() = %t where Confirmed has changed: %t", !changed, changed)
			}
		})
	}
}

func TestPending(t *testing.T) {
	of := func(stamp string, confirmed time.Time) Baseline {
		b := ranOn("v1", t0)
		b.Stamp, b.Confirmed = stamp, confirmed
		return b
	}
	tests := map[string]struct {
		was, is Baseline
		want    bool
	}{
		"first sight":       {Baseline{}, of("aa-2", time.Time{}), false},
		"a roll":            {of("", t0), of("aa-2", time.Time{}), true},
		"a roll, confirmed": {of("", t0), of("aa-2", now), false},
		"the same stamp":    {of("aa-2", t0), of("aa-2", time.Time{}), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.is.Pending(tt.was); got != tt.want {
				t.Errorf("Pending() = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestThereAndBack lets content change and change back, of pods that this
// watcher saw start, or that the record of another one speaks of.
func TestThereAndBack(t *testing.T) {
	back := func(s *State) { // the driver has brought v2 and v1 again
		for i, p := range s.Pods {
			s.Pods[i] = rotated(p.Name, "v1", now.Add(time.Minute))
			s.Pods[i].Stamp = p.Stamp
		}
		feed(s)
	}
	there := both(polls(1, "v2"), writes("B", 0))
	backAgain := both(back, writes("A", time.Minute))
	recorded := func(since time.Time) func(*State) {
		return func(s *State) { s.Baseline = ranOn("v1", since) }
	}
	tests := map[string]struct {
		given   func(*State)
		moments []moment
		want    outcome
	}{
		"seen by a watcher, before its patch":                  {func(*State) {}, append([]moment{{time.Second, there}, {2 * time.Second, backAgain}}, looks(time.Minute, time.Hour)...), outcome{None, UpToDate, 0}},
		"while no watcher ran, of pods that a record covers":   {both(recorded(at(65*time.Second+1)), back), looks(2*time.Minute, time.Hour), outcome{None, UpToDate, 0}},
		"while no watcher ran, of pods as young as a record":   {both(recorded(at(65*time.Second)), back), looks(2*time.Minute, 2*time.Minute+10*time.Second), outcome{Roll, ContentChanged, 0}},
		"while no watcher ran, and nothing is known of before": {back, looks(2*time.Minute, 2*time.Minute+10*time.Second), outcome{Roll, ContentChanged, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := freshEnv(Polling)
			tt.given(&s)
			if diff := cmp.Diff(tt.want, outcomeOf(live(s, defaults(), tt.moments...))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRecordBesideAPartition has content change for db-0, the one pod of a
// StatefulSet, which its partition keeps as it is. Then db-1 comes, and the watcher
// is another one.
func TestRecordBesideAPartition(t *testing.T) {
	type change = func(*State)
	const minute = time.Minute
	written := func(after time.Duration) change { // the Secret, as driver v1.6.0 does for every pod
		return func(s *State) {
			secret := s.Secrets[env]
			secret.Changed = now.Add(after)
			s.Secrets = map[string]Secret{env: secret}
		}
	}
	starts := func(ordinal int32, after time.Duration, inherits bool) change {
		return func(s *State) {
			p := firstMount(fmt.Sprintf("db-%d", ordinal))
			p.Ordinal, p.Stamp, p.Created, p.Started = ordinal, s.Workload.Stamp, now.Add(after-5*time.Second), now.Add(after)
			p.UID += types.UID(after.String())
			mounted := p.Started.Add(-3 * time.Second)
			*p.Mounts[0].Status = Status{Generation: 1, Created: mounted, Changed: mounted, Owner: p.UID, Target: p.UID, Versions: versions("v2")}
			if inherits {
				p.Mounts[0].Status.Generation, p.Mounts[0].Status.Created = 2, t0
			}
			s.Pods = append(slices.DeleteFunc(slices.Clone(s.Pods), func(o Pod) bool { return o.Name == p.Name }), p)
			feed(s)
			written(after)(s)
		}
	}
	another := func(s *State) { // watcher, which has seen nothing change
		s.Memory = Memory{}
		secret := s.Secrets[env]
		secret.Since = time.Time{}
		s.Secrets = map[string]Secret{env: secret}
	}
	mountless := func(s *State) { *s = alone(*s); s.Pods = slices.Clone(s.Pods) }
	partition := func(n int32) change { return func(s *State) { s.Workload.Partition = n } }
	image := func(same bool) change { // as db-0's
		return func(s *State) { s.Pods = slices.Clone(s.Pods); s.Pods[0].Current = same }
	}
	lastOfOlder := func(started time.Time) change { // revision; zero: it is still to start
		return func(s *State) {
			s.Pods = slices.Clone(s.Pods)
			s.Pods[1].Current, s.Pods[1].Started = false, started
		}
	}
	startsAgain := func(s *State) { s.Pods = slices.Clone(s.Pods); s.Pods[0].Started = now.Add(30 * time.Second) }
	back := func(recreated bool) change { // to v1
		return func(s *State) {
			s.Pods = slices.Clone(s.Pods)
			st := *s.Pods[0].Mounts[0].Status
			st.Generation, st.Changed, st.Versions = 3, now.Add(5*minute), versions("v1")
			if recreated {
				st.Generation, st.Created, st.Changed = 1, now.Add(10*minute), now.Add(10*minute)
			}
			s.Pods[0].Mounts = []Mount{{Class: class, Status: &st}}
			feed(s)
		}
	}
	mountsAlone := func(s *State) { s.Secrets = nil }
	doubtful := []moment{
		{time.Second, both(mountsAlone, polls(1, "v2"))}, {minute, startsAgain}, {6 * minute, back(false)}, {12 * minute, back(true)},
	}
	rotation := []moment{{time.Second, both(polls(1, "v2"), writes("B", time.Second))}, {minute, func(*State) {}}}
	scaledUp := append(rotation, moment{11 * minute, starts(1, 10*minute, false)})
	later := func(before []moment, more ...moment) []moment { return append(slices.Clone(before), more...) }
	tests := map[string]struct {
		moments []moment
		want    outcome
	}{
		"the pod is told of": {rotation, outcome{None, BelowPartition, 0}},
		"the other one is not rolled for it": {
			later(scaledUp, moment{20 * minute, both(written(19*minute), another)}), outcome{None, BelowPartition, 0},
		},
		"the other one, made again with the status of the one before, is not rolled for it": {
			later(scaledUp, moment{13 * minute, both(starts(1, 12*minute, true), another)}),
			outcome{None, BelowPartition, 0},
		},
		"the pod is rolled once the partition is lowered": {
			later(scaledUp, moment{20 * minute, both(written(19*minute), another, partition(0))}, moment{21 * minute, func(*State) {}}),
			outcome{Roll, ContentChanged, 0},
		},
		"the pod is rolled for its Secret alone": {
			later(scaledUp, moment{20 * minute, both(written(19*minute), another, partition(0), mountless)}, moment{21 * minute, func(*State) {}}),
			outcome{Roll, SecretChanged, 0},
		},
		"the pod is rolled whose status was inherited": {
			later(scaledUp, moment{20 * minute, both(written(19*minute), another, partition(0), func(s *State) {
				s.Secrets = nil
				st := *s.Pods[0].Mounts[0].Status
				st.Created, st.Changed = t0.Add(-time.Hour), at(time.Minute)
				s.Pods[0].Mounts = []Mount{{Class: class, Status: &st}}
			})}, moment{21 * minute, func(*State) {}}),
			outcome{Roll, ContentChanged, 0},
		},
		"the pod is told of when it is of an older revision, which bears no stamp either": {
			later(rotation, moment{11 * minute, both(image(false), starts(1, 10*minute, false))}, moment{20 * minute, both(written(19*minute), another)}),
			outcome{None, BelowPartition, 0},
		},
		"the pod is rolled once an undo makes its revision the newest again": {
			later(rotation, moment{11 * minute, both(image(false), starts(1, 10*minute, false))},
				moment{20 * minute, both(written(19*minute), another, image(true), partition(0))}, moment{21 * minute, func(*State) {}}),
			outcome{Roll, ContentChanged, 0},
		},
		"the pod is made again": {
			later(scaledUp, moment{12 * minute, starts(0, 11*minute, false)}, moment{20 * minute, both(written(19*minute), another, partition(0))}),
			outcome{None, UpToDate, 0},
		},
		"the pod is made again, with the status of the one before": {
			later(scaledUp, moment{13 * minute, both(partition(0), starts(0, 12*minute, true))}, moment{14 * minute, func(*State) {}}),
			outcome{None, UpToDate, 0},
		},
		"the pod, of an older revision, is made again with the status of the one before": {
			later(rotation, moment{11 * minute, both(image(false), starts(1, 10*minute, false))},
				moment{12 * minute, both(starts(0, 12*minute, true), lastOfOlder(time.Time{}))},
				moment{13 * minute, lastOfOlder(now.Add(12 * minute))}),
			outcome{None, UpToDate, 0},
		},
		"the pod is made again, with the status of the one before, and no watcher sees it start": {
			later(scaledUp, moment{13 * minute, both(partition(0), starts(0, 12*minute, true), another)}, moment{14 * minute, func(*State) {}}),
			outcome{Roll, ContentChanged, 0},
		},
		"the pod, started again about the change, is stale once content is back and its status re-created": {
			doubtful, outcome{None, BelowPartition, 0},
		},
		"the same, to another watcher, cannot be told": {
			later(doubtful, moment{14 * minute, both(another, mountsAlone)}), outcome{None, StatusRecreated, 0},
		},
		"the same is rolled once the partition is lowered": {
			later(doubtful, moment{14 * minute, partition(0)}, moment{15 * minute, func(*State) {}}), outcome{Roll, ContentChanged, 0},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := freshEnv(Republishing)
			s.Pods = []Pod{firstMount("db-0")}
			s.Workload.Kind, s.Workload.Partition, s.Workload.Replicas = "StatefulSet", 1, 1
			feed(&s)
			d := live(s, defaults(), tt.moments...)
			got := outcomeOf(d)
			got.After = 0
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Message, diff)
			}
		})
	}
}

func TestBaselineOfASecret(t *testing.T) {
	record := func(digest string, change ...func(*SecretBaseline)) map[string]SecretBaseline {
		b := SecretBaseline{Digest: digest, Since: at(time.Minute)}
		for _, c := range change {
			c(&b)
		}
		return map[string]SecretBaseline{env: b}
	}
	unsettled := func(b *SecretBaseline) { b.Unsettled = true }
	answered := func(digests ...string) func(*SecretBaseline) {
		return func(b *SecretBaseline) { b.Answered = digests }
	}
	tests := map[string]struct {
		was    map[string]SecretBaseline
		secret Secret
		others []Pod
		want   map[string]SecretBaseline
	}{
		"one more that may have started on another one": {
			record("A"), Secret{Digest: "B", Trigger: true, Since: at(time.Hour)}, []Pod{consumer(at(5 * time.Second))}, record("A"),
		},
		"first sight":                          {nil, Secret{Digest: "A", Trigger: true}, nil, record("A")},
		"first sight of one for env alone":     {nil, Secret{Digest: "A", Env: true}, nil, record("A")},
		"not consumed":                         {nil, Secret{Digest: "A"}, nil, nil},
		"hidden":                               {nil, Secret{Digest: "A", Trigger: true, Hidden: true}, nil, nil},
		"away at first sight":                  {nil, Secret{Trigger: true}, nil, nil},
		"away later":                           {record("A"), Secret{Trigger: true}, nil, record("A")},
		"changed, and a pod lacks it":          {record("A"), Secret{Digest: "B", Trigger: true}, nil, record("A")},
		"changed, and the pod has it":          {record("A"), Secret{Digest: "B", Trigger: true, Changed: t0.Add(-time.Hour)}, nil, record("B")},
		"an unsettled one that has lasted":     {record("A", unsettled), Secret{Digest: "A", Trigger: true, Changed: t0.Add(-time.Hour)}, nil, record("A")},
		"an unsettled one that cannot be told": {record("A", unsettled), Secret{Digest: "A", Trigger: true}, nil, record("A", unsettled)},
		"what was answered stays answered":     {record("A", answered("A")), Secret{Digest: "A", Trigger: true}, nil, record("A", answered("A"))},
		"a pod that may have started on another one unsettles the record": {
			record("A"), Secret{Digest: "B", Trigger: true, Since: at(time.Hour)}, []Pod{consumer(at(time.Hour))}, record("A", unsettled),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(consumer(at(5 * time.Second)))
			for _, p := range tt.others {
				p.UID = "other"
				s.Pods = append(s.Pods, p)
			}
			s.Secrets, s.Baseline = map[string]Secret{env: tt.secret}, Baseline{Secrets: tt.was}
			got := Decide(now, s, defaults()).Baseline
			got.Confirmed = time.Time{} // see TestRecordIsConfirmed
			if want := (Baseline{Secrets: tt.want}); !got.Same(want) {
				t.Errorf("Baseline = %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestRecordIsWhole has one dependency of two of which it cannot be told what
// all pods run on: then nothing is forgotten, and no other stamp recorded.
func TestRecordIsWhole(t *testing.T) {
	old := map[string]ClassBaseline{"old": {Digest: "x"}}
	tests := map[string]struct {
		change func(*State)
		want   bool
	}{
		"all can be told":       {func(*State) {}, true},
		"a class cannot":        {func(s *State) { s.Pods[0] = rotated("web", "v2", at(time.Hour)) }, false},
		"a Secret cannot":       {func(s *State) { s.Secrets[env] = Secret{Digest: "B", Trigger: true, Since: at(2 * time.Minute)} }, false},
		"a Secret is not there": {func(s *State) { s.Secrets[env] = Secret{Trigger: true} }, false},
		"one of two Secrets cannot": {func(s *State) {
			s.Secrets["a"] = Secret{Digest: "B", Trigger: true, Since: at(2 * time.Minute)}
			s.Baseline.Secrets["a"] = SecretBaseline{Digest: "A"}
		}, false},
		"one of two classes cannot": {func(s *State) {
			st := *s.Pods[0].Mounts[0].Status
			st.Generation, st.Changed = 2, at(time.Hour)
			s.Pods[0].Mounts = append([]Mount{{Class: "a", Status: &st}}, s.Pods[0].Mounts...)
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web"))
			s.Secrets = map[string]Secret{env: {Digest: "A", Trigger: true}}
			s.Baseline = Baseline{Stamp: "aa-2", Classes: old, Secrets: map[string]SecretBaseline{env: {Digest: "A", Since: at(time.Minute)}}}
			s.Pods[0].Created = at(2 * time.Minute)
			s.Pods[0].Mounts[0].Status.Created = at(2 * time.Minute)
			s.Pods[0].Started = at(2 * time.Minute)
			tt.change(&s)
			s.Workload.Never = true
			b := Decide(now, s, defaults()).Baseline
			if _, kept := b.Classes["old"]; kept == tt.want {
				t.Errorf("what is depended on no longer is kept: %v, want %v: %+v", kept, !tt.want, b)
			}
			if recorded := b.Stamp == ""; recorded != tt.want {
				t.Errorf("the template's stamp is recorded: %v, want %v", recorded, tt.want)
			}
		})
	}
}

// TestFeedsAreRecorded tells when what the statuses agree on is taken for what
// the recorded digest was made from.
func TestFeedsAreRecorded(t *testing.T) {
	feedsAfter := func(s State) string { return s.feedsOf(env) }
	was := func(s State) string { return s.Baseline.Secrets[env].Feeds }
	start := func() State {
		s := alone(freshEnv(Republishing))
		s.Baseline = Baseline{Secrets: map[string]SecretBaseline{env: {Digest: "A", Since: t0, Feeds: "before", Answered: []string{"A"}}}}
		return s
	}
	tests := map[string]struct {
		change   func(*State)
		look     time.Duration
		want     func(State) string
		answered []string
	}{
		"agreed for long":    {func(*State) {}, rewrittenAfter, feedsAfter, nil},
		"agreed just now":    {func(*State) {}, rewrittenAfter - time.Second, was, []string{"A"}},
		"the Secret differs": {both(writes("B", 0), func(s *State) { s.Workload.Never = true }), rewrittenAfter, was, []string{"A"}},
		"no record of before": {func(s *State) {
			s.Baseline.Secrets[env] = SecretBaseline{Digest: "A", Since: t0, Answered: []string{"A"}}
		}, rewrittenAfter, feedsAfter, []string{"A"}},
		"first sight": {func(s *State) { s.Baseline = Baseline{} }, 0, feedsAfter, nil},
		"disagreeing": {func(s *State) {
			c := s.Classes[class]
			c.Feeds = append([]Status{*rotated("api", "v2", now).Mounts[0].Status}, c.Feeds...)
			s.Classes = map[string]Class{class: c}
		}, rewrittenAfter, was, []string{"A"}},
		"a pod is stale": {func(s *State) {
			s.Pods[0].Mounts = []Mount{{Class: "other", Status: rotated("web-a", "v2", at(time.Hour)).Mounts[0].Status}}
			s.Workload.Never = true
		}, rewrittenAfter, was, []string{"A"}},
		"a pod below the partition is stale": {func(s *State) {
			s.Pods[0].Mounts = []Mount{{Class: "other", Status: rotated("web-a", "v2", at(time.Hour)).Mounts[0].Status}}
			s.Workload.Partition = 1
		}, rewrittenAfter, was, []string{"A"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := start()
			tt.change(&s)
			want := tt.want(s)
			got := live(s, defaults(), looks(tt.look)...).Baseline.Secrets[env]
			if got.Feeds != want {
				t.Errorf("Feeds = %q, want %q", got.Feeds, want)
			}
			if diff := cmp.Diff(tt.answered, got.Answered); diff != "" {
				t.Errorf("Answered (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLostRecord has a watcher end between its patch and its record.
func TestLostRecord(t *testing.T) {
	roll := func() (State, Decision) {
		s := freshEnv(Polling)
		d := live(s, defaults(), append([]moment{{time.Second, both(polls(1, "v2"), writes("B", time.Second))}}, looks(4*time.Second)...)...)
		return s, d
	}
	_, rolled := roll()
	if rolled.Action != Roll {
		t.Fatalf("does not roll: %s", rolled.Message)
	}
	// after is what the next watcher finds: new pods with the stamp, the old record.
	after := func() State {
		s, _ := roll()
		s.Baseline = ranOn("v1", at(time.Minute))
		s.Baseline.Secrets = map[string]SecretBaseline{env: {Digest: "A", Since: at(time.Minute), Answered: []string{"0"}}}
		s.Workload.Stamp = rolled.Stamp
		for i, p := range s.Pods {
			p.Stamp, p.Created, p.Started = rolled.Stamp, now.Add(time.Minute), now.Add(time.Minute+5*time.Second)
			st := *p.Mounts[0].Status
			st.Created, st.Changed, st.Versions = p.Created, p.Created, versions("v2")
			p.Mounts = []Mount{{Class: class, Status: &st}}
			s.Pods[i] = p
		}
		s.Secrets = map[string]Secret{env: {Digest: "B", Env: true, Trigger: true}}
		feed(&s)
		return s
	}
	inherit := func(s *State) {
		for i := range s.Pods {
			s.Pods[i].Mounts[0].Status.Created = t0
			s.Pods[i].Mounts[0].Status.Generation = 7
		}
	}
	tests := map[string]struct {
		change     func(*State)
		want       Reason
		wantSecret SecretBaseline
		wantClass  string
	}{
		"everything as it was answered":              {func(*State) {}, UpToDate, SecretBaseline{Digest: "B", Answered: []string{"B"}}, digestOf(versions("v2"))},
		"statuses are inherited":                     {inherit, UpToDate, SecretBaseline{Digest: "B", Answered: []string{"B"}}, digestOf(versions("v2"))},
		"the Secret changed since":                   {writes("C", time.Minute), Gathering, SecretBaseline{Digest: "A", Unsettled: true, Answered: []string{"0"}}, digestOf(versions("v2"))},
		"the Secret came back to what it was before": {writes("A", time.Minute), Gathering, SecretBaseline{Digest: "A", Unsettled: true, Answered: []string{"0"}}, digestOf(versions("v2"))},
		"the Secret is away":                         {writes("", 0), UpToDate, SecretBaseline{Digest: "A", Answered: []string{"0"}, Unsettled: true}, digestOf(versions("v2"))},
		"versions changed since, and statuses are inherited": {func(s *State) {
			inherit(s)
			for i := range s.Pods {
				s.Pods[i].Mounts[0].Status.Versions = versions("v3")
			}
			feed(s)
		}, StatusInherited, SecretBaseline{Digest: "B", Answered: []string{"B"}}, digestOf(versions("v3"))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := after()
			tt.change(&s)
			d := Decide(now.Add(2*time.Minute), s, defaults())
			if d.Reason != tt.want {
				t.Errorf("Reason = %s (%s), want %s", d.Reason, d.Message, tt.want)
			}
			got := d.Baseline.Secrets[env]
			got.Since, got.Feeds = time.Time{}, ""
			if diff := cmp.Diff(tt.wantSecret, got); diff != "" {
				t.Errorf("record of the Secret (-want +got):\n%s", diff)
			}
			if got := d.Baseline.Classes[class].Digest; got != tt.wantClass {
				t.Errorf("record of the class = %q, want %q", got, tt.wantClass)
			}
		})
	}
}

// The stamp speaks of all Secrets at once: while one is away it cannot be read, which
// says nothing against the others.
func TestASecretIsNotDoubtedForAnotherThatIsAway(t *testing.T) {
	s := onePod(firstMount("web"))
	s.Secrets = map[string]Secret{env: {Digest: "A", Trigger: true}, "x": {Digest: "X", Trigger: true}}
	stamp := newStamp(newestContent(s).fingerprint(false), 9)
	s.Workload.Stamp, s.Pods[0].Stamp = stamp, stamp
	s.Baseline = Baseline{Stamp: "aa-2", Secrets: map[string]SecretBaseline{env: {Digest: "A", Since: t0}, "x": {Digest: "X", Since: t0}}}
	away := s
	away.Secrets = map[string]Secret{env: s.Secrets[env], "x": {Trigger: true}}
	d := Decide(at(time.Hour), away, defaults())
	s.Memory, s.Baseline = d.Memory, d.Baseline
	if d := decideAfter(3*time.Second, s, defaults()); d.Reason != UpToDate {
		t.Errorf("Reason = %s (%s), want %s", d.Reason, d.Message, UpToDate)
	}
}

// TestLostRecordIsRecoveredWhenTheSecretIsBack has the Secret away when the next watcher starts.
func TestLostRecordIsRecoveredWhenTheSecretIsBack(t *testing.T) {
	capped := func(c content) string { return newStamp(c.fingerprint(true), 9) }
	settled := func(c content) string { return newStamp(c.fingerprint(false), 9) }
	tests := map[string]struct {
		stamp  func(content) string
		first  map[string]Secret
		want   SecretBaseline
		reason Reason
	}{
		"it was there all the time": {settled, nil, SecretBaseline{Digest: "A", Answered: []string{"A"}}, UpToDate},
		"it was away":               {settled, map[string]Secret{env: {Trigger: true}}, SecretBaseline{Digest: "A", Answered: []string{"A"}}, UpToDate},
		"one that is not consumed is away": {
			settled, map[string]Secret{env: {Digest: "A", Trigger: true}, "x": {}}, SecretBaseline{Digest: "A", Answered: []string{"A"}}, UpToDate,
		},
		"one that is hidden is away": {
			settled, map[string]Secret{env: {Digest: "A", Trigger: true}, "x": {Hidden: true, Env: true}}, SecretBaseline{Digest: "A", Answered: []string{"A"}}, UpToDate,
		},
		"the roll could not wait": {capped, nil, SecretBaseline{Digest: "A", Unsettled: true, Answered: []string{"0", "A"}}, SecretSettling},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web"))
			s.Secrets = map[string]Secret{env: {Digest: "A", Trigger: true}}
			s.Workload.Stamp = tt.stamp(newestContent(s))
			s.Pods[0].Stamp = s.Workload.Stamp
			s.Workload.Stamp, s.Pods[0].Stamp = tt.stamp(newestContent(s)), tt.stamp(newestContent(s))
			s.Baseline = Baseline{Stamp: "aa-2", Secrets: map[string]SecretBaseline{env: {Digest: "0", Since: t0}}}
			if tt.first != nil {
				now := s
				now.Secrets = tt.first
				d := Decide(at(time.Hour), now, defaults())
				s.Memory, s.Baseline = d.Memory, d.Baseline
			}
			d := decideAfter(3*time.Second, s, defaults())
			if d.Reason != tt.reason {
				t.Errorf("Reason = %s (%s), want %s", d.Reason, d.Message, tt.reason)
			}
			got := d.Baseline.Secrets[env]
			got.Since, got.Feeds = time.Time{}, ""
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("record of the Secret (-want +got):\n%s", diff)
			}
			if d.Baseline.Stamp != s.Workload.Stamp {
				t.Errorf("Stamp = %q, want the template's %q", d.Baseline.Stamp, s.Workload.Stamp)
			}
		})
	}
}

func TestAnswered(t *testing.T) {
	tests := map[string]struct {
		was     SecretBaseline
		feeds   string
		settled bool
		want    SecretBaseline
	}{
		"with other versions":          {SecretBaseline{Digest: "A", Feeds: "v1", Answered: []string{"A"}}, "v2", true, SecretBaseline{Digest: "B", Feeds: "v2", Answered: []string{"B"}}},
		"with the same versions":       {SecretBaseline{Digest: "A", Feeds: "v1", Answered: []string{"A"}}, "v1", true, SecretBaseline{Digest: "B", Feeds: "v1", Answered: []string{"A", "B"}}},
		"once more":                    {SecretBaseline{Digest: "A", Feeds: "v1", Answered: []string{"B", "A"}}, "v1", true, SecretBaseline{Digest: "B", Feeds: "v1", Answered: []string{"B", "A"}}},
		"unsettled":                    {SecretBaseline{Digest: "A", Feeds: "v1"}, "", false, SecretBaseline{Digest: "B", Unsettled: true, Answered: []string{"A", "B"}}},
		"unsettled, never seen before": {SecretBaseline{}, "", false, SecretBaseline{Digest: "B", Unsettled: true, Answered: []string{"B"}}},
		"the oldest is forgotten":      {SecretBaseline{Feeds: "v1", Answered: []string{"1", "2", "3", "4", "5", "6", "7", "8"}}, "v1", true, SecretBaseline{Digest: "B", Feeds: "v1", Answered: []string{"2", "3", "4", "5", "6", "7", "8", "B"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.want.Since = now
			if diff := cmp.Diff(tt.want, tt.was.answered("B", tt.feeds, now, tt.settled)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFightingWriters has two writers fill a Secret in turn, every four minutes,
// while pods crash and start on what they find.
func TestFightingWriters(t *testing.T) {
	s := alone(freshEnv(Republishing))
	rolls := 0
	look := func(after time.Duration) {
		d := Decide(now.Add(after), s, defaults())
		s.Memory, s.Baseline = d.Memory, d.Baseline
		if d.Action != Roll {
			return
		}
		rolls++
		s.Workload.Stamp = d.Stamp
		s.Workload.Generation++
		s.Workload.ObservedGeneration++
		s.Pods = append([]Pod(nil), s.Pods...)
		for i := range s.Pods {
			s.Pods[i].Stamp, s.Pods[i].Started = d.Stamp, now.Add(after+5*time.Second)
			s.Pods[i].UID += "'"
		}
	}
	step := 30 * time.Second
	for i := range 240 { // two hours
		after := time.Duration(i) * step
		switch i % 16 {
		case 0:
			writes("B", after)(&s)
		case 4:
			s.Pods = append([]Pod(nil), s.Pods...)
			s.Pods[0].Started = now.Add(after)
		case 8:
			writes("A", after)(&s)
		}
		look(after)
	}
	if rolls > 1 {
		t.Errorf("rolled %d times during the fight, want once at most", rolls)
	}
	before := rolls
	for i := range 40 { // and then the fight is over
		look(2*time.Hour + time.Duration(i)*step)
	}
	if rolls != before+1 {
		t.Errorf("rolled %d times after the fight, want once, for the pod that started in between", rolls-before)
	}
}
