package watcher

import (
	"hash/maphash"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/watcher/reloader"
)

// reloaderManager is the field manager under which Reloader writes.
const reloaderManager = "Reloader"

// reloaderEnv begins the variables that Reloader adds to containers. Their
// values are hashes of secrets without a key.
const reloaderEnv = "STAKATER_"

// traces is what Reloader has left in a workload. That it changes shows Reloader
// at work; what it left before it was switched off stays, and means nothing.
type traces struct {
	written time.Time // its managedFields entry
	mark    uint64    // of what it put into the pod template, 0 for nothing
}

// traceSeed is new in each process, so that marks tell nothing outside of it.
var traceSeed = maphash.MakeSeed()

func tracesOf(m *metav1.ObjectMeta, template *corev1.PodTemplateSpec) traces {
	t := traces{written: writtenBy(m.ManagedFields, reloaderManager)}
	add := func(where, what string) {
		t.mark = maphash.Comparable(traceSeed, [3]any{t.mark, where, what})
	}
	if last, there := template.Annotations[reloader.LastReloadedFrom]; there {
		add("", last)
	}
	for i := range template.Spec.Containers {
		for _, env := range template.Spec.Containers[i].Env {
			if strings.HasPrefix(env.Name, reloaderEnv) {
				add(template.Spec.Containers[i].Name+"/"+env.Name, env.Value)
			}
		}
	}
	return t
}

// rolledByReloader reports whether Reloader has written into the workload since
// this process looked at it last.
func (n *note) rolledByReloader(w *workload) bool {
	before, now := n.traces, w.traces
	n.traces = &now
	if before == nil || *before == now {
		return false
	}
	if !now.written.IsZero() {
		return now.written.After(before.written)
	}
	// Somebody clears the managedFields. Traces that were wiped are no work of Reloader's.
	return now.mark != 0 && now.mark != before.mark
}

// reloaderActive tells that two roll the same workload.
func (t *teller) reloaderActive(w *workload) {
	if t.once(w.UID, reasonReloaderActive+w.stamp()) {
		t.event(w, warning, reasonReloaderActive, "Reloader rolls this workload too, so one rotation may roll it twice: "+
			"keep Reloader from the Secrets and SecretProviderClasses of the CSI driver (docs/migrate-from-reloader.md)")
	}
}
