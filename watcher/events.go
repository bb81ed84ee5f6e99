package watcher

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// Reasons of Events besides those of decisions.
const (
	reasonRolled       = "ContentRollout"        // a rollout was started
	reasonDone         = "ContentRolledOut"      // and has ended well
	reasonRefused      = "ContentRolloutRefused" // the API server refused the patch
	reasonClassTaken   = "SecretProviderClassTaken"
	reasonRecordForged = "DependenciesNotBelieved"
)

// quiet are decisions that say nothing to the people who own a workload: all is
// well, or will be in a moment.
var quiet = map[rollout.Reason]bool{
	rollout.UpToDate:        true,
	rollout.Deleting:        true,
	rollout.ScaledToZero:    true,
	rollout.NoPods:          true,
	rollout.Starting:        true,
	rollout.Finished:        true,
	rollout.Unchanged:       true,
	rollout.StartedSince:    true,
	rollout.SameAgain:       true,
	rollout.NotObserved:     true,
	rollout.RolledRecently:  true,
	rollout.Gathering:       true,
	rollout.SecretSettling:  true,
	rollout.TooManyRollouts: true,
}

// warnings are decisions that somebody has to do something about.
var warnings = map[rollout.Reason]bool{
	rollout.SecretMissing: true,
	rollout.SecretFlips:   true,
	rollout.RolloutStuck:  true,
	rollout.MountedTwice:  true,
}

// teller tells people what happens, in Events on the object that they look at.
type teller struct {
	recorder record.EventRecorder

	mu   sync.Mutex
	told map[types.UID]bool // pods whose record was not believed
}

func (t *teller) event(w *workload, kind, reason, message string) {
	apiVersion, kindName := w.kind.ToAPIVersionAndKind()
	t.recorder.Event(&corev1.ObjectReference{
		APIVersion: apiVersion, Kind: kindName, Namespace: w.Namespace, Name: w.Name, UID: w.UID,
	}, kind, reason, message)
}

// decided tells of a decision that leaves pods on old content, once for each
// reason and rotation.
func (t *teller) decided(w *workload, n *note, d rollout.Decision) {
	if d.Counts.Stale == 0 && d.Counts.Unknown == 0 {
		n.told = nil
		return
	}
	if d.Action == rollout.Roll || quiet[d.Reason] || d.Message == "" {
		return
	}
	if !n.told.once(string(d.Reason) + d.Rotated.String()) {
		return
	}
	kind := corev1.EventTypeNormal
	if warnings[d.Reason] {
		kind = corev1.EventTypeWarning
	}
	t.event(w, kind, string(d.Reason), d.Message)
}

func (t *teller) rolled(w *workload, cause string) {
	t.event(w, corev1.EventTypeNormal, reasonRolled, cause)
}

func (t *teller) done(w *workload, pods int, took time.Duration) {
	t.event(w, corev1.EventTypeNormal, reasonDone,
		fmt.Sprintf("%d pods run on the new content, %s after the rollout began", pods, took.Round(time.Second)))
}

func (t *teller) refused(w *workload, n *note, err error) {
	if n.told.once(reasonRefused + err.Error()) {
		t.event(w, corev1.EventTypeWarning, reasonRefused, "The API server refused the rollout, it is tried again: "+err.Error())
	}
}

// classTaken tells those who need a class that its name belongs to somebody else.
func (t *teller) classTaken(k classKey, askers []*workload) {
	for _, w := range askers {
		t.event(w, corev1.EventTypeWarning, reasonClassTaken, fmt.Sprintf(
			"SecretProviderClass %s exists without the label %s=%s, so it is not touched; delete it to have it made",
			k.name, dependency.ManagedByLabel, dependency.ManagedBy))
	}
}

// forged tells, once for each pod, that its record is not believed.
func (t *teller) forged(p *pod, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told[p.UID] {
		return
	}
	if t.told == nil || len(t.told) > 10000 { // saying it again is no harm, growing for ever is
		t.told = map[types.UID]bool{}
	}
	t.told[p.UID] = true
	t.recorder.Event(&corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID,
	}, corev1.EventTypeWarning, reasonRecordForged, fmt.Sprintf(
		"No %s is made for this pod: %v", secretsstore.ClassKind.Kind, err))
}
