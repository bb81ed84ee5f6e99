package rollout

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// staleWeb is a Deployment of two pods, one of which the driver has rotated;
// nothing is recorded of it. It consumes no Secret.
func staleWeb() State {
	s := onePod(rotated("web-a", "v2", at(time.Hour)))
	s.Pods = append(s.Pods, firstMount("web-b"))
	s.Workload.Replicas = 2
	return s
}

// older is a pod of an older revision.
func older(name string) Pod {
	p := firstMount(name)
	p.Current = false
	return p
}

// outcome is the part of a Decision that a check determines.
type outcome struct {
	Action Action
	Reason Reason
	After  time.Duration
}

func outcomeOf(d Decision) outcome { return outcome{d.Action, d.Reason, d.After} }

var now = at(2 * time.Hour)

// decideAfter decides, and again after a while in which nothing happens.
func decideAfter(while time.Duration, s State, o Options) Decision {
	s.Memory = Decide(now.Add(-while), s, o).Memory
	return Decide(now, s, o)
}

func TestDecideChecksInOrder(t *testing.T) {
	type input = func(*State, *Options)
	nothing := func(*State, *Options) {}
	fresh := func(s *State, _ *Options) { s.Pods = []Pod{firstMount("web-a"), firstMount("web-b")} }
	unavailable := func(s *State, _ *Options) { s.Workload.Complete = false }
	incomplete := func(s *State, _ *Options) {
		s.Workload.Complete = false
		s.Pods = append(s.Pods, older("web-old"))
	}
	all := func(inputs ...input) input {
		return func(s *State, o *Options) {
			for _, in := range inputs {
				in(s, o)
			}
		}
	}
	deletingInput := func(s *State, _ *Options) { s.Workload.Deleting = true }
	unobserved := func(s *State, _ *Options) { s.Workload.ObservedGeneration-- }
	zero := func(s *State, _ *Options) { s.Workload.Replicas = 0 }
	fixed := func(s *State, _ *Options) { s.Workload.Fixed, s.Workload.Kind = true, "Pod" }
	never := func(s *State, _ *Options) { s.Workload.Never = true }
	pausedInput := func(s *State, _ *Options) { s.Workload.Paused = true }
	onDeleteInput := func(s *State, _ *Options) { s.Workload.OnDelete = true }
	below := func(s *State, _ *Options) { s.Workload.Partition = 1 }
	recent := func(s *State, o *Options) { s.Workload.Rolled, o.MinInterval = now.Add(-time.Minute), 3*time.Minute }
	crowded := func(s *State, o *Options) { s.Underway = o.MaxParallel }
	gone := func(s *State, _ *Options) { s.Workload.Stamp = "aa-2" }
	fought := func(s *State, _ *Options) {
		s.Patched, s.Memory.undone = "aa-2", undone{"aa-2", 2, now.Add(-3 * time.Second)}
	}

	tests := map[string]struct {
		given input
		while time.Duration // 3 s where 0
		want  outcome
	}{
		"a stale pod rolls its workload":                  {nothing, 0, outcome{Roll, ContentChanged, 0}},
		"what comes together is gathered first":           {nothing, time.Second, outcome{Wait, Gathering, time.Second}},
		"nobody stale":                                    {fresh, 0, outcome{None, UpToDate, 0}},
		"being deleted comes before everything":           {all(deletingInput, unobserved), 0, outcome{None, Deleting, 0}},
		"an unobserved generation hides which pods count": {all(unobserved, zero), 0, outcome{Wait, NotObserved, observeWait}},
		"a bare pod has no generation to observe":         {all(fixed, unobserved), 0, outcome{None, NotRestartable, 0}},
		"scaled to zero comes before its last pods":       {zero, 0, outcome{None, ScaledToZero, 0}},
		"a bare pod counts no replicas":                   {all(fixed, zero, never), 0, outcome{None, NotRestartable, 0}},
		"a fresh bare pod":                                {all(fixed, fresh), 0, outcome{None, UpToDate, 0}},
		"a bare pod with a stamp that nobody wrote":       {all(fixed, gone), 0, outcome{None, NotRestartable, 0}},
		"restart never comes before paused":               {all(never, pausedInput), 0, outcome{None, RestartNever, 0}},
		"paused comes before the strategy":                {all(pausedInput, onDeleteInput), 0, outcome{None, Paused, 0}},
		"OnDelete comes before the partition":             {all(onDeleteInput, below), 0, outcome{None, OnDelete, 0}},
		"only pods below the partition are stale":         {all(below, recent), 0, outcome{None, BelowPartition, 0}},
		"a stuck rollout comes before the interval":       {all(incomplete, recent), 10 * time.Minute, outcome{None, RolloutStuck, 0}},
		"a pod that is not available holds nothing back":  {unavailable, time.Hour, outcome{Roll, ContentChanged, 0}},
		"nor do pods below the partition, which no rollout replaces": {all(incomplete, below, func(s *State, _ *Options) {
			s.Pods[0].Ordinal = 1
		}), time.Hour, outcome{Roll, ContentChanged, 0}},
		"a rollout that does not move is not yet stuck":                    {incomplete, 10*time.Minute - time.Second, outcome{Roll, ContentChanged, 0}},
		"a rollout is never stuck without a limit":                         {all(incomplete, func(_ *State, o *Options) { o.StuckAfter = 0 }), time.Hour, outcome{Roll, ContentChanged, 0}},
		"a recent rollout comes before settling":                           {recent, time.Second, outcome{Wait, RolledRecently, 2 * time.Minute}},
		"a rollout in the future waits no longer than due":                 {all(recent, func(s *State, _ *Options) { s.Workload.Rolled = now.Add(time.Hour) }), 0, outcome{Wait, RolledRecently, 3 * time.Minute}},
		"an interval that has just passed":                                 {all(recent, func(s *State, _ *Options) { s.Workload.Rolled = now.Add(-3*time.Minute - 3*time.Second) }), 0, outcome{Roll, ContentChanged, 0}},
		"a recent rollout comes before those that were undone":             {all(recent, fought), time.Second, outcome{Wait, RolledRecently, 2 * time.Minute}},
		"rollouts that were undone come before settling":                   {fought, time.Second, outcome{Wait, RolloutUndone, 57 * time.Second}},
		"settling comes before pacing":                                     {crowded, time.Second, outcome{Wait, Gathering, time.Second}},
		"too many rollouts are under way":                                  {crowded, 0, outcome{Wait, TooManyRollouts, placeWait}},
		"one place is left":                                                {all(crowded, func(s *State, _ *Options) { s.Underway-- }), 0, outcome{Roll, ContentChanged, 0}},
		"no limit on rollouts":                                             {func(s *State, o *Options) { s.Underway, o.MaxParallel = 1000, 0 }, 0, outcome{Roll, ContentChanged, 0}},
		"pods with another stamp than the template's are on their way out": {gone, 0, outcome{None, NoPods, 0}},
		"pods of older revisions are on their way out": {func(s *State, _ *Options) {
			s.Pods[0].Current = false
		}, 0, outcome{None, UpToDate, 0}},
		"nothing stale, and one pod not available": {all(fresh, unavailable), time.Hour, outcome{None, UpToDate, 0}},
		"nothing stale, but the rollout is stuck":  {all(fresh, incomplete), 10 * time.Minute, outcome{None, RolloutStuck, 0}},
		"pods that have not started": {all(fresh, func(s *State, _ *Options) {
			s.Pods[1].Started = time.Time{}
		}), 0, outcome{None, Starting, 0}},
		"one pod above the partition is stale too": {all(below, func(s *State, _ *Options) {
			s.Pods[0].Ordinal = 1
		}), 0, outcome{Roll, ContentChanged, 0}},
		"what cannot be told is told": {all(fresh, func(s *State, _ *Options) {
			s.Pods[1].Mounts[0].Status = nil
		}), 0, outcome{None, StatusMissing, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, o := staleWeb(), defaults()
			tt.given(&s, &o)
			if tt.while == 0 {
				tt.while = 3 * time.Second
			}
			d := decideAfter(tt.while, s, o)
			if diff := cmp.Diff(tt.want, outcomeOf(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Message, diff)
			}
			if d.Message == "" {
				t.Error("says nothing to people")
			}
		})
	}
}

// TestDecideDoesNotFightWhoeverUndoesRollouts shows a stale workload, whose template
// bears the stamp that each step tells, to one process.
func TestDecideDoesNotFightWhoeverUndoesRollouts(t *testing.T) {
	type step struct {
		after          time.Duration
		patched, stamp string
		ended          bool // all pods are of that stamp, and the rollout is complete
	}
	const soon = 3 * time.Second // more than it takes to gather
	undone := func(n int) (steps []step) {
		for i := range n {
			steps = append(steps, step{soon, fmt.Sprint("aa-", i+1), "", false})
		}
		return steps
	}
	tests := map[string]struct {
		steps []step
		want  outcome // of one look more
	}{
		"nothing was rolled":                      {undone(0), outcome{Roll, ContentChanged, 0}},
		"once is no fight":                        {undone(1), outcome{Roll, ContentChanged, 0}},
		"twice waits a minute":                    {undone(2), outcome{Wait, RolloutUndone, time.Minute - soon}},
		"thrice waits two":                        {undone(3), outcome{Wait, RolloutUndone, 2*time.Minute - soon}},
		"six times waits sixteen":                 {undone(6), outcome{Wait, RolloutUndone, 16*time.Minute - soon}},
		"seven times waits half an hour":          {undone(7), outcome{Wait, RolloutUndone, 30*time.Minute - soon}},
		"hundred times waits half an hour":        {undone(100), outcome{Wait, RolloutUndone, 30*time.Minute - soon}},
		"looks between count nothing":             {append(undone(2), step{soon, "aa-2", "", false}, step{soon, "aa-2", "", false}), outcome{Wait, RolloutUndone, time.Minute - 3*soon}},
		"the wait is not over yet":                {append(undone(2), step{time.Minute - soon - time.Second, "aa-2", "", false}), outcome{Wait, RolloutUndone, time.Second}},
		"the wait is over":                        {append(undone(2), step{time.Minute - soon, "aa-2", "", false}), outcome{Roll, ContentChanged, 0}},
		"an older stamp of ours is put back":      {[]step{{soon, "aa-2", "aa-1", false}, {soon, "aa-3", "aa-1", false}}, outcome{Wait, RolloutUndone, time.Minute - soon}},
		"two rotations, one soon after the other": {append(undone(1), step{soon, "aa-2", "aa-2", false}, step{soon, "aa-3", "aa-3", false}, step{soon, "aa-3", "", false}), outcome{Wait, RolloutUndone, time.Minute - soon}},
		"one that ended in between":               {append(undone(1), step{soon, "aa-2", "aa-2", true}, step{soon, "aa-3", "", false}), outcome{Roll, ContentChanged, 0}},
		"one that ended and is undone later":      {append(undone(1), step{soon, "aa-2", "aa-2", true}, step{soon, "aa-2", "", false}, step{soon, "aa-3", "", false}), outcome{Roll, ContentChanged, 0}},
		"one that ended after it was put back":    {append(undone(2), step{soon, "aa-2", "aa-2", true}, step{soon, "aa-3", "", false}), outcome{Roll, ContentChanged, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, o, when := staleWeb(), defaults(), now
			s.Memory = Decide(when, s, o).Memory
			look := func(step step) (d Decision) {
				when = when.Add(step.after)
				s.Patched, s.Workload.Stamp, s.Workload.Complete = step.patched, step.stamp, step.ended
				for i := range s.Pods {
					s.Pods[i].Stamp = ""
					if step.ended || step.stamp != step.patched { // else they are older
						s.Pods[i].Stamp = step.stamp
					}
				}
				d = Decide(when, s, o)
				s.Memory = d.Memory
				return d
			}
			last := step{}
			for _, last = range tt.steps {
				look(last)
			}
			last.after = soon
			if diff := cmp.Diff(tt.want, outcomeOf(look(last))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhoUndoesRolloutsIsNamed(t *testing.T) {
	const lacks = "the content of keyroll-7c1e changed after the start of web-a; the last 2 rollouts were undone before their end: "
	for writer, want := range map[string]string{
		"":              lacks + "what writes the pod template has to leave its annotation keyroll.dev/content alone",
		"shop-operator": lacks + "what writes the pod template (shop-operator does) has to leave its annotation keyroll.dev/content alone",
	} {
		s := staleWeb()
		s.Patched, s.Writer, s.Memory.undone = "aa-2", writer, undone{"aa-2", 2, now}
		if d := Decide(now, s, defaults()); d.Message != want {
			t.Errorf("Message = %q, want %q", d.Message, want)
		}
	}
}

// TestPodsLeftOnOlderRevisions has a stale pod, db-0, that the workload's
// controller keeps on an older revision. No rollout is for it; people are told.
func TestPodsLeftOnOlderRevisions(t *testing.T) {
	type change = func(*State)
	below := func(s *State) { s.Workload.Partition = 1 }
	byHand := func(s *State) { s.Workload.OnDelete = true }
	incomplete := func(s *State) {
		s.Workload.Complete = false
		other := older("db-2")
		other.Ordinal = 2
		s.Pods = append(s.Pods, other)
	}
	bySecret := func(started string) change { // alone, as far as is remembered
		return func(s *State) {
			s.Pods[0].Mounts, s.Pods[1].Mounts = nil, nil
			s.Secrets = map[string]Secret{env: {Digest: "B", Trigger: true}}
			s.Baseline.Secrets = map[string]SecretBaseline{env: {Digest: "B", Since: at(time.Minute)}}
			s.Baseline.Stamp, s.Pods[1].Stamp, s.Workload.Stamp = "aa-2", "aa-2", "aa-2"
			s.Memory = Memory{pods: map[types.UID]held{s.Pods[0].UID: {started: s.Pods[0].Started, secrets: map[string]string{env: started}}}}
		}
	}
	onOther := func(s *State) { s.Pods[1] = rotated("db-1", "v2", at(90*time.Minute)); s.Pods[1].Ordinal = 1 }
	tests := map[string]struct {
		given   change
		want    outcome
		counts  Counts
		rotated time.Time
	}{
		"on its way out":                          {func(*State) {}, outcome{None, UpToDate, 0}, Counts{Fresh: 1, Older: 1}, time.Time{}},
		"below the partition":                     {below, outcome{None, BelowPartition, 0}, Counts{Fresh: 1, Stale: 1, Older: 1}, at(time.Hour)},
		"below the partition, and not stale":      {both(below, func(s *State) { s.Pods[0].Mounts = firstMount("db-0").Mounts }), outcome{None, UpToDate, 0}, Counts{Fresh: 1, Older: 1}, time.Time{}},
		"below the partition, the only one":       {both(below, func(s *State) { s.Pods = s.Pods[:1] }), outcome{None, BelowPartition, 0}, Counts{Stale: 1, Older: 1}, at(time.Hour)},
		"below the partition, by its Secret":      {both(below, bySecret("A")), outcome{None, BelowPartition, 0}, Counts{Fresh: 1, Stale: 1, Older: 1}, time.Time{}},
		"below the partition, not to be told":     {both(below, bySecret("")), outcome{None, UpToDate, 0}, Counts{Fresh: 1, Older: 1}, time.Time{}},
		"strategy OnDelete":                       {byHand, outcome{None, OnDelete, 0}, Counts{Fresh: 1, Stale: 1, Older: 1}, at(time.Hour)},
		"strategy OnDelete is never stuck":        {both(byHand, incomplete), outcome{None, OnDelete, 0}, Counts{Fresh: 1, Stale: 1, Older: 2}, at(time.Hour)},
		"below the partition, the rollout stuck":  {both(below, incomplete), outcome{None, RolloutStuck, 0}, Counts{Fresh: 1, Stale: 1, Older: 2}, at(time.Hour)},
		"below the partition, others cannot tell": {both(below, func(s *State) { s.Pods[1].Mounts[0].Status = nil }), outcome{None, StatusMissing, 0}, Counts{Unknown: 1, Stale: 1, Older: 1}, at(time.Hour)},
		"below the partition, another is stale":   {both(below, onOther), outcome{Roll, ContentChanged, 0}, Counts{Stale: 2, Older: 1}, at(90 * time.Minute)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(rotated("db-0", "v2", at(time.Hour)))
			s.Pods = append(s.Pods, firstMount("db-1"))
			s.Workload.Kind, s.Pods[0].Current, s.Pods[1].Ordinal = "StatefulSet", false, 1
			tt.given(&s)
			d := decideAfter(10*time.Minute, s, defaults())
			if diff := cmp.Diff(tt.want, outcomeOf(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Message, diff)
			}
			if diff := cmp.Diff(tt.counts, d.Counts); diff != "" {
				t.Errorf("Counts (-want +got):\n%s", diff)
			}
			if !d.Rotated.Equal(tt.rotated) {
				t.Errorf("Rotated = %v, want %v", d.Rotated, tt.rotated)
			}
		})
	}
}

func TestDecideRoll(t *testing.T) {
	s := staleWeb()
	s.Pods[1] = firstMount("web-b")
	s.Classes = map[string]Class{class: {Vault: "shop-kv"}}
	s.Baseline = ranOn("v1", at(time.Minute))
	d := decideAfter(3*time.Second, s, defaults())

	if want := "keyroll: secret/db-password changed in vault shop-kv (v1 -> v2)"; d.Cause != want {
		t.Errorf("Cause = %q, want %q", d.Cause, want)
	}
	if want := "the content of keyroll-7c1e changed after the start of web-a"; d.Message != want {
		t.Errorf("Message = %q, want %q", d.Message, want)
	}
	if !strings.HasSuffix(d.Stamp, "-3") || len(d.Stamp) != 2*halfPrint+2 {
		t.Errorf("Stamp = %q, want a fingerprint and the generation 3", d.Stamp)
	}
	if diff := cmp.Diff(Counts{Fresh: 1, Stale: 1}, d.Counts); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
	if !d.Rotated.Equal(at(time.Hour)) {
		t.Errorf("Rotated = %v, want the time of the change", d.Rotated)
	}
	if d.Underway || d.Done || d.Stuck {
		t.Errorf("Underway, Done, Stuck = %v, %v, %v, want none under way yet", d.Underway, d.Done, d.Stuck)
	}
	want := Baseline{Stamp: d.Stamp, Classes: map[string]ClassBaseline{class: newClassBaseline(versions("v2"), now)}}
	if !want.Same(d.Baseline) {
		t.Errorf("Baseline = %+v, want %+v", d.Baseline, want)
	}
}

func TestRotatedIsTheEarliestChange(t *testing.T) {
	s := onePod(rotated("web-a", "v2", at(time.Hour)))
	s.Pods = append(s.Pods, rotated("web-b", "v2", at(30*time.Minute)), rotated("web-c", "v2", at(50*time.Minute)))
	if d := Decide(now, s, defaults()); !d.Rotated.Equal(at(30 * time.Minute)) {
		t.Errorf("Rotated = %v, want the earliest status", d.Rotated)
	}
	s.Pods[0].Ordinal, s.Pods[2].Ordinal, s.Workload.Partition = 1, 1, 1
	if d := Decide(now, s, defaults()); !d.Rotated.Equal(at(30 * time.Minute)) {
		t.Errorf("Rotated = %v, want that of the pod below the partition", d.Rotated)
	}
	s.Secrets = map[string]Secret{env: {Digest: "B", Since: at(20 * time.Minute), Trigger: true}}
	s.Baseline.Secrets = map[string]SecretBaseline{env: {Digest: "A", Since: at(time.Minute)}}
	if d := Decide(now, s, defaults()); !d.Rotated.Equal(at(20 * time.Minute)) {
		t.Errorf("Rotated = %v, want that of the Secret", d.Rotated)
	}
}

func TestDecideFollowsARollout(t *testing.T) {
	tests := map[string]struct {
		change                func(*State)
		while                 time.Duration
		underway, done, stuck bool
		after                 time.Duration
	}{
		"complete":                    {func(s *State) {}, time.Minute, false, true, false, 0},
		"not complete":                {func(s *State) { s.Workload.Complete = false }, time.Minute, true, false, false, 9 * time.Minute},
		"stuck":                       {func(s *State) { s.Workload.Complete = false }, 10 * time.Minute, false, false, true, 0},
		"paused":                      {func(s *State) { s.Workload.Complete, s.Workload.Paused = false, true }, time.Minute, false, false, false, 0},
		"deleted by hand, one by one": {func(s *State) { s.Workload.Complete, s.Workload.OnDelete = false, true }, 10 * time.Minute, false, false, false, 0},
		"deleted":                     {func(s *State) { s.Workload.Complete, s.Workload.Deleting = false, true }, time.Minute, false, false, false, 0},
		"scaled to zero":              {func(s *State) { s.Workload.Complete, s.Workload.Replicas = false, 0 }, time.Minute, false, false, false, 0},
		"never rolled by us":          {func(s *State) { s.Workload.Complete, s.Workload.Rolled = false, time.Time{} }, time.Minute, false, false, false, 0},
		"the stamp taken away":        {func(s *State) { s.Workload.Complete, s.Workload.Stamp, s.Pods[0].Stamp = false, "", "" }, time.Minute, false, false, false, 0},
		"complete, but none of us":    {func(s *State) { s.Workload.Stamp, s.Pods[0].Stamp = "", "" }, time.Minute, false, false, false, 0},
		"complete, but stale again":   {func(s *State) { s.Pods[0].Mounts = rotated("web", "v2", at(time.Hour)).Mounts; s.Workload.Never = true }, time.Minute, false, false, false, 0},
		"complete, but crashing":      {func(s *State) { s.Pods[0].Started = time.Time{} }, time.Minute, false, false, false, 0},
		"complete, without pods":      {func(s *State) { s.Pods = nil }, time.Minute, false, false, false, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web"))
			s.Workload.Stamp, s.Pods[0].Stamp, s.Workload.Rolled = "aa-2", "aa-2", t0
			tt.change(&s)
			d := decideAfter(tt.while, s, defaults())
			if d.Underway != tt.underway || d.Done != tt.done || d.Stuck != tt.stuck || d.After != tt.after {
				t.Errorf("Underway, Done, Stuck, After = %v, %v, %v, %v, want %v, %v, %v, %v",
					d.Underway, d.Done, d.Stuck, d.After, tt.underway, tt.done, tt.stuck, tt.after)
			}
		})
	}
}

func TestPodsThatARolloutSparedAreNotRolledAgain(t *testing.T) {
	tests := map[string]struct {
		change func(*State)
		want   outcome
	}{
		"given the stamp in place":    {func(*State) {}, outcome{None, NotReplaced, 0}},
		"its start is not remembered": {func(s *State) { s.Memory = Memory{} }, outcome{None, NotReplaced, 0}},
		"the record of the roll was lost": {func(s *State) {
			s.Memory, s.Baseline = Memory{}, Baseline{}
		}, outcome{None, NotReplaced, 0}},
		"replaced, and stale again": {func(s *State) { s.Pods[0].Created = s.Workload.Rolled }, outcome{Wait, Gathering, defaults().Settle}},
		"one of them was replaced": {func(s *State) {
			p := s.Pods[0]
			p.UID, p.Created = "other", s.Workload.Rolled
			p.Mounts = []Mount{{Class: class, Status: &Status{Generation: 2, Created: p.Created, Changed: now.Add(-time.Minute), Owner: p.UID, Versions: versions("v3")}}}
			p.Started = p.Created
			s.Pods = append(s.Pods, p)
		}, outcome{Wait, Gathering, defaults().Settle}},
		"an undo brought an older stamp back": {func(s *State) {
			s.Workload.Stamp, s.Pods[0].Stamp = "aa-1", "aa-1"
		}, outcome{Wait, Gathering, defaults().Settle}},
		"an undo brought an older stamp back, after one that brought back none": {func(s *State) {
			s.Workload.Stamp, s.Pods[0].Stamp = "aa-1", "aa-1"
			s.Baseline.Stamp, s.Baseline.Newest = "", s.Baseline.Stamp
		}, outcome{Wait, Gathering, defaults().Settle}},
		"the record of the roll was lost, and a Secret is away": {func(s *State) {
			s.Memory, s.Baseline = Memory{}, Baseline{Stamp: "aa-1", Classes: s.Baseline.Classes}
			s.Secrets = map[string]Secret{env: {Env: true}}
		}, outcome{None, NotReplaced, 0}},
		"of a kind that replaces pods": {func(s *State) { s.Workload.InPlace = false }, outcome{Wait, Gathering, defaults().Settle}},
		"its containers were started since": {func(s *State) {
			s.Pods[0].Started = now.Add(-time.Minute)
			s.Memory = Memory{}
		}, outcome{None, UpToDate, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web"))
			s.Workload.InPlace, s.Workload.Kind = true, "CloneSet"
			s.Memory = Decide(at(59*time.Minute), s, defaults()).Memory
			s.Pods = []Pod{rotated("web", "v2", at(time.Hour))}
			rolls := 0
			for second := range 20 {
				d := Decide(at(time.Hour+time.Duration(second)*time.Second), s, defaults())
				s.Memory, s.Baseline = d.Memory, d.Baseline
				if d.Action == Roll {
					rolls++
					s.Workload.Generation, s.Workload.ObservedGeneration = s.Workload.Generation+1, s.Workload.Generation+1
					s.Workload.Rolled = at(time.Hour + time.Duration(second)*time.Second)
					s.Workload.Stamp, s.Pods[0].Stamp = d.Stamp, d.Stamp // in place
				}
			}
			if rolls != 1 {
				t.Errorf("%d rolls, want 1", rolls)
			}
			tt.change(&s)
			for _, which := range []string{"first", "second"} {
				d := Decide(now, s, defaults())
				if diff := cmp.Diff(tt.want, outcomeOf(d)); diff != "" {
					t.Errorf("%s look: %s (-want +got):\n%s", which, d.Message, diff)
				}
				s.Memory, s.Baseline = d.Memory, d.Baseline
			}
		})
	}
}

// TestALimitlessRolloutIsNotWatched: it is never stuck, so there is no time to come back at.
func TestALimitlessRolloutIsNotWatched(t *testing.T) {
	s, o := onePod(firstMount("web")), defaults()
	s.Workload.Stamp, s.Pods[0].Stamp, s.Workload.Rolled, s.Workload.Complete = "aa-2", "aa-2", t0, false
	o.StuckAfter = 0
	if d := decideAfter(time.Hour, s, o); !d.Underway || d.After != 0 {
		t.Errorf("Underway, After = %v, %v, want a rollout that is left to its controller", d.Underway, d.After)
	}
}

// TestARolloutEndsOnce: what becomes of the pods later is not ours any more.
func TestARolloutEndsOnce(t *testing.T) {
	unavailable := func(s *State) { s.Workload.Complete = false }
	tests := map[string]struct {
		before func(*State) // at the look before, nil for none: another process looked then
		given  func(*State)
		want   bool
	}{
		"a pod fails after the end": {func(*State) {}, unavailable, false},
		"a user's rollout after the end": {func(*State) {}, func(s *State) {
			unavailable(s)
			s.Pods = append(s.Pods, older("web-old"))
		}, false},
		"a pod failed after an end of which the record tells": {nil, func(s *State) {
			unavailable(s)
			s.Baseline = Baseline{Stamp: "aa-2", Confirmed: t0, Classes: map[string]ClassBaseline{class: newClassBaseline(versions("v1"), t0)}}
		}, false},
		"the record is not confirmed": {nil, func(s *State) {
			unavailable(s)
			s.Baseline = Baseline{Stamp: "aa-2", Classes: map[string]ClassBaseline{class: newClassBaseline(versions("v1"), t0)}}
		}, true},
		"the record is of the rollout before": {nil, func(s *State) {
			unavailable(s)
			s.Baseline = Baseline{Stamp: "aa-1", Confirmed: t0, Classes: map[string]ClassBaseline{class: newClassBaseline(versions("v1"), t0)}}
		}, true},
		"nothing tells of an end": {nil, unavailable, true},
		"all run and are recorded, but are not available": {unavailable, func(s *State) {
			unavailable(s)
			s.Baseline = Baseline{Stamp: "aa-2", Confirmed: t0, Classes: map[string]ClassBaseline{class: newClassBaseline(versions("v1"), t0)}}
		}, true},
		"another rollout of ours": {func(*State) {}, func(s *State) {
			unavailable(s)
			s.Workload.Stamp, s.Pods[0].Stamp = "bb-3", "bb-3"
		}, true},
		"complete by a status of before, none but a pod below the partition stays": {func(s *State) {
			s.Workload.Partition, s.Pods[0].Stamp = 1, "aa-1"
			s.Pods = append(s.Pods, older("web-1"))
			s.Pods[1].Ordinal = 1
		}, unavailable, true},
		"complete by a status of before, no pod of the newest stamp there": {func(s *State) { s.Pods[0].Stamp = "aa-1" }, unavailable, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			look := func(at time.Time, m Memory, change func(*State)) Decision {
				s := onePod(firstMount("web"))
				s.Workload.Stamp, s.Pods[0].Stamp, s.Workload.Rolled, s.Memory = "aa-2", "aa-2", t0, m
				change(&s)
				return Decide(at, s, defaults())
			}
			var m Memory
			if tt.before != nil {
				m = look(now.Add(-time.Minute), m, tt.before).Memory
			}
			d := look(now, m, tt.given)
			if d.Underway != tt.want {
				t.Errorf("Underway = %v, want %v", d.Underway, tt.want)
			}
			if again := look(now.Add(10*time.Minute), d.Memory, tt.given); again.Stuck != (tt.want || again.Counts.Older > 0) {
				t.Errorf("Stuck = %v 10 minutes later", again.Stuck)
			}
		})
	}
}

// TestARolloutEndsBelowAPartition that was raised above every pod of a StatefulSet:
// none of the newest revision is left then.
func TestARolloutEndsBelowAPartition(t *testing.T) {
	s := onePod(older("db-0"))
	s.Workload.Stamp, s.Workload.Rolled, s.Workload.Partition = "aa-2", t0, 1
	s.Memory = Decide(now.Add(-time.Minute), s, defaults()).Memory
	s.Workload.Complete = false
	if d := Decide(now, s, defaults()); d.Underway {
		t.Error("an edit takes a place again, though the rollout has ended")
	}
}

// TestNotEveryWorkloadRolls: nothing is measured where nothing is to move by itself.
func TestNotEveryWorkloadRolls(t *testing.T) {
	tests := map[string]struct {
		change func(*State)
		want   Reason
	}{
		"a bare pod": {func(s *State) { s.Workload.Fixed = true }, NotRestartable},
		"a bare pod of which nothing is known": {func(s *State) {
			s.Workload.Fixed, s.Pods[0].Mounts[0].Status = true, nil
		}, StatusMissing},
		"a pause with an edit pending": {func(s *State) { s.Workload.Paused = true }, Paused},
		"OnDelete":                     {func(s *State) { s.Workload.OnDelete = true }, OnDelete},
		"being deleted":                {func(s *State) { s.Workload.Deleting = true }, Deleting},
		"scaled to zero":               {func(s *State) { s.Workload.Replicas = 0 }, ScaledToZero},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := staleWeb()
			s.Workload.Complete = false
			s.Pods = append(s.Pods[:1], older("web-old"))
			tt.change(&s)
			if d := decideAfter(time.Hour, s, defaults()); d.Stuck || d.Underway || d.Reason != tt.want {
				t.Errorf("Stuck, Underway, Reason = %v, %v, %s, want %s alone", d.Stuck, d.Underway, d.Reason, tt.want)
			}
		})
	}
}

// TestCrashingIsNoProgress: containers that start and die, again and again, do
// not move a rollout.
func TestCrashingIsNoProgress(t *testing.T) {
	s := onePod(firstMount("web-a"))
	s.Pods = append(s.Pods, firstMount("web-b"), older("web-old"))
	s.Workload.Stamp, s.Workload.Rolled, s.Workload.Complete = "aa-2", t0, false
	s.Pods[0].Stamp, s.Pods[1].Stamp = "aa-2", "aa-2"
	started := s.Pods[1].Started
	var d Decision
	for minute := range 12 {
		s.Pods[1].Started = time.Time{}
		if minute%2 == 0 {
			s.Pods[1].Started = started.Add(time.Duration(minute) * time.Minute)
		}
		d = Decide(now.Add(time.Duration(minute)*time.Minute), s, defaults())
		s.Memory = d.Memory
	}
	if !d.Stuck || d.Underway {
		t.Errorf("Stuck, Underway = %v, %v after 11 minutes of crashes, want a place that is free", d.Stuck, d.Underway)
	}
}

func TestProgressEndsBeingStuck(t *testing.T) {
	moves := map[string]func(*State){
		"another pod started":        func(s *State) { s.Pods = append(s.Pods, firstMount("web-c")) },
		"an old pod went":            func(s *State) { s.Pods = s.Pods[:2] },
		"the template changed again": func(s *State) { s.Workload.Revision = "web-3" },
		"it was stamped again":       func(s *State) { s.Workload.Stamp, s.Pods[0].Stamp = "bb-3", "bb-3" },
		"the rollout completed":      func(s *State) { s.Workload.Complete = true },
	}
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web-a"))
			s.Workload.Complete = false
			s.Pods = append(s.Pods, older("web-b"), older("web-d"))
			s.Memory = Decide(now.Add(-10*time.Minute), s, defaults()).Memory
			if d := Decide(now, s, defaults()); !d.Stuck {
				t.Fatal("not stuck to begin with")
			}
			move(&s)
			if d := Decide(now, s, defaults()); d.Stuck {
				t.Error("still stuck")
			}
		})
	}
}

// TestScalingIsNoProgress: an autoscaler that scales up and down for ever does
// not keep a rollout's place for it.
func TestScalingIsNoProgress(t *testing.T) {
	s := onePod(firstMount("web-a"))
	s.Pods = append(s.Pods, older("web-old"))
	s.Workload.Stamp, s.Workload.Rolled, s.Workload.Complete = "aa-2", t0, false
	s.Pods[0].Stamp = "aa-2"
	var d Decision
	for minute := range 12 {
		s.Workload.Replicas = int32(2 + minute%2)
		s.Workload.Generation++
		s.Workload.ObservedGeneration++
		d = Decide(now.Add(time.Duration(minute)*time.Minute), s, defaults())
		s.Memory = d.Memory
	}
	if !d.Stuck || d.Underway {
		t.Errorf("Stuck, Underway = %v, %v after 11 minutes of scaling, want a place that is free", d.Stuck, d.Underway)
	}
}

func TestSettlingBeginsAnewWhen(t *testing.T) {
	tests := map[string]struct {
		change func(*State)
		want   Reason
	}{
		"nothing happened": {func(*State) {}, ContentChanged},
		"nobody was stale between": {func(s *State) {
			s.Memory = Decide(now.Add(-2*time.Second), onePod(firstMount("web-a")), defaults()).Memory
		}, Gathering},
		"there is a new stamp": {func(s *State) { s.Workload.Stamp, s.Pods[0].Stamp, s.Pods[1].Stamp = "aa-2", "aa-2", "aa-2" }, Gathering},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := staleWeb()
			s.Memory = Decide(now.Add(-3*time.Second), s, defaults()).Memory
			tt.change(&s)
			if d := Decide(now, s, defaults()); d.Reason != tt.want {
				t.Errorf("Reason = %s, want %s", d.Reason, tt.want)
			}
		})
	}
}

// TestDecideIsTotal throws states at Decide that no cluster has.
func TestDecideIsTotal(t *testing.T) {
	for seed := range uint64(5 * *sequences) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s, o := randomState(rng), randomOptions(rng)
		for range 3 {
			d := Decide(now, s, o)
			switch {
			case d.Action == Wait && d.After <= 0:
				t.Fatalf("seed %d: waits without a time: %+v", seed, d)
			case d.Action == Roll && (d.Stamp == "" || d.Cause == "" || d.After != 0):
				t.Fatalf("seed %d: rolls without a stamp or a cause: %+v", seed, d)
			case d.Reason == "" || d.Message == "":
				t.Fatalf("seed %d: says nothing: %+v", seed, d)
			case len(d.Cause) > maxCause:
				t.Fatalf("seed %d: cause of %d bytes", seed, len(d.Cause))
			}
			if again := Decide(now, s, o); outcomeOf(again) != outcomeOf(d) || again.Stamp != d.Stamp || again.Cause != d.Cause || again.Message != d.Message {
				t.Fatalf("seed %d: answers %+v, then %+v", seed, d, again)
			}
			s.Memory, s.Baseline = d.Memory, d.Baseline
			if rng.IntN(2) == 0 {
				s.Workload.Stamp = d.Stamp
			}
		}
	}
}

func randomTime(rng *rand.Rand) time.Time {
	if rng.IntN(4) == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(rng.Int64N(int64(6*time.Hour)) - int64(3*time.Hour)))
}

func randomWord(rng *rand.Rand, words ...string) string { return words[rng.IntN(len(words))] }

func randomBool(rng *rand.Rand) bool { return rng.IntN(4) == 0 }

func randomVersions(rng *rand.Rand) map[string]string {
	var all map[string]string
	for i := range rng.IntN(4) {
		if all == nil {
			all = map[string]string{}
		}
		all[fmt.Sprintf("secret/s%d", i)] = randomWord(rng, "", "v1", "v2", strings.Repeat("é", 40))
	}
	return all
}

func randomStatus(rng *rand.Rand, uid types.UID) *Status {
	if randomBool(rng) {
		return nil
	}
	return &Status{
		Generation: rng.Int64N(4) - 1, Created: randomTime(rng), Changed: randomTime(rng),
		Owner: types.UID(randomWord(rng, string(uid), string(uid), "")), Target: types.UID(randomWord(rng, string(uid), "")), Versions: randomVersions(rng),
	}
}

func randomState(rng *rand.Rand) State {
	s := State{
		Workload: Workload{
			Generation: rng.Int64N(3), ObservedGeneration: rng.Int64N(3), Fixed: randomBool(rng), Deleting: rng.IntN(9) == 0, Paused: rng.IntN(9) == 0,
			OnDelete: rng.IntN(9) == 0, InPlace: randomBool(rng), Partition: int32(rng.IntN(2)), Replicas: int32(rng.IntN(9)), Never: rng.IntN(9) == 0, Complete: randomBool(rng),
			Stamp: randomWord(rng, "", "aa-1", "nonsense", "-", "x-y"), Rolled: randomTime(rng),
		},
		Driver: Driver(rng.IntN(3)), Underway: rng.IntN(3) - 1,
	}
	for i := range rng.IntN(4) {
		p := Pod{
			Name: fmt.Sprintf("p%d", rng.IntN(3)), UID: types.UID(fmt.Sprintf("u%d", i)), Created: randomTime(rng), Current: !randomBool(rng),
			Finished: randomBool(rng), Ordinal: int32(rng.IntN(3)), Stamp: randomWord(rng, s.Workload.Stamp, s.Workload.Stamp, ""), Started: randomTime(rng),
		}
		for range rng.IntN(3) {
			p.Mounts = append(p.Mounts, Mount{Class: randomWord(rng, "a", "b"), Status: randomStatus(rng, p.UID)})
		}
		s.Pods = append(s.Pods, p)
	}
	for range rng.IntN(3) {
		if s.Classes == nil {
			s.Classes, s.Secrets = map[string]Class{}, map[string]Secret{}
		}
		c := Class{Vault: randomWord(rng, "", "shop-kv"), Synced: map[string][]string{randomWord(rng, "x", "y"): nil, "z": {"secret/s1"}}}
		for range rng.IntN(3) {
			if st := randomStatus(rng, "other"); st != nil {
				c.Feeds = append(c.Feeds, *st)
			}
		}
		s.Classes[randomWord(rng, "a", "b")] = c
		s.Secrets[randomWord(rng, "x", "y", "z")] = Secret{
			Digest: randomWord(rng, "", "d1", "d2"), Since: randomTime(rng), Changed: randomTime(rng), Hidden: randomBool(rng), Env: randomBool(rng), Trigger: !randomBool(rng),
		}
	}
	return s
}

func randomOptions(rng *rand.Rand) Options {
	d := func() time.Duration { return time.Duration(rng.Int64N(int64(10*time.Minute)) - int64(time.Minute)) }
	return Options{Settle: d(), SettleMax: d(), MinInterval: d(), ClockSkew: d(), StuckAfter: d(), MaxParallel: rng.IntN(3) - 1}
}
