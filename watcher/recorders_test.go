package watcher

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// slowSink takes no Event until it is opened.
type slowSink struct {
	open chan struct{}
	mu   sync.Mutex
	told map[types.UID]bool
}

func (s *slowSink) Create(e *corev1.Event) (*corev1.Event, error) {
	<-s.open
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[e.InvolvedObject.UID] = true
	return e, nil
}

func (s *slowSink) Update(e *corev1.Event) (*corev1.Event, error) { return e, nil }

func (s *slowSink) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) { return e, nil }

// TestEventsOfManyWorkloads rolls 5,000 workloads before the API server takes
// the first Event.
func TestEventsOfManyWorkloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &slowSink{open: make(chan struct{}), told: map[types.UID]bool{}}
		r := newRecorders()
		defer r.shutdown()
		r.start(sink)
		synctest.Wait()
		const workloads = 5000
		for i := range workloads {
			uid := types.UID(fmt.Sprintf("9d1c2f7e-0000-4000-8000-%012d", i))
			r.event(&corev1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: fmt.Sprintf("web-%d", i), UID: uid}, normal, reasonRolled, "text")
		}
		close(sink.open)
		r.end(t.Context())
		if len(sink.told) != workloads {
			t.Errorf("Events on %d workloads, want on all %d", len(sink.told), workloads)
		}
	})
}
