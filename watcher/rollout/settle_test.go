package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// moment is a change of a State some time after now, followed by a look.
type moment struct {
	after  time.Duration
	change func(*State)
}

// live plays moments, as a watcher does that keeps what Decide returns, and
// returns the last decision. A roll is not carried out.
func live(s State, o Options, moments ...moment) Decision {
	d := Decide(now, s, o)
	for _, m := range moments {
		s.Memory = d.Memory
		if d.Action != Roll {
			s.Baseline = d.Baseline
		}
		m.change(&s)
		d = Decide(now.Add(m.after), s, o)
	}
	return d
}

func looks(times ...time.Duration) []moment {
	var all []moment
	for _, after := range times {
		all = append(all, moment{after, func(*State) {}})
	}
	return all
}

// freshEnv is a Deployment of two pods that take env from a synced Secret,
// and nothing has happened yet.
func freshEnv(driver Driver) State {
	s := onePod(firstMount("web-a"))
	s.Pods = append(s.Pods, firstMount("web-b"))
	s.Workload.Replicas = 2
	s.Driver = driver
	s.Secrets = map[string]Secret{env: {Digest: "A", Env: true, Trigger: true}}
	s.Classes = map[string]Class{class: {Synced: map[string][]string{env: {db}}}}
	feed(&s)
	return s
}

// feed makes the pods' statuses those that feed the Secret.
func feed(s *State) {
	c := s.Classes[class]
	c.Feeds = nil
	for _, p := range s.Pods {
		for _, m := range p.Mounts {
			c.Feeds = append(c.Feeds, *m.Status)
		}
	}
	s.Classes[class] = c
}

// polls lets the driver bring a version to the first n pods.
func polls(n int, version string) func(*State) {
	return func(s *State) {
		s.Pods = append([]Pod(nil), s.Pods...)
		for i := range n {
			s.Pods[i] = rotated(s.Pods[i].Name, version, now.Add(time.Duration(i)*time.Second))
		}
		feed(s)
	}
}

// writes puts data into the Secret, some time after now.
func writes(digest string, after time.Duration) func(*State) {
	return func(s *State) {
		secret := s.Secrets[env]
		secret.Digest, secret.Since = digest, now.Add(after)
		s.Secrets = map[string]Secret{env: secret}
	}
}

// rewrites has somebody write other data into the Secret every second until then.
func rewrites(until time.Duration) []moment {
	var all []moment
	for after := 2 * time.Second; after <= until; after += time.Second {
		all = append(all, moment{after, writes(fmt.Sprint("data ", after), after)})
	}
	return all
}

func both(changes ...func(*State)) func(*State) {
	return func(s *State) {
		for _, change := range changes {
			change(s)
		}
	}
}

// unsyncedObject adds an object to every pod that the Secret does not hold.
func unsyncedObject(version string) func(*State) {
	return func(s *State) {
		s.Pods = append([]Pod(nil), s.Pods...)
		for i, p := range s.Pods {
			p.Mounts = append([]Mount(nil), p.Mounts...)
			st := *p.Mounts[0].Status
			st.Versions = map[string]string{db: "v1", "secret/other": version}
			if version != "v1" {
				st.Generation++
				st.Changed = now
			}
			p.Mounts[0].Status = &st
			s.Pods[i] = p
		}
		feed(s)
	}
}

func alone(s State) State {
	for i := range s.Pods {
		s.Pods[i].Mounts = nil
	}
	return s
}

// afterCap is a workload whose last rollout could not wait: it was stamped on
// the digest A. Its feeding statuses agree now.
func afterCap(digest string) State {
	s := alone(freshEnv(Republishing))
	s.Baseline.Secrets = map[string]SecretBaseline{env: {Digest: "A", Since: at(time.Minute), Unsettled: true, Answered: []string{"A"}}}
	s.Secrets = map[string]Secret{env: {Digest: digest, Since: now.Add(time.Second), Env: true, Trigger: true}}
	return s
}

func TestSettling(t *testing.T) {
	sec := time.Second
	hidden := func(s *State) { s.Secrets = map[string]Secret{env: {Hidden: true, Env: true}} }
	untriggered := func(s *State) { s.Secrets = map[string]Secret{env: {Digest: "A", Env: true}} }
	// somebodyElse feeds the Secret from pods of other workloads.
	somebodyElse := func(versions ...string) func(*State) {
		return func(s *State) {
			c := Class{Synced: map[string][]string{env: {db}}}
			for _, v := range versions {
				c.Feeds = append(c.Feeds, *rotated("api", v, now).Mounts[0].Status)
			}
			s.Classes = map[string]Class{class: c}
		}
	}
	// remade are pods that mounted v1 with the status of those before them, where the record says v2.
	remade := func(driver Driver, others ...Status) State {
		s := freshEnv(driver)
		s.Baseline = ranOn("v2", at(time.Minute))
		for i := range s.Pods {
			st := s.Pods[i].Mounts[0].Status
			st.Generation, st.Created, st.Changed = 2, t0.Add(-time.Hour), at(5*time.Second)
		}
		feed(&s)
		c := s.Classes[class]
		c.Feeds = append(c.Feeds, others...)
		s.Classes[class] = c
		return s
	}
	putBack := []moment{{sec, polls(1, "v2")}, {2 * sec, writes("B", 2*sec)}, {50 * sec, writes("A", 50*sec)}, {51 * sec, polls(2, "v2")}}
	feedless := alone(freshEnv(Republishing))
	feedless.Classes = nil

	tests := map[string]struct {
		start   State
		moments []moment
		want    outcome
	}{
		// The polling driver writes the Secret once.
		"polling: the Secret is not written yet": {
			freshEnv(Polling), append([]moment{{sec, polls(1, "v2")}}, looks(3*sec)...),
			outcome{Wait, StatusesDisagree, 239*sec - sec},
		},
		"polling: the Secret has just been written": {
			freshEnv(Polling), append([]moment{{sec, polls(1, "v2")}, {2 * sec, writes("B", 2*sec)}}, looks(3*sec)...),
			outcome{Wait, SecretSettling, sec},
		},
		"polling: the Secret is written, though others lag": {
			freshEnv(Polling), append([]moment{{sec, polls(1, "v2")}, {2 * sec, writes("B", 2*sec)}}, looks(4*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: the Secret stays the same, and all agree": {
			freshEnv(Polling), append([]moment{{sec, polls(2, "v2")}}, looks(10*sec)...),
			outcome{Wait, SecretSettling, sec},
		},
		"polling: the Secret stays the same for long, and all agree": {
			freshEnv(Polling), append([]moment{{sec, polls(2, "v2")}}, looks(11*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: the Secret stays the same, and all agree on what they just mounted": {
			remade(Polling), looks(230 * sec),
			outcome{Wait, SecretSettling, 10 * sec},
		},
		"polling: the same, hidden": {
			remade(Polling), append([]moment{{0, hidden}}, looks(230*sec)...),
			outcome{Wait, SecretSettling, 10 * sec},
		},
		"polling: the same, and a pod of another workload just mounted it too": {
			remade(Polling, *firstMount("api").Mounts[0].Status), looks(230 * sec),
			outcome{Wait, SecretSettling, 10 * sec},
		},
		"polling: the same, and the driver has brought it to a pod of another workload": {
			remade(Polling, *rotated("api", "v1", now).Mounts[0].Status), looks(10 * sec),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: the same, and the driver had brought it to a pod of another workload before": {
			remade(Polling, Status{
				Generation: 2, Created: t0.Add(-time.Hour), Changed: at(30 * time.Second), Owner: "uid-api", Target: "uid-api", Versions: versions("v1"),
			}), looks(10 * sec),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: the same, and the driver has looked at one of them since": {
			func() State {
				s := remade(Polling)
				s.Pods[0].Mounts[0].Status.Changed = at(65*time.Second + 1)
				feed(&s)
				return s
			}(), looks(10 * sec),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: the same, and one of them is still to start": {
			func() State {
				s := remade(Polling)
				s.Pods[1].Started = time.Time{}
				return s
			}(), looks(230 * sec),
			outcome{Wait, SecretSettling, 10 * sec},
		},
		"polling: the driver has brought it to pods that inherited the status of another class": {
			func() State {
				s := remade(Polling)
				for i, p := range s.Pods {
					inherited := *p.Mounts[0].Status
					inherited.Changed = t0.Add(-2 * time.Minute)
					s.Pods[i].Mounts = append(rotated(p.Name, "v1", at(time.Hour)).Mounts, Mount{"other", &inherited})
				}
				feed(&s)
				return s
			}(), looks(10 * sec),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: the same, and the driver has brought something else to one that does not feed the Secret": {
			func() State {
				s := remade(Polling)
				s.Classes["other"] = Class{Feeds: []Status{*rotated("api", "v1", now).Mounts[0].Status}}
				return s
			}(), looks(230 * sec),
			outcome{Wait, SecretSettling, 10 * sec},
		},
		"polling: the same, and the Secret is written": {
			remade(Polling), append([]moment{{90 * sec, writes("B", 90*sec)}}, looks(92*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: the Secret stays the same, and all agree on what they just mounted": {
			remade(Republishing), looks(10 * sec),
			outcome{Roll, ContentChanged, 0},
		},
		"polling: a consumer of the Secret alone waits for all that feed it": {
			alone(freshEnv(Polling)), append([]moment{{sec, somebodyElse("v1", "v2")}, {2 * sec, writes("B", 2*sec)}}, looks(5*sec)...),
			outcome{Wait, StatusesDisagree, 237 * sec},
		},
		"only an object changed that the Secret does not hold": {
			func() State { s := freshEnv(Republishing); unsyncedObject("v1")(&s); return s }(),
			append([]moment{{sec, unsyncedObject("v2")}}, looks(3*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"only an object changed that the Secret may hold": {
			func() State {
				s := freshEnv(Republishing)
				unsyncedObject("v1")(&s)
				s.Classes[class].Synced[env] = nil
				return s
			}(),
			append([]moment{{sec, unsyncedObject("v2")}}, looks(3*sec)...),
			outcome{Wait, SecretSettling, 8 * sec},
		},
		"what changed feeds another Secret": {
			func() State {
				s := freshEnv(Republishing)
				s.Classes = nil
				return s
			}(),
			append([]moment{{sec, func(s *State) {
				s.Pods = append([]Pod(nil), s.Pods...)
				s.Pods[0] = rotated("web-a", "v2", now)
			}}}, looks(3*sec)...),
			outcome{Roll, ContentChanged, 0},
		},

		"only an object changed that the Secret does not hold, but others have another one that it holds": {
			func() State { s := freshEnv(Republishing); unsyncedObject("v1")(&s); return s }(),
			append([]moment{{sec, both(unsyncedObject("v2"), func(s *State) {
				c := s.Classes[class]
				c.Feeds = append(c.Feeds, *rotated("api", "v2", now).Mounts[0].Status)
				s.Classes = map[string]Class{class: c}
			})}}, looks(3*sec)...),
			outcome{Wait, StatusesDisagree, 238 * sec},
		},

		// Of the newer driver every pod writes.
		"republishing: some pods lag and may put the old content back": {
			freshEnv(Republishing), append([]moment{{sec, polls(1, "v2")}, {2 * sec, writes("B", 2*sec)}}, looks(60*sec)...),
			outcome{Wait, StatusesDisagree, 181 * sec},
		},
		"republishing: all agree, just now": {
			freshEnv(Republishing), append([]moment{{sec, polls(1, "v2")}, {2 * sec, writes("B", 2*sec)}, {60 * sec, polls(2, "v2")}}, looks(61*sec)...),
			outcome{Wait, SecretSettling, sec},
		},
		"republishing: all agree": {
			freshEnv(Republishing), append([]moment{{sec, polls(1, "v2")}, {2 * sec, writes("B", 2*sec)}, {60 * sec, polls(2, "v2")}}, looks(62*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: all agree, but one that is gone put the Secret back": {
			freshEnv(Republishing), append(putBack, looks(62*sec)...),
			outcome{Wait, SecretSettling, 348 * sec},
		},
		"republishing: the Secret was put back, and then written": {
			freshEnv(Republishing), append(putBack, append([]moment{{90 * sec, writes("B", 90*sec)}}, looks(92*sec)...)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: the Secret was put back, and nobody has written it until the cap": {
			freshEnv(Republishing), append(putBack, looks(241*sec)...),
			outcome{Wait, SecretSettling, 169 * sec},
		},
		"republishing: the same, and it is written just now": {
			freshEnv(Republishing), append(putBack, append([]moment{{300 * sec, writes("B", 300*sec)}}, looks(301*sec)...)...),
			outcome{Wait, SecretSettling, sec},
		},
		"republishing: the same, and it has settled": {
			freshEnv(Republishing), append(putBack, append([]moment{{300 * sec, writes("B", 300*sec)}}, looks(302*sec)...)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: the Secret was put back, and nobody writes it": {
			freshEnv(Republishing), append(putBack, looks(410*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: all agree, and the Secret is written anew each second, for long": {
			freshEnv(Republishing), append([]moment{{sec, polls(2, "v2")}}, rewrites(601*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: the same, until just before it": {
			freshEnv(Republishing), append([]moment{{sec, polls(2, "v2")}}, rewrites(600*sec)...),
			outcome{Wait, SecretSettling, sec},
		},
		"republishing: the Secret was put back when all agree on an object that it does not hold": {
			func() State { s := freshEnv(Republishing); unsyncedObject("v1")(&s); return s }(),
			append([]moment{{sec, both(unsyncedObject("v2"), writes("A", sec))}}, looks(3*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"republishing: the same value, and the Secret was put back just before it": {
			freshEnv(Republishing), append([]moment{{sec, writes("B", sec)}, {2 * sec, writes("A", 2*sec)}, {3 * sec, polls(2, "v2")}}, looks(5*sec)...),
			outcome{Wait, SecretSettling, 8 * sec},
		},
		"republishing: the Secret flips when all have agreed for long": {
			freshEnv(Republishing), []moment{{sec, polls(2, "v2")}, {10 * sec, writes("B", 10*sec)}, {11 * sec, func(*State) {}}},
			outcome{Wait, SecretSettling, sec},
		},
		"republishing: the same value, all have agreed for long, but the Secret came back just now": {
			freshEnv(Republishing), []moment{{sec, polls(2, "v2")}, {5 * sec, writes("B", 5*sec)}, {6 * sec, writes("A", 6*sec)}, {12 * sec, func(*State) {}}},
			outcome{Wait, SecretSettling, 4 * sec},
		},
		"republishing: the cap is near": {
			freshEnv(Republishing), append([]moment{{sec, polls(1, "v2")}}, looks(240*sec)...),
			outcome{Wait, StatusesDisagree, sec},
		},
		"republishing: the cap is reached": {
			freshEnv(Republishing), append([]moment{{sec, polls(1, "v2")}}, looks(241*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"the cap gives a short wait its time": {
			freshEnv(Republishing), append([]moment{{sec, polls(1, "v2")}, {238 * sec, polls(2, "v2")}}, looks(242*sec)...),
			outcome{Wait, SecretSettling, 6 * sec},
		},

		"after the cap: what the new pods started with cannot be told, and the Secret holds what was stamped": {
			afterCap("A"), append([]moment{{sec, func(*State) {}}}, looks(10*sec)...),
			outcome{Wait, SecretSettling, sec},
		},
		"after the cap: the same, for long": {
			afterCap("A"), append([]moment{{sec, func(*State) {}}}, looks(11*sec)...),
			outcome{Roll, SecretChanged, 0},
		},
		"after the cap: what the new pods started with cannot be told, and the Secret holds something else": {
			afterCap("B"), append([]moment{{sec, func(*State) {}}}, looks(3*sec)...),
			outcome{Roll, SecretChanged, 0},
		},

		// The Secret is not there.
		"the Secret is away": {
			freshEnv(Polling), append([]moment{{sec, both(polls(2, "v2"), writes("", sec))}}, looks(60*sec)...),
			outcome{Wait, SecretMissing, 181 * sec},
		},
		"the Secret is away until the cap": {
			freshEnv(Polling), append([]moment{{sec, both(polls(2, "v2"), writes("", sec))}}, looks(241*sec)...),
			outcome{Roll, ContentChanged, 0},
		},
		"the Secret alone went away": {
			freshEnv(Polling), []moment{{sec, writes("", sec)}},
			outcome{None, UpToDate, 0},
		},

		// The Secret may not be read.
		"hidden: some pods lag": {
			freshEnv(Polling), append([]moment{{0, hidden}, {sec, polls(1, "v2")}}, looks(60*sec)...),
			outcome{Wait, StatusesDisagree, 181 * sec},
		},
		"hidden: all agree, just now": {
			freshEnv(Polling), append([]moment{{0, hidden}, {sec, polls(2, "v2")}}, looks(10*sec)...),
			outcome{Wait, SecretSettling, sec},
		},
		"hidden: all agree": {
			freshEnv(Polling), append([]moment{{0, hidden}, {sec, polls(2, "v2")}}, looks(11*sec)...),
			outcome{Roll, ContentChanged, 0},
		},

		// Consumers of the Secret alone.
		"the Secret changed, nobody feeds it": {
			feedless, append([]moment{{sec, writes("B", sec)}}, looks(3*sec)...),
			outcome{Roll, SecretChanged, 0},
		},
		"the Secret changed, but does not trigger": {
			freshEnv(Polling), []moment{{0, untriggered}, {sec, func(s *State) {
				s.Secrets = map[string]Secret{env: {Digest: "B", Since: now.Add(sec), Env: true}}
			}}},
			outcome{None, UpToDate, 0},
		},
		"the Secret changed and came back": {
			feedless, []moment{{sec, writes("B", sec)}, {2 * sec, writes("A", 2*sec)}},
			outcome{None, UpToDate, 0},
		},
		"the Secret changed, its feeds disagree": {
			alone(freshEnv(Republishing)), append([]moment{{sec, both(somebodyElse("v2", "v1"), writes("B", sec))}}, looks(60*sec)...),
			outcome{Wait, StatusesDisagree, 181 * sec},
		},
		"the Secret changed, its feeds disagree until the cap": {
			alone(freshEnv(Republishing)), append([]moment{{sec, both(somebodyElse("v2", "v1"), writes("B", sec))}}, looks(241*sec)...),
			outcome{Roll, SecretChanged, 0},
		},
		"the Secret changed, its feeds agree on what they did before": {
			alone(freshEnv(Republishing)), append([]moment{{sec, writes("B", sec)}}, looks(241*sec)...),
			outcome{Wait, SecretEdited, 240 * sec},
		},
		"the Secret changed for good, its feeds agree on what they did before": {
			alone(freshEnv(Republishing)), append([]moment{{sec, writes("B", sec)}}, looks(901*sec)...),
			outcome{Roll, SecretChanged, 0},
		},
		"the Secret changed with its feeds": {
			alone(freshEnv(Republishing)), append([]moment{{sec, both(somebodyElse("v2", "v2"), writes("B", sec))}}, looks(3*sec)...),
			outcome{Roll, SecretChanged, 0},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := live(tt.start, defaults(), tt.moments...)
			if diff := cmp.Diff(tt.want, outcomeOf(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Message, diff)
			}
		})
	}
}

// TestSecretFlips has pods of which it cannot be told what they started with,
// and a Secret that holds what was rolled for already.
func TestSecretFlips(t *testing.T) {
	state := func() State {
		s := afterCap("A")
		b := s.Baseline.Secrets[env]
		b.Feeds = s.feedsOf(env)
		s.Baseline.Secrets[env] = b
		return s
	}
	record := func(change func(*SecretBaseline)) func(*State) {
		return func(s *State) {
			b := s.Baseline.Secrets[env]
			change(&b)
			s.Baseline.Secrets = map[string]SecretBaseline{env: b}
		}
	}
	another := func(digest string, since time.Duration) func(*State) {
		return func(s *State) {
			s.Secrets["another"] = Secret{Digest: digest, Since: now.Add(since), Trigger: true}
			s.Baseline.Secrets["another"] = SecretBaseline{Digest: "A", Unsettled: true, Feeds: s.feedsOf("another"), Answered: []string{"A"}}
		}
	}
	tests := map[string]struct {
		change func(*State)
		while  time.Duration
		want   outcome
	}{
		"answered already":                        {func(*State) {}, time.Minute, outcome{Wait, SecretFlips, 14*time.Minute + time.Second}},
		"answered already, but it lasts":          {func(*State) {}, 15*time.Minute + 4*time.Second, outcome{Roll, SecretChanged, 0}},
		"never answered":                          {record(func(b *SecretBaseline) { b.Answered = []string{"B"} }), time.Minute, outcome{Roll, SecretChanged, 0}},
		"answered with other versions":            {record(func(b *SecretBaseline) { b.Feeds = "other" }), time.Minute, outcome{Roll, SecretChanged, 0}},
		"answered before the versions were known": {record(func(b *SecretBaseline) { b.Feeds = "" }), time.Minute, outcome{Roll, SecretChanged, 0}},
		"answered before, and the versions differ": {both(record(func(b *SecretBaseline) { b.Feeds = "" }), func(s *State) {
			c := s.Classes[class]
			c.Feeds = append(c.Feeds, *rotated("api", "v2", now).Mounts[0].Status)
			s.Classes = map[string]Class{class: c}
		}), 241 * time.Second, outcome{Wait, StatusesDisagree, 4 * time.Minute}},
		"files are stale besides": {func(s *State) {
			s.Pods[0].Mounts = []Mount{{Class: "other", Status: rotated("web-a", "v2", at(time.Hour)).Mounts[0].Status}}
		}, time.Minute, outcome{Roll, ContentChanged, 0}},
		"two, the first to believe in an earlier one": {another("A", 0), time.Minute, outcome{Wait, SecretFlips, 14 * time.Minute}},
		"two, the first to believe in a later one":    {another("A", 2*time.Second), time.Minute, outcome{Wait, SecretFlips, 14*time.Minute + time.Second}},
		"two, one of them never answered":             {another("B", 0), time.Minute, outcome{Roll, SecretChanged, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := state()
			tt.change(&s)
			s.Memory = Decide(now, s, defaults()).Memory
			s.Memory = Decide(now.Add(3*time.Second), s, defaults()).Memory // begins to settle
			s.Memory = Decide(now.Add(tt.while-3*time.Second), s, defaults()).Memory
			d := Decide(now.Add(tt.while), s, defaults())
			if diff := cmp.Diff(tt.want, outcomeOf(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Message, diff)
			}
		})
	}
}

func TestSameOn(t *testing.T) {
	tests := map[string]struct {
		a, b map[string]string
		ids  []string
		want bool
	}{
		"all the same":                   {versions("v1"), versions("v1"), nil, true},
		"of all, one differs":            {versions("v1"), versions("v2"), nil, false},
		"the same where it matters":      {map[string]string{"x": "1", "y": "2"}, map[string]string{"x": "1", "y": "3"}, []string{"x"}, true},
		"different where it matters":     {map[string]string{"x": "1", "y": "2"}, map[string]string{"x": "1", "y": "3"}, []string{"x", "y"}, false},
		"away in both":                   {nil, nil, []string{"x"}, true},
		"away in one":                    {map[string]string{"x": ""}, nil, []string{"x"}, false},
		"nothing matters":                {versions("v1"), versions("v2"), []string{}, true},
		"pick agrees on what is away":    {pick(versions("v1"), []string{db, "x"}), versions("v1"), nil, true},
		"pick without ids leaves it all": {pick(versions("v1"), nil), versions("v1"), nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := sameOn(tt.a, tt.b, tt.ids); got != tt.want {
				t.Errorf("sameOn(%v, %v, %v) = %v, want %v", tt.a, tt.b, tt.ids, got, tt.want)
			}
		})
	}
}

// TestALateSecretIsNoEdit has a driver that is slower than what counts as the same
// value: the Secret changes when the rollout for its new versions is over.
func TestALateSecretIsNoEdit(t *testing.T) {
	s := freshEnv(Republishing)
	d := live(s, defaults(), append([]moment{{time.Second, polls(2, "v2")}}, looks(11*time.Second)...)...)
	if d.Action != Roll || d.Baseline.Secrets[env].Unsettled {
		t.Fatalf("the same value is not assumed: %+v", d)
	}
	s.Baseline, s.Memory = d.Baseline, d.Memory
	s.Workload.Generation, s.Workload.ObservedGeneration = 4, 4
	s.Workload.Stamp, s.Workload.Rolled = d.Stamp, now.Add(11*time.Second)
	for i, name := range []string{"web-c", "web-d"} {
		p := firstMount(name)
		p.Created, p.Started, p.Stamp = now.Add(12*time.Second), now.Add(20*time.Second), d.Stamp
		st := p.Mounts[0].Status
		st.Created, st.Changed, st.Versions = now.Add(13*time.Second), now.Add(13*time.Second), versions("v2")
		s.Pods[i] = p
	}
	feed(&s)
	for late, want := range map[time.Duration]outcome{
		40 * time.Second:  {Roll, SecretChanged, 0},
		360 * time.Second: {Roll, SecretChanged, 0},
		362 * time.Second: {Wait, SecretEdited, 4*time.Minute - 2*time.Second},
	} {
		looked := append(looks(20*time.Second, late-time.Second), moment{late, writes("B", late)})
		d := live(s, defaults(), append(looked, looks(late+2*time.Second)...)...)
		if diff := cmp.Diff(want, outcomeOf(d)); diff != "" {
			t.Errorf("%s late: %s (-want +got):\n%s", late, d.Message, diff)
		}
	}
}
