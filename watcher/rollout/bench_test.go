package rollout

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkDecide is one of fifty workloads of thirty pods that share a class.
func BenchmarkDecide(b *testing.B) {
	s := freshEnv(Republishing)
	s.Pods = nil
	for i := range 30 {
		s.Pods = append(s.Pods, firstMount(fmt.Sprintf("web-%d", i)))
	}
	feed(&s)
	c := s.Classes[class]
	for range 49 {
		c.Feeds = append(c.Feeds, c.Feeds[:30]...)
	}
	s.Classes[class] = c
	after := time.Duration(0)
	for b.Loop() {
		after += time.Second
		d := Decide(now.Add(after), s, defaults())
		s.Memory, s.Baseline = d.Memory, d.Baseline
	}
}
