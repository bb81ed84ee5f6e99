package rollout

import (
	"fmt"
	"testing"
	"time"
)

// manyPods is a workload of so many pods that mount a class and take their
// environment from its Secret; as many pods of others feed it.
func manyPods(n int) State {
	s := freshEnv(Republishing)
	s.Pods = nil
	for i := range n {
		s.Pods = append(s.Pods, firstMount(fmt.Sprintf("web-%d", i)))
	}
	s.Workload.Replicas = int32(n)
	feed(&s)
	c := s.Classes[class]
	c.Feeds = append(c.Feeds, c.Feeds...)
	s.Classes[class] = c
	return s
}

// BenchmarkDecide looks again and again at a workload: of which nothing is
// stale, and of which all pods are while its content settles.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("fresh/pods=%d", n), func(b *testing.B) { benchmarkDecide(b, manyPods(n), UpToDate) })
		b.Run(fmt.Sprintf("stale/pods=%d", n), func(b *testing.B) {
			s := manyPods(n)
			polls(n, "v2")(&s)
			s.Pods[0].Mounts = firstMount(s.Pods[0].Name).Mounts // one lags behind
			feed(&s)
			benchmarkDecide(b, s, StatusesDisagree)
		})
	}
}

func benchmarkDecide(b *testing.B, s State, want Reason) {
	b.ReportAllocs()
	d := decideAfter(3*time.Second, s, defaults())
	if len(s.Pods) > 1 && d.Reason != want {
		b.Fatalf("reason %s, want %s", d.Reason, want)
	}
	s.Memory, s.Baseline = d.Memory, d.Baseline
	after := time.Duration(0)
	for b.Loop() {
		after += time.Millisecond
		s.Memory = Decide(now.Add(after), s, defaults()).Memory
	}
}

// BenchmarkFingerprint is of three classes of five objects and three Secrets.
func BenchmarkFingerprint(b *testing.B) {
	b.ReportAllocs()
	c := content{classes: map[string]map[string]string{}, secrets: map[string]string{}}
	for i := range 3 {
		versions := map[string]string{}
		for j := range 5 {
			versions[fmt.Sprintf("secret/object-%d", j)] = "0123456789abcdef0123456789abcdef"
		}
		c.classes[fmt.Sprintf("keyroll-0123456789abcde%d", i)] = versions
		c.secrets[fmt.Sprintf("synced-%d", i)] = "0123456789012345678901234567890123456789012"
	}
	for b.Loop() {
		c.fingerprint(false)
	}
}
