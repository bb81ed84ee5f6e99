package rollout

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	class = "keyroll-7c1e"
	db    = "secret/db-password"
	env   = "keyroll-7c1e" // the synced Secret bears the class's name
)

var t0 = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// at is a moment after the pods of these tests were created.
func at(d time.Duration) time.Time { return t0.Add(d) }

func versions(v string) map[string]string { return map[string]string{db: v} }

// firstMount is a pod of the newest revision that runs since 5 s after t0 on
// what its first mount brought.
func firstMount(name string) Pod {
	uid := types.UID("uid-" + name)
	return Pod{
		Name: name, UID: uid, Created: t0, Current: true, Started: at(5 * time.Second),
		Mounts: []Mount{{Class: class, Status: &Status{
			Generation: 1, Created: at(2 * time.Second), Changed: at(2 * time.Second), Owner: uid, Target: uid, Versions: versions("v1"),
		}}},
	}
}

// rotated is firstMount after the driver has changed its status.
func rotated(name, version string, changed time.Time) Pod {
	p := firstMount(name)
	st := p.Mounts[0].Status
	st.Generation++
	st.Changed = changed
	st.Versions = versions(version)
	return p
}

func onePod(p Pod) State {
	return State{
		Workload: Workload{UID: "w", Kind: "Deployment", Namespace: "shop", Name: "web", Generation: 3, ObservedGeneration: 3, Replicas: 1, Complete: true},
		Pods:     []Pod{p},
	}
}

func defaults() Options {
	return Options{
		Settle: 2 * time.Second, SettleMax: 4 * time.Minute, ClockSkew: time.Minute, StuckAfter: 10 * time.Minute, MaxParallel: 10,
	}
}

func ranOn(version string, since time.Time) Baseline {
	return Baseline{Classes: map[string]ClassBaseline{class: newClassBaseline(versions(version), since)}}
}

func TestJudge(t *testing.T) {
	inherited := func(changed time.Time, version string) Pod {
		p := rotated("db-0", version, changed)
		p.Mounts[0].Status.Created = t0.Add(-time.Hour)
		return p
	}
	recreated := func(generation int64, changed time.Time, version string) Pod {
		p := rotated("web", version, changed)
		p.Mounts[0].Status.Created = at(20 * time.Minute)
		p.Mounts[0].Status.Generation = generation
		return p
	}
	twice := func(version string) Pod {
		p := rotated("web", version, at(time.Hour))
		p.Mounts = append(p.Mounts, p.Mounts[0])
		return p
	}
	twiceAtFirst := func(change func(*Pod)) Pod { // both volumes just after their first mounts
		p := rotated("web", "v2", at(3*time.Second))
		p.Mounts = append(p.Mounts, p.Mounts[0])
		change(&p)
		return p
	}
	mixed := func(b Baseline) Baseline {
		c := b.Classes[class]
		c.Mixed = true
		b.Classes[class] = c
		return b
	}
	blind := func(changed time.Time) Pod {
		p := rotated("web", "v2", changed)
		p.Mounts[0].Status.Generation = 0
		return p
	}
	with := func(p Pod, change func(*Pod)) Pod { change(&p); return p }

	tests := map[string]struct {
		pod        Pod
		baseline   Baseline
		stamp      string // of the template, where it differs from the pod's
		want       Freshness
		wantReason Reason
	}{
		"a pod on what its first mount brought is fresh": {
			pod: firstMount("web"), want: Fresh, wantReason: Unchanged,
		},
		"a first mount in the very second of the pod's creation is not inherited": {
			pod: with(firstMount("web"), func(p *Pod) { p.Mounts[0].Status.Created = p.Created }), want: Fresh, wantReason: Unchanged,
		},
		"a first mount that a slow node clock puts after the start by the skew is not re-created": {
			pod: with(firstMount("web"), func(p *Pod) { p.Mounts[0].Status.Created = p.Started.Add(time.Minute) }), want: Fresh, wantReason: Unchanged,
		},
		"content that changed long after the start makes a pod stale": {
			pod: rotated("web", "v2", at(time.Hour)), want: Stale, wantReason: ContentChanged,
		},
		"content that changed before the start by more than the skew is what the containers read": {
			pod: with(rotated("web", "v2", at(time.Hour)), func(p *Pod) { p.Started = at(time.Hour + time.Minute + time.Second) }), want: Fresh, wantReason: StartedSince,
		},
		"content that changed before the start by just the skew may not be what the containers read": {
			pod: with(rotated("web", "v2", at(time.Hour)), func(p *Pod) { p.Started = at(time.Hour + time.Minute) }), want: Stale, wantReason: ContentChanged,
		},
		"content that changed before the start on a clock that may be ahead makes a pod stale": {
			pod: with(rotated("web", "v2", at(time.Hour)), func(p *Pod) { p.Started = at(time.Hour + time.Second) }), want: Stale, wantReason: ContentChanged,
		},
		"an untold time of the change, nothing recorded, is unknown": {
			pod: rotated("web", "v2", time.Time{}), want: Unknown, wantReason: StatusUntold,
		},
		"an untold time of the change is judged by the recorded versions": {
			pod: rotated("web", "v2", time.Time{}), baseline: ranOn("v1", at(time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"content that came back to what was recorded after the start is fresh": {
			pod: rotated("web", "v1", at(time.Hour)), baseline: ranOn("v1", at(10*time.Minute)), want: Fresh, wantReason: SameAgain,
		},
		"content that came back, of a pod that started after the record, is stale: it may have started in between": {
			pod: rotated("web", "v1", at(time.Hour)), baseline: ranOn("v1", at(time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"content that came back, of a pod with another stamp than the record's, is stale": {
			pod:      with(rotated("web", "v1", at(time.Hour)), func(p *Pod) { p.Stamp = "aa-2" }),
			baseline: ranOn("v1", at(10*time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"an inherited status with the recorded versions is fresh": {
			pod: inherited(at(5*time.Second), "v1"), baseline: ranOn("v1", t0.Add(-time.Minute)), want: Fresh, wantReason: SameAgain,
		},
		"an inherited status with other versions than recorded is stale": {
			pod: inherited(at(5*time.Second), "v2"), baseline: ranOn("v1", t0.Add(-time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"an inherited status that changed at the start, nothing recorded, is unknown": {
			pod: inherited(at(5*time.Second), "v2"), want: Unknown, wantReason: StatusInherited,
		},
		"an inherited status that changed after the start by just the skew, nothing recorded, is unknown": {
			pod: inherited(at(65*time.Second), "v2"), want: Unknown, wantReason: StatusInherited,
		},
		"an inherited status that changed long after the start is stale by itself": {
			pod: inherited(at(2*time.Minute), "v2"), want: Stale, wantReason: ContentChanged,
		},
		"an inherited status that changed long before the start is fresh by itself": {
			pod: inherited(at(-2*time.Minute), "v2"), want: Fresh, wantReason: StartedSince,
		},
		"an inherited status of generation 1 is no first mount of this pod's": {
			pod:  with(inherited(at(5*time.Second), "v1"), func(p *Pod) { p.Mounts[0].Status.Generation = 1 }),
			want: Unknown, wantReason: StatusInherited,
		},
		"a record of an older stamp of ours says nothing of an inherited status": {
			pod: with(inherited(at(5*time.Second), "v2"), func(p *Pod) { p.Stamp = "aa-7" }), stamp: "aa-7",
			baseline: ranOn("v1", t0.Add(-time.Minute)), want: Unknown, wantReason: StatusInherited,
		},
		"a re-created status with the recorded versions is fresh": {
			pod: recreated(1, at(20*time.Minute), "v1"), baseline: ranOn("v1", at(time.Minute)), want: Fresh, wantReason: SameAgain,
		},
		"a re-created status with other versions than recorded is stale": {
			pod: recreated(1, at(20*time.Minute), "v2"), baseline: ranOn("v1", at(time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"a re-created status, nothing recorded, is unknown": {
			pod: recreated(1, at(20*time.Minute), "v2"), want: Unknown, wantReason: StatusRecreated,
		},
		"a re-created status that changed again is stale by itself": {
			pod: recreated(2, at(30*time.Minute), "v2"), want: Stale, wantReason: ContentChanged,
		},
		"a re-created status is no riddle once the containers started after it": {
			pod: with(recreated(1, at(20*time.Minute), "v2"), func(p *Pod) { p.Started = at(20 * time.Minute) }), want: Fresh, wantReason: Unchanged,
		},
		"a class mounted twice with the recorded versions is fresh however often its status changes": {
			pod: twice("v1"), baseline: ranOn("v1", at(time.Minute)), want: Fresh, wantReason: SameAgain,
		},
		"a class mounted twice with other versions than recorded is stale": {
			pod: twice("v2"), baseline: ranOn("v1", at(time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"a class mounted twice, nothing recorded, is unknown": {
			pod: twice("v2"), want: Unknown, wantReason: MountedTwice,
		},
		"a class mounted twice, after its two first mounts, is fresh whatever was recorded before": {
			pod: twiceAtFirst(func(*Pod) {}), baseline: ranOn("v1", at(time.Minute)), want: Fresh, wantReason: Unchanged,
		},
		"a class mounted twice whose second mount a slow node clock puts after the start by the skew is fresh": {
			pod: twiceAtFirst(func(p *Pod) { p.Mounts[0].Status.Changed = p.Started.Add(time.Minute) }), want: Fresh, wantReason: Unchanged,
		},
		"a class mounted twice that changed once more than the mounts do is judged by the recorded versions": {
			pod: twiceAtFirst(func(p *Pod) { p.Mounts[0].Status.Generation = 3 }), baseline: ranOn("v1", at(time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"a class mounted twice with an inherited status is judged by the recorded versions": {
			pod:      twiceAtFirst(func(p *Pod) { p.Mounts[0].Status.Created = t0.Add(-time.Second) }),
			baseline: ranOn("v1", at(time.Minute)), want: Stale, wantReason: ContentChanged,
		},
		"a re-created status with the recorded versions is unknown where some pods run on others": {
			pod: recreated(1, at(20*time.Minute), "v1"), baseline: mixed(ranOn("v1", at(time.Second))), want: Unknown, wantReason: StatusRecreated,
		},
		"a re-created status with other versions than recorded is stale also where some pods run on others": {
			pod: recreated(1, at(20*time.Minute), "v2"), baseline: mixed(ranOn("v1", at(time.Second))), want: Stale, wantReason: ContentChanged,
		},
		"a re-created status of a pod that the record speaks of for certain is fresh also where others run on others": {
			pod: recreated(1, at(20*time.Minute), "v1"), baseline: mixed(ranOn("v1", at(10*time.Minute))), want: Fresh, wantReason: SameAgain,
		},
		"a running pod without a status is unknown": {
			pod: with(firstMount("web"), func(p *Pod) { p.Mounts[0].Status = nil }), want: Unknown, wantReason: StatusMissing,
		},
		"a status that another pod of the name still owns is unknown": {
			pod: with(rotated("db-0", "v2", at(time.Hour)), func(p *Pod) { p.Mounts[0].Status.Owner = "other" }), want: Unknown, wantReason: StatusForeign,
		},
		"a status whose target is another pod's is unknown": {
			pod: with(rotated("db-0", "v2", at(time.Hour)), func(p *Pod) { p.Mounts[0].Status.Target = "other" }), want: Unknown, wantReason: StatusForeign,
		},
		"a target that cannot be read does not matter": {
			pod: with(firstMount("db-0"), func(p *Pod) { p.Mounts[0].Status.Target = "" }), want: Fresh, wantReason: Unchanged,
		},
		"a pod none of whose containers runs reads the newest when it starts": {
			pod: with(rotated("web", "v2", at(time.Hour)), func(p *Pod) { p.Started = time.Time{} }), want: Fresh, wantReason: Starting,
		},
		"a finished pod is of no concern": {
			pod: with(rotated("web", "v2", at(time.Hour)), func(p *Pod) { p.Finished = true }), want: Fresh, wantReason: Finished,
		},
		"without generations a status that never changed is fresh": {
			pod: blind(at(2 * time.Second)), want: Fresh, wantReason: Unchanged,
		},
		"without generations a status that changed after the start is stale": {
			pod: blind(at(time.Hour)), want: Stale, wantReason: ContentChanged,
		},
		"without generations or times nothing can be told": {
			pod: blind(time.Time{}), want: Unknown, wantReason: StatusUntold,
		},
		"one stale mount outweighs an unknown one": {
			pod: with(rotated("web", "v2", at(time.Hour)), func(p *Pod) {
				p.Mounts = append([]Mount{{Class: "other"}}, p.Mounts...)
			}), want: Stale, wantReason: ContentChanged,
		},
		"one unknown mount outweighs a fresh one": {
			pod: with(firstMount("web"), func(p *Pod) {
				p.Mounts = append(p.Mounts, Mount{Class: "other"})
			}), want: Unknown, wantReason: StatusMissing,
		},
		"a pod that mounts nothing is fresh": {
			pod: with(firstMount("web"), func(p *Pod) { p.Mounts = nil }), want: Fresh, wantReason: Unchanged,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(tt.pod)
			s.Workload.Stamp = tt.stamp
			s.Baseline = tt.baseline
			got := Judge(at(24*time.Hour), tt.pod, s, defaults())
			if got.Freshness != tt.want || got.Reason != tt.wantReason {
				t.Errorf("Judge() = %v %s, want %v %s", got.Freshness, got.Reason, tt.want, tt.wantReason)
			}
		})
	}
}
