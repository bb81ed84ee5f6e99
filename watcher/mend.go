package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"keyroll.dev/internal/annotation"
)

// mendManager is the field manager of re-submissions. It differs from
// [fieldManager], whose times in managedFields tell of rollouts alone.
const mendManager = "keyroll-watcher-mend"

// errLacking brings a workload back until the webhook has answered.
var errLacking = errors.New("sent through the webhook again; its template still lacks annotations of the workload")

// mender sends workloads through the webhook again whose template does not have
// what stands on the workload itself, because the webhook was away when that
// was written, or the namespace was opted in later.
type mender struct {
	caches  *caches
	applier *applier
	queue   *queue[key]
	tell    *teller
	metrics *metrics
	log     *slog.Logger
}

// sync sends one workload, if that can help. Whether it did is seen the next time.
func (m *mender) sync(ctx context.Context, k key) error {
	w := m.caches.workload(k)
	if w == nil || !m.caches.enabled(k.namespace) || !w.lacking() {
		return nil
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	_, err := m.applier.resubmit(ctx, w)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err): // it went through the webhook for another reason, or the cache lags
		return fmt.Errorf("send workload through the webhook again: %w", err)
	case err != nil:
		m.metrics.mends.WithLabelValues(mendRefused).Inc()
		return fmt.Errorf("send workload through the webhook again: %w", err)
	}
	m.metrics.mends.WithLabelValues(mendSent).Inc()
	m.log.Info("Workload sent through the webhook again", w.attrs()...)
	if m.queue.NumRequeues(k) >= vainMends {
		m.tell.notCopied(w)
	}
	return errLacking
}

// vainMends are the re-submissions after which people are told, some minutes
// after the first: a webhook that restarts is back by then.
const vainMends = 8

// notCopied tells of annotations that the webhook refuses to copy, or has been
// away for too long to.
func (t *teller) notCopied(w *workload) {
	if t.once(w.UID, reasonNotCopied) {
		t.event(w, warning, reasonNotCopied,
			"The webhook does not copy the annotations into the pod template though it was asked again and again; kubectl annotate prints why, if the webhook runs")
	}
}

// throughWebhook reports whether the webhook sees objects of that kind (manifests/chart/templates/webhook-configuration.yaml).
func throughWebhook(kind schema.GroupVersionKind) bool {
	switch kind {
	case deployments, statefulSets, daemonSets, cronJobs, replicaSets:
		return true
	}
	return false
}

// unheard answers the keys of annotations that ask for nothing where they
// stand: the webhook does not copy them into the template, and that does not say
// the same by itself. A Deployment's annotations are on its ReplicaSets as well.
func (w *workload) unheard() []string {
	if heard := throughWebhook(w.kind) && w.owner.uid == ""; heard || w.kind == pods || w.kind == replicaSets {
		return nil
	}
	var keys []string
	for _, row := range annotation.Table {
		if value, set := w.Annotations[row.Key]; set && row.ShapesPods() && w.template[row.Key] != value {
			keys = append(keys, row.Key)
		}
	}
	return keys
}

// lacking reports whether the template differs from what the webhook would
// have made of it: a key of the workload's that it does not have, or one that
// the webhook copied earlier and that is another or none on the workload now.
func (w *workload) lacking() bool {
	if !throughWebhook(w.kind) || w.owner.uid != "" || w.DeletionTimestamp != nil {
		return false
	}
	// What the webhook refuses to copy, it refuses every time.
	if _, problems := annotation.Parse(w.asked()); len(problems) > 0 {
		return false
	}
	copied := annotation.Copied(w.template)
	for _, row := range annotation.Table {
		if !row.ShapesPods() {
			continue
		}
		wanted, set := w.Annotations[row.Key]
		value, there := w.template[row.Key]
		follows := slices.Contains(copied, row.Key)
		if set && !there || follows && there && (!set || value != wanted) {
			return true
		}
	}
	return false
}
