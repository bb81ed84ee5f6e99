package rollout

import (
	"testing"
	"time"
)

// consumer is a pod of a workload that takes env from a Secret and mounts nothing.
func consumer(started time.Time) Pod {
	p := firstMount("web")
	p.Mounts, p.Started = nil, started
	return p
}

// TestJudgeBySecret judges pods that this process sees for the first time, an
// hour after t0, by the Secret's digest, which is B, and the record, which says A.
func TestJudgeBySecret(t *testing.T) {
	changed := at(30 * time.Minute) // the Secret's data, to B
	long := changed.Add(time.Minute + time.Second)
	recorded := func(digest string) Baseline {
		return Baseline{Secrets: map[string]SecretBaseline{env: {Digest: digest, Since: at(10 * time.Minute)}}}
	}
	unsettled := func(digest string) Baseline {
		b := recorded(digest)
		b.Secrets[env] = SecretBaseline{Digest: digest, Since: at(10 * time.Minute), Unsettled: true}
		return b
	}
	// justBefore is a change of the Secret within the skew of the start of the pods that a partition keeps.
	justBefore := func(s *Secret) { s.Since = at(29 * time.Minute) }
	partitioned := Baseline{Secrets: map[string]SecretBaseline{env: {Digest: "B", Since: at(29*time.Minute + 10*time.Second), From: 1}}}
	started := at(29*time.Minute + 30*time.Second)
	since := at(29*time.Minute + 20*time.Second)
	stamped := func(stamp string, p Pod) Pod { p.Stamp = stamp; return p }
	created := func(when time.Time, p Pod) Pod { p.Created = when; return p }

	tests := map[string]struct {
		pod      Pod
		secret   func(*Secret)
		baseline Baseline
		memory   Memory
		want     Verdict
	}{
		"never recorded: first sight": {
			pod: consumer(at(0)), want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded": {
			pod: consumer(at(0)), baseline: recorded("B"), secret: func(s *Secret) { s.Since = at(5 * time.Minute) }, want: Verdict{Fresh, Unchanged, ""},
		},
		"not as recorded, of a pod that started before it changed": {
			pod: consumer(at(0)), baseline: recorded("A"), want: Verdict{Stale, SecretChanged, env},
		},
		"not as recorded, of a pod that started when it changed": {
			pod: consumer(changed), baseline: recorded("A"), want: Verdict{Stale, SecretChanged, env},
		},
		"not as recorded, of a pod that started after it changed by just the skew": {
			pod: consumer(changed.Add(time.Minute)), baseline: recorded("A"), want: Verdict{Stale, SecretChanged, env},
		},
		"not as recorded, of a pod that started after it changed": {
			pod: consumer(long), baseline: recorded("A"), want: Verdict{Fresh, Unchanged, ""},
		},
		"not as recorded, changed unseen": {
			pod: consumer(long), baseline: recorded("A"), secret: func(s *Secret) { s.Since = time.Time{} }, want: Verdict{Stale, SecretChanged, env},
		},
		"not as recorded, changed unseen, but untouched since before the start": {
			pod: consumer(long), baseline: recorded("A"), secret: func(s *Secret) { s.Since, s.Changed = time.Time{}, changed }, want: Verdict{Fresh, Unchanged, ""},
		},
		"not as recorded, but unchanged for as long as this process looks, which is before the start": {
			pod: consumer(long), baseline: recorded("A"), secret: func(s *Secret) { s.Since = time.Time{} }, memory: Memory{start: changed}, want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded, changed unseen": {
			pod: consumer(at(0)), baseline: recorded("B"), secret: func(s *Secret) { s.Since = time.Time{} }, want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded, never seen otherwise since": {
			pod: consumer(changed), baseline: recorded("B"), secret: func(s *Secret) { s.Since = at(10 * time.Minute) }, want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded, but seen otherwise since, of a pod that may have started in between": {
			pod: consumer(changed), baseline: recorded("B"), want: Verdict{Stale, SecretChanged, env},
		},
		"as recorded, of a roll that could not wait": {
			pod: consumer(changed), baseline: unsettled("B"), want: Verdict{Stale, SecretChanged, env},
		},
		"as recorded, of a roll that could not wait, but it has lasted since": {
			pod: consumer(long), baseline: unsettled("B"), want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded, of a stamp that was taken away from a pod made since": {
			pod: created(at(11*time.Minute), consumer(changed)), baseline: Baseline{Stamp: "aa-2", Secrets: recorded("B").Secrets},
			secret: func(s *Secret) { s.Since = time.Time{} }, want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded, of another stamp than that of a pod made before": {
			pod: stamped("00-1", consumer(at(0))), baseline: Baseline{Stamp: "aa-2", Secrets: recorded("B").Secrets},
			secret: func(s *Secret) { s.Since = time.Time{} }, want: Verdict{Stale, SecretChanged, env},
		},
		"as recorded, of an older stamp than that of a pod made since": {
			pod: stamped("00-3", created(at(11*time.Minute), consumer(changed))), baseline: Baseline{Stamp: "aa-2", Secrets: recorded("B").Secrets},
			secret: func(s *Secret) { s.Since = time.Time{} }, want: Verdict{Stale, SecretChanged, env},
		},
		"as recorded at a partition, of a pod below it": {
			pod: consumer(started), baseline: partitioned, secret: justBefore, memory: Memory{start: at(time.Minute)}, want: Verdict{Stale, SecretChanged, env},
		},
		"as recorded at a partition, of a pod below it made since": {
			pod: created(since, consumer(started)), baseline: partitioned, secret: justBefore, memory: Memory{start: at(time.Minute)}, want: Verdict{Fresh, Unchanged, ""},
		},
		"as recorded at a partition, of a pod below it made since, before this process looked": {
			pod: created(since, consumer(started)), baseline: partitioned, secret: justBefore, memory: Memory{start: started}, want: Verdict{Stale, SecretChanged, env},
		},
		"away": {
			pod: consumer(at(0)), baseline: recorded("A"), secret: func(s *Secret) { s.Digest = "" }, want: Verdict{Fresh, Unchanged, ""},
		},
		"hidden": {
			pod: consumer(at(0)), baseline: recorded("A"), secret: func(s *Secret) { s.Hidden = true }, want: Verdict{Fresh, Unchanged, ""},
		},
		"not to trigger": {
			pod: consumer(at(0)), baseline: recorded("A"), secret: func(s *Secret) { s.Trigger = false }, want: Verdict{Fresh, Unchanged, ""},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(tt.pod)
			secret := Secret{Digest: "B", Since: changed, Trigger: true}
			if tt.secret != nil {
				tt.secret(&secret)
			}
			s.Secrets = map[string]Secret{env: secret}
			s.Baseline, s.Memory = tt.baseline, tt.memory
			if got := Judge(at(time.Hour), tt.pod, s, defaults()); got != tt.want {
				t.Errorf("Judge() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMemoryOfAPod(t *testing.T) {
	// rotateThenBack lets a pod's content change and come back, in one process.
	come := func(s *State, p Pod) { s.Pods = []Pod{p} }
	tests := map[string]struct {
		then func(*State)
		want Verdict
	}{
		"content that came back is what the pod started with": {
			func(s *State) { come(s, rotated("web", "v1", at(3*time.Hour))) }, Verdict{Fresh, SameAgain, class},
		},
		"content that is another one is not": {
			func(s *State) { come(s, rotated("web", "v3", at(3*time.Hour))) }, Verdict{Stale, ContentChanged, class},
		},
		"containers that started in between did not start with it": {
			func(s *State) {
				p := rotated("web", "v1", at(3*time.Hour))
				p.Started = at(2*time.Hour + 30*time.Minute)
				come(s, p)
			}, Verdict{Stale, ContentChanged, class},
		},
		"another pod of the name did not start with it": {
			func(s *State) {
				p := rotated("web", "v1", at(3*time.Hour))
				p.UID, p.Mounts[0].Status.Owner, p.Mounts[0].Status.Target = "another", "another", "another"
				come(s, p)
			}, Verdict{Stale, ContentChanged, class},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(firstMount("web"))
			s.Memory = Decide(at(time.Hour), s, defaults()).Memory
			come(&s, rotated("web", "v2", at(2*time.Hour)))
			s.Memory = Decide(at(2*time.Hour), s, defaults()).Memory
			tt.then(&s)
			if got := Judge(at(3*time.Hour), s.Pods[0], s, defaults()); got != tt.want {
				t.Errorf("Judge() = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestContentComesBackAmidAStart has a pod that inherited its status, and whose
// content is what the record says when it is first seen to run.
func TestContentComesBackAmidAStart(t *testing.T) {
	inherits := func(version string) Pod {
		p := rotated("db-0", version, at(5*time.Second))
		p.Mounts[0].Status.Created = t0.Add(-time.Hour)
		return p
	}
	starting := func(version string) Pod {
		p := inherits(version)
		p.Started = time.Time{}
		return p
	}
	foreign, early := starting("v2"), inherits("v2")
	foreign.Mounts[0].Status.Owner = "another"
	early.Started = at(2 * time.Second)
	tests := map[string]struct {
		seen []Pod // before
		want Freshness
	}{
		"nobody saw it before":                                     {nil, Fresh},
		"it was seen with that before it started":                  {[]Pod{starting("v1")}, Fresh},
		"it was seen with something else before it started":        {[]Pod{starting("v2")}, Stale},
		"it was seen with something else, and then with that":      {[]Pod{starting("v2"), starting("v1"), starting("v1")}, Stale},
		"the status was still another pod's":                       {[]Pod{foreign}, Fresh},
		"what was seen before its first start is of no concern":    {[]Pod{starting("v2"), early}, Fresh},
		"it was seen again between its first start and its second": {[]Pod{early, starting("v2")}, Stale},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(inherits("v1"))
			s.Baseline = ranOn("v1", t0.Add(-time.Minute))
			now := s.Pods
			for _, p := range tt.seen {
				s.Pods = []Pod{p}
				s.Memory = Decide(at(10*time.Second), s, defaults()).Memory
			}
			s.Pods = now
			if got := Judge(at(20*time.Second), s.Pods[0], s, defaults()); got.Freshness != tt.want {
				t.Errorf("Judge() = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestSecretComesBack has a pod that is first seen after the Secret changed, and
// then the Secret changes back.
func TestSecretComesBack(t *testing.T) {
	tests := map[string]struct {
		started time.Duration // after the Secret changed
		want    Freshness
	}{
		"a pod that started long before the change has it":    {-2 * time.Minute, Fresh},
		"a pod that started about the change may not have it": {-time.Minute, Stale},
		"a pod that started after the change does not":        {2 * time.Minute, Stale},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(consumer(now.Add(tt.started)))
			s.Baseline.Secrets = map[string]SecretBaseline{env: {Digest: "A", Since: at(time.Minute)}}
			s.Secrets = map[string]Secret{env: {Digest: "B", Since: now, Trigger: true}}
			s.Memory = Decide(now.Add(3*time.Minute), s, defaults()).Memory
			s.Secrets = map[string]Secret{env: {Digest: "A", Since: now.Add(4 * time.Minute), Trigger: true}}
			if got := Judge(now.Add(4*time.Minute), s.Pods[0], s, defaults()); got.Freshness != tt.want {
				t.Errorf("Judge() = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestMemoryOutlivesADependency has a Secret that is not consumed for a moment,
// as while a workload has no pod of its newest revision.
func TestMemoryOutlivesADependency(t *testing.T) {
	s := onePod(firstMount("web"))
	s.Secrets = map[string]Secret{env: {Digest: "A", Trigger: true}}
	s.Memory = Decide(now, s, defaults()).Memory
	away := s
	away.Secrets = nil
	s.Memory = Decide(now.Add(time.Second), away, defaults()).Memory
	s.Secrets = map[string]Secret{env: {Digest: "B", Since: now.Add(2 * time.Second), Trigger: true}}
	if got := Judge(now.Add(2*time.Second), s.Pods[0], s, defaults()); got.Reason != SecretChanged {
		t.Errorf("Judge() = %v, want %s", got, SecretChanged)
	}
}

// TestSecretReturnsToTheRecord has a Secret that holds B when the process starts
// to look, and then A again, which is recorded.
func TestSecretReturnsToTheRecord(t *testing.T) {
	start := at(30 * time.Minute)
	tests := map[string]struct {
		created time.Time
		first   string    // what the Secret holds at first
		before  time.Time // an earlier start of its containers, or none, that the process saw; see seen
		seen    bool
		want    Freshness
	}{
		"a pod from before the process may have started on the record":              {t0, "B", time.Time{}, false, Fresh},
		"a pod made since started on what the record lacks":                         {start.Add(time.Second), "B", time.Time{}, false, Stale},
		"a pod made since started on the record, where the Secret is as it says":    {start.Add(time.Second), "A", time.Time{}, false, Fresh},
		"one that was seen without containers started on what the record lacks":     {t0, "B", time.Time{}, true, Stale},
		"one that was seen with others started on what the record lacks":            {t0, "B", t0, true, Stale},
		"one that was seen with others on the record, where the Secret is the same": {t0, "A", t0, true, Fresh},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := consumer(tt.created.Add(5 * time.Second))
			p.Created = tt.created
			s := onePod(p)
			s.Memory = Memory{start: start}
			s.Baseline = Baseline{Secrets: map[string]SecretBaseline{env: {Digest: "A", Since: at(10 * time.Minute)}}}
			s.Secrets = map[string]Secret{env: {Digest: tt.first, Trigger: true}}
			if tt.seen {
				s.Pods[0].Started = tt.before
				s.Memory = Decide(start.Add(time.Second), s, defaults()).Memory
				s.Pods = []Pod{p}
			}
			s.Memory = Decide(start.Add(10*time.Second), s, defaults()).Memory
			s.Secrets = map[string]Secret{env: {Digest: "A", Since: start.Add(time.Minute), Trigger: true}}
			if got := Judge(start.Add(time.Minute), p, s, defaults()); got.Freshness != tt.want {
				t.Errorf("Judge() = %v %s, want %v", got.Freshness, got.Reason, tt.want)
			}
		})
	}
}
