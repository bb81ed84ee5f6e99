package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/kube"
	"keyroll.dev/watcher/rollout"
)

// Baselines are kept in one ConfigMap of the release namespace for each watched
// namespace, with this label.
const (
	baselineLabel  = annotation.Prefix + "baseline"
	baselinePrefix = "keyroll-baseline-"
	// keyNameAnnotation names the digest key that the Secrets' digests were made with.
	keyNameAnnotation = annotation.Prefix + "digest-key"
)

// A write waits until nothing changed for writeQuiet and no record is pending,
// so that one rotation is one write. But it waits no longer than writeLatest,
// after a roll writePending: until then the stamp tells what was rolled for.
const (
	writeQuiet   = 5 * time.Second
	writeLatest  = time.Minute
	writePending = 10 * time.Minute
)

// baselines is the view of such a ConfigMap.
type baselines struct {
	metav1.ObjectMeta

	ledger  rollout.Ledger
	unread  error  // entries that could not be read
	keyName string // of the key that made its digests
}

func slimBaselines(m *corev1.ConfigMap) *baselines {
	slim := &baselines{ObjectMeta: identity(&m.ObjectMeta), keyName: m.Annotations[keyNameAnnotation]}
	slim.ledger, slim.unread = rollout.ReadLedger(m.Data)
	return slim
}

// keeper keeps baselines: in memory for decisions, and in ConfigMaps for those
// that come after. It is the one writer while it leads.
type keeper struct {
	caches    *caches
	client    *kube.Client
	namespace string // of the release
	queue     *queue[string]
	log       *slog.Logger
	keyName   string // of the digest key in use; "" without one

	mu   sync.Mutex
	held map[string]*ledger // by watched namespace
}

// ledger is one namespace's baselines.
type ledger struct {
	by      rollout.Ledger
	open    map[types.UID]bool // changed, and soon to be confirmed
	changed time.Time
	latest  time.Time // when it must be written; zero: it is
	stored  bool      // there is a ConfigMap
	version string    // its resourceVersion, as last written or read
}

// touch notes a change that must be written within a time.
func (l *ledger) touch(now time.Time, within time.Duration) {
	l.changed = now
	if latest := now.Add(within); l.latest.IsZero() || latest.Before(l.latest) {
		l.latest = latest
	}
}

// load takes over what the leader before has written, without the workloads that
// have gone since. Those of a kind that is not served just now, or not named, look
// gone too: so that one such start does not yet cost them what is written, nothing
// is written for it, unless the namespace itself is gone.
func (k *keeper) load(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = map[string]*ledger{}
	for _, kept := range k.caches.baselines.all() {
		if kept.unread != nil {
			k.log.Warn("Baselines not read, seen for the first time again", "configMap", kept.Name, "error", kept.unread.Error())
		}
		name := strings.TrimPrefix(kept.Name, baselinePrefix)
		l := &ledger{by: k.comparable(kept.ledger, kept.keyName), open: map[types.UID]bool{}, stored: true, version: kept.ResourceVersion}
		l.by = k.present(name, l.by)
		k.held[name] = l
		if k.caches.namespaces.get("", name) == nil {
			l.touch(now, writeLatest)
			k.queue.AddAfter(name, writeQuiet)
		}
	}
}

// present answers the part of a namespace's baselines whose workloads are there.
func (k *keeper) present(namespace string, by rollout.Ledger) rollout.Ledger {
	kept := rollout.Ledger{}
	for _, s := range k.caches.workloads {
		for _, w := range s.by(byNamespace, namespace) {
			if b, known := by[w.UID]; known {
				kept[w.UID] = b
			}
		}
	}
	return kept
}

// comparable leaves out the digests that were made with another key: none of
// them equals any of ours, which must not look as if every Secret had changed.
func (k *keeper) comparable(l rollout.Ledger, keyName string) rollout.Ledger {
	if keyName == k.keyName {
		return l
	}
	return l.WithoutSecrets()
}

// get answers a workload's baseline, zero for none.
func (k *keeper) get(w *workload) rollout.Baseline {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.held[w.Namespace]; l != nil {
		return l.by[w.UID]
	}
	return rollout.Baseline{}
}

// put keeps a baseline, and has it written if it says something new.
func (k *keeper) put(w *workload, b rollout.Baseline, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[w.Namespace]
	if l == nil {
		if b.IsZero() {
			return
		}
		l = &ledger{by: rollout.Ledger{}, open: map[types.UID]bool{}}
		k.held[w.Namespace] = l
	}
	was := l.by[w.UID]
	l.by[w.UID] = b
	switch {
	case was.Same(b):
		return
	case b.Pending(was):
		l.open[w.UID] = true
		l.touch(now, writePending)
	case l.open[w.UID] && !b.Confirmed.IsZero():
		delete(l.open, w.UID)
		l.touch(now, writePending)
	default:
		l.touch(now, writeLatest)
	}
	k.queue.AddAfter(w.Namespace, writeQuiet)
}

// drop forgets a workload that is gone.
func (k *keeper) drop(namespace string, uid types.UID, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[namespace]
	if l == nil {
		return
	}
	if _, known := l.by[uid]; !known {
		return
	}
	delete(l.by, uid)
	delete(l.open, uid)
	l.touch(now, writeLatest)
	k.queue.AddAfter(namespace, writeQuiet)
}

// sync writes a namespace's baselines, if they are due.
func (k *keeper) sync(ctx context.Context, namespace string) error {
	now := time.Now()
	if wait, due := k.due(namespace, now); !due {
		if wait > 0 {
			k.queue.AddAfter(namespace, wait)
		}
		return nil
	}
	return k.write(ctx, namespace)
}

// due reports whether a write is, and otherwise in how long; 0 for never.
func (k *keeper) due(namespace string, now time.Time) (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[namespace]
	if l == nil || l.latest.IsZero() {
		return 0, false
	}
	wait := l.latest.Sub(now)
	if len(l.open) == 0 {
		wait = min(wait, writeQuiet-now.Sub(l.changed))
	}
	return wait, wait <= 0
}

// write writes a namespace's baselines. When another leader has written
// meanwhile, both are merged first.
func (k *keeper) write(ctx context.Context, namespace string) error {
	data, was, taken := k.written(namespace)
	maps := k.client.ConfigMaps(k.namespace)
	desired := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.namespace, Name: baselinePrefix + namespace, ResourceVersion: was.version,
			Labels:      map[string]string{baselineLabel: "true", "app.kubernetes.io/managed-by": fieldManager},
			Annotations: map[string]string{keyNameAnnotation: k.keyName},
		},
		Data: data,
	}
	var stored *corev1.ConfigMap
	var err error
	switch {
	case len(data) == 0 && !was.stored:
	case len(data) == 0:
		err = maps.Delete(ctx, desired.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &was.version}})
	case !was.stored:
		stored, err = maps.Create(ctx, desired, metav1.CreateOptions{FieldManager: fieldManager})
	default:
		stored, err = maps.Update(ctx, desired, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return errors.Join(fmt.Errorf("write baselines: %w", err), k.reread(ctx, namespace))
	case err != nil:
		return fmt.Errorf("write baselines: %w", err)
	}
	k.stored(namespace, stored, taken)
	return nil
}

// written answers what is to be written, without workloads that are gone, over
// what, and of what time it is.
func (k *keeper) written(namespace string) (data map[string]string, was ledger, taken time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[namespace]
	kept := k.present(namespace, l.by)
	maps.DeleteFunc(kept, func(_ types.UID, b rollout.Baseline) bool { return b.IsZero() })
	data, dropped := kept.Data()
	if dropped > 0 {
		k.log.Warn("Baselines of a namespace do not fit into one ConfigMap", "namespace", namespace, "dropped", dropped)
	}
	return data, ledger{stored: l.stored, version: l.version}, l.changed
}

// reread takes in what another writer has stored.
func (k *keeper) reread(ctx context.Context, namespace string) error {
	found, err := k.client.ConfigMaps(k.namespace).Get(ctx, baselinePrefix+namespace, metav1.GetOptions{})
	gone := apierrors.IsNotFound(err)
	if gone {
		found = &corev1.ConfigMap{}
	} else if err != nil {
		return fmt.Errorf("read baselines again: %w", err)
	}
	theirs, err := rollout.ReadLedger(found.Data)
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.held[namespace]; l != nil {
		l.by, l.stored, l.version = l.by.Merge(k.comparable(theirs, found.Annotations[keyNameAnnotation])), !gone, found.ResourceVersion
	}
	return err
}

// stored notes that all of before taken is written.
func (k *keeper) stored(namespace string, m *corev1.ConfigMap, taken time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[namespace]
	if m == nil && len(l.by) == 0 {
		delete(k.held, namespace) // nobody is left
		return
	}
	l.stored, l.version = m != nil, ""
	clear(l.open)
	if m != nil {
		l.version = m.ResourceVersion
	}
	if l.changed.After(taken) {
		l.latest = l.changed.Add(writeLatest)
		k.queue.AddAfter(namespace, writeQuiet)
		return
	}
	l.latest = time.Time{}
}

// flush writes what is not written yet, as far as ctx allows.
func (k *keeper) flush(ctx context.Context) {
	for _, namespace := range k.dirty() {
		if err := k.write(ctx, namespace); err != nil {
			k.log.Warn("Baselines not written before the end", "namespace", namespace, "error", err.Error())
		}
	}
}

func (k *keeper) dirty() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for namespace, l := range k.held {
		if !l.latest.IsZero() {
			names = append(names, namespace)
		}
	}
	return names
}
