package watcher

import (
	"hash/maphash"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/watcher/reloader"
)

// reloaderManager is the field manager under which Reloader writes.
const reloaderManager = "Reloader"

// traces is what Reloader has left in a workload. That it changes shows Reloader
// at work; what it left before it was switched off stays, and means nothing.
type traces struct {
	written time.Time         // its managedFields entry
	marks   map[string]uint64 // of what it put into the pod template, by the object that it rolled for
}

// traceSeed is new in each process, so that marks tell nothing outside of it.
var traceSeed = maphash.MakeSeed()

func tracesOf(m *metav1.ObjectMeta, template *corev1.PodTemplateSpec) traces {
	t := traces{written: writtenBy(m.ManagedFields, reloaderManager)}
	reloader.Traces(template, func(variable, written string) {
		if t.marks == nil {
			t.marks = map[string]uint64{}
		}
		t.marks[variable] = maphash.Comparable(traceSeed, [2]any{t.marks[variable], written})
	})
	return t
}

// rolledByReloader reports whether Reloader has written into the workload since
// this process looked at it last, for the sake of what counts as ours. Of a write
// that left no trace in the template it is not known for what it was.
func (n *note) rolledByReloader(w *workload, ours func() map[string]bool) bool {
	before, now := n.traces, w.traces
	n.traces = &now
	if before == nil {
		return false
	}
	fresh := maps.Clone(now.marks) // traces that were wiped are no work of Reloader's
	maps.DeleteFunc(fresh, func(variable string, mark uint64) bool { return before.marks[variable] == mark })
	wrote := now.written.After(before.written)
	if now.written.IsZero() { // somebody clears the managedFields
		wrote = len(fresh) > 0
	}
	if !wrote {
		return false
	}
	things := ours()
	maps.DeleteFunc(fresh, func(variable string, _ uint64) bool { return !things[variable] })
	return len(things) > 0 && (len(fresh) > 0 || maps.Equal(now.marks, before.marks))
}

// reloaderActive tells that two roll the same workload.
func (t *teller) reloaderActive(w *workload) {
	if t.once(w.UID, reasonReloaderActive+w.stamp()) {
		t.event(w, warning, reasonReloaderActive, "Reloader rolls this workload too, so one rotation may roll it twice: "+
			"keep Reloader from the Secrets and SecretProviderClasses of the CSI driver (docs/migrate-from-reloader.md)")
	}
}
