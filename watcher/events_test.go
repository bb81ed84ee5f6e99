package watcher

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// step is one look at what stands, some time after the one before.
type step struct {
	after time.Duration
	text  string
	want  bool // it is told
}

func TestWhatStandsIsToldOnceForEachTimeThatItComesUp(t *testing.T) {
	flaps := []step{{0, "a", true}}
	for range 1000 {
		flaps = append(flaps, step{5 * time.Second, "", false}, step{5 * time.Second, "a", false})
	}
	tests := map[string][]step{
		"it stands":                        {{0, "a", true}, {0, "a", false}, {time.Hour, "a", false}, {1000 * time.Hour, "a", false}},
		"nothing stands":                   {{0, "", false}, {time.Hour, "", false}},
		"it ends, and comes up again":      {{0, "a", true}, {time.Hour, "", false}, {tellAgain, "a", true}, {0, "a", false}},
		"it ends for a moment":             {{0, "a", true}, {time.Hour, "", false}, {tellAgain - 1, "a", false}},
		"it ends for a moment, then stays": {{0, "a", true}, {time.Hour, "", false}, {time.Second, "a", false}, {time.Hour, "a", false}},
		"it ends, as is seen twice":        {{0, "a", true}, {time.Hour, "", false}, {tellAgain - 1, "", false}, {1, "a", true}},
		"it comes and goes":                flaps,
		"another takes its place":          {{0, "a", true}, {time.Hour, "b", true}, {time.Hour, "a", true}, {time.Hour, "b", true}},
		"two take turns":                   {{0, "a", true}, {time.Second, "b", true}, {time.Second, "a", false}, {time.Second, "b", false}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tell teller
				for i, s := range steps {
					time.Sleep(s.after)
					if got := tell.standing("uid", "topic", s.text); got != s.want {
						t.Fatalf("step %d, %q: told is %t, want %t", i, s.text, got, s.want)
					}
				}
			})
		})
	}
}

func TestWhatStandsIsToldOfEachObjectAndTopic(t *testing.T) {
	var tell teller
	for _, one := range []struct{ about, topic string }{{"a", "1"}, {"a", "2"}, {"b", "1"}} {
		if !tell.standing(types.UID(one.about), one.topic, "text") {
			t.Errorf("%v is not told", one)
		}
	}
}

func TestWhatIsRememberedOfWhatStandsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tell teller
		for i := range 3 * maxTold {
			tell.standing(types.UID(string(rune(i))), "topic", "text")
		}
		if len(tell.stood) > maxTold {
			t.Errorf("%d are remembered", len(tell.stood))
		}
		for range 3 * maxTold {
			tell.standing("uid", "topic", time.Now().String())
			time.Sleep(time.Minute)
		}
		if got := len(tell.stood[subject{"uid", "topic"}]); got > 20 {
			t.Errorf("%d texts are remembered of one", got)
		}
	})
}

// TestEachTimeIsTold: what ends and comes up again an hour later is told again.
func TestEachTimeIsTold(t *testing.T) {
	setStatus := func(c *cluster, there bool) {
		for _, p := range c.pods() {
			name := p.Name + "-" + shop + "-files"
			if there {
				c.must(c.statuses.Create(secretsstore.PodStatusResource, podStatus(p.Name, "files", "v1", 1, time.Now()), shop))
			} else {
				c.must(c.statuses.Delete(secretsstore.PodStatusResource, shop, name))
			}
		}
	}
	restart := func(c *cluster) {
		c.changePods(func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", time.Now())}
		})
	}
	tests := map[string]struct {
		reason     string
		begin, end func(*cluster)
	}{
		"the webhook is away": {reasonMissed,
			func(c *cluster) {
				c.changePods(func(p *corev1.Pod) { p.Labels, p.Annotations[annotation.Objects] = nil, "db-password" })
			},
			func(c *cluster) {
				c.changePods(func(p *corev1.Pod) { p.Labels = map[string]string{annotation.InjectedLabel: "true"} })
			},
		},
		"pods of the same names wait for the same class": {reasonNotStarting,
			func(c *cluster) { c.changePods(func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }) },
			restart,
		},
		"a policy refuses the rollout": {reasonRefused,
			func(c *cluster) {
				c.refuse(forbidden)
				c.rotate("files", time.Now().String(), time.Second)
			},
			restart, // by people
		},
		"the driver tells nothing": {string(rollout.StatusMissing),
			func(c *cluster) { setStatus(c, false) },
			func(c *cluster) { setStatus(c, true) },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, shopObjects())
				defer c.stop()
				looks := func() { // things are looked at more often than they change
					for range 60 {
						time.Sleep(time.Minute)
						c.controller.enqueue(key{deployments.GroupKind(), shop, "web"})
					}
				}
				looks()
				for want := range int32(3) {
					if got := c.told(test.reason); got != want {
						t.Fatalf("told %d times after it stood %d times", got, want)
					}
					test.begin(c)
					looks()
					test.end(c)
					looks()
				}
			})
		})
	}
}
