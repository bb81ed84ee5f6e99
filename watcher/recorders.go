package watcher

import (
	"context"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// recorders write Events. One of client-go's queues a thousand and drops what
// comes beyond, which a rotation in thousands of workloads does. All Events on
// one object go through the same one, which writes them one after the other.
type recorders [8]recorder

type recorder struct {
	record.EventBroadcaster
	record.EventRecorder

	ended chan struct{} // closed by the last word
}

func newRecorders() *recorders {
	r := &recorders{}
	for i := range r {
		broadcaster := record.NewBroadcaster()
		r[i] = recorder{broadcaster, broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: fieldManager}), make(chan struct{})}
	}
	return r
}

func (r *recorders) start(sink record.EventSink) {
	for i := range r {
		r[i].StartRecordingToSink(ending{sink, r[i].ended})
	}
}

// event has an Event written soon, unless a thousand wait already.
func (r *recorders) event(about *corev1.ObjectReference, kind, reason, message string) {
	r.of(about.UID).Event(about, kind, reason, message)
}

func (r *recorders) of(uid types.UID) record.EventRecorder {
	hash := fnv.New32a()
	hash.Write([]byte(uid))
	return r[hash.Sum32()%uint32(len(r))]
}

// lastWord is the kind that no object has of an Event that is not written: when
// it comes, all that was told before it has been.
const lastWord = "LastWord"

// end waits until what was told is written, or given up, as far as ctx allows.
// client-go's own shutdown drops it. Nothing must be told after it.
func (r *recorders) end(ctx context.Context) {
	for i := range r {
		r[i].Event(&corev1.ObjectReference{Kind: lastWord}, normal, lastWord, "")
	}
	for i := range r {
		select {
		case <-r[i].ended:
		case <-ctx.Done():
		}
	}
}

func (r *recorders) shutdown() {
	for i := range r {
		r[i].Shutdown()
	}
}

// ending is a sink that takes note of the last word.
type ending struct {
	record.EventSink
	ended chan struct{}
}

func (s ending) Create(e *corev1.Event) (*corev1.Event, error) {
	if e.InvolvedObject.Kind == lastWord {
		close(s.ended)
		return e, nil
	}
	return s.EventSink.Create(e)
}
