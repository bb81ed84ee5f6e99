package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSimulationNotices breaks what decisions are made from, in ways that would
// break an invariant, and expects the simulation to say so, on few steps.
func TestSimulationNotices(t *testing.T) {
	tests := map[string]struct {
		simulation simulation
		meddle     func(*State, *Options)
		want       string // of the failure, any of these
	}{
		"rotations that are overlooked": {oneThingAtATime, func(s *State, _ *Options) {
			for _, p := range s.Pods {
				for _, m := range p.Mounts {
					if m.Status != nil {
						m.Status.Generation, m.Status.Changed = 1, m.Status.Created
					}
				}
			}
			s.Secrets = nil
		}, "is said to be up to date"},
		"old pods that pass for new ones": {oneThingAtATime, func(s *State, _ *Options) {
			for i := range s.Pods {
				s.Pods[i].Current, s.Pods[i].Stamp = true, s.Workload.Stamp
			}
		}, "for nothing|rolled 2 times|rolled 3 times"},
		"clocks that are trusted":            {anythingGoes, func(_ *State, o *Options) { o.ClockSkew = 0 }, "is said to be up to date|runs on|for nothing"},
		"a Secret that is not awaited":       {rotationsAndFaults, func(_ *State, o *Options) { o.Settle, o.SettleMax = 0, 0 }, "rolled"},
		"memory and record lost":             {oneThingAtATime, func(s *State, _ *Options) { s.Memory, s.Baseline = Memory{}, Baseline{} }, "rolled"},
		"a pause that is overlooked":         {anythingGoes, func(s *State, _ *Options) { s.Workload.Paused = false }, "although"},
		"an interval that is not kept":       {anythingGoes, func(_ *State, o *Options) { o.MinInterval = 0 }, "rolled again after"},
		"rollouts undone that are forgotten": {anythingGoes, func(s *State, _ *Options) { s.Patched = "" }, "had to undo"},
		"rollouts that are not counted":      {anythingGoes, func(s *State, _ *Options) { s.Underway = 0 }, "beside"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, steps := broken(tt.simulation, tt.meddle)
			if w == nil {
				t.Fatal("is not noticed")
			}
			if !slices.ContainsFunc(strings.Split(tt.want, "|"), func(want string) bool { return strings.Contains(w.failure, want) }) {
				t.Errorf("failure %q, want %q", w.failure, tt.want)
			}
			if len(steps) > 5 || len(w.trace) == 0 {
				t.Errorf("%d steps, traced in %d lines; want few, and a trace", len(steps), len(w.trace))
			}
		})
	}
}

// broken looks for a sequence that fails, and shortens it.
func broken(s simulation, meddle func(*State, *Options)) (*world, []step) {
	for seed := range uint64(500) {
		if play(seed, s.steps(seed), false, s.then, meddle).failure != "" {
			return s.shrunk(seed, meddle)
		}
	}
	return nil, nil
}

func TestShrink(t *testing.T) {
	var steps []step
	for _, kind := range strings.Split("x a x x c x b x a x", " ") {
		steps = append(steps, step{gap: time.Second, kind: kind})
	}
	tries := 0
	got := shrink(steps, func(steps []step) bool { // fails where a comes before b
		tries++
		a := slices.IndexFunc(steps, func(s step) bool { return s.kind == "a" })
		return a >= 0 && slices.ContainsFunc(steps[a:], func(s step) bool { return s.kind == "b" })
	})
	want := []step{{gap: 2 * time.Second, kind: "a"}, {gap: 5 * time.Second, kind: "b"}}
	if !slices.Equal(got, want) {
		t.Errorf("shrink() = %v, want %v: these two, as far apart as they were", got, want)
	}
	if tries > 60 {
		t.Errorf("%d tries for 10 steps", tries)
	}
}
