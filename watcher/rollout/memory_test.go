package rollout

import (
	"maps"
	"testing"
	"time"
)

func TestWithLeavesOlderMemoryAlone(t *testing.T) {
	old := map[string]string{"a": "1"}
	tests := map[string]struct {
		name, digest string
		want         map[string]string
	}{
		"nothing new":     {"a", "1", map[string]string{"a": "1"}},
		"another digest":  {"a", "2", map[string]string{"a": "2"}},
		"another name":    {"b", "1", map[string]string{"a": "1", "b": "1"}},
		"an empty digest": {"b", "", map[string]string{"a": "1", "b": ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := with(old, tt.name, tt.digest); !maps.Equal(got, tt.want) {
				t.Errorf("with() = %v, want %v", got, tt.want)
			}
			if !maps.Equal(old, map[string]string{"a": "1"}) {
				t.Errorf("the older memory is now %v", old)
			}
		})
	}
}

func TestMemoryBeginsOnce(t *testing.T) {
	s := onePod(firstMount("web"))
	for _, after := range []time.Duration{0, time.Minute} {
		s.Memory = Decide(now.Add(after), s, defaults()).Memory
		if !s.Memory.start.Equal(now) {
			t.Errorf("after %s memory begins at %s, want %s", after, s.Memory.start, now)
		}
	}
}
