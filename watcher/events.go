package watcher

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/kube"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
)

// Reasons of Events besides those of decisions.
const (
	reasonRolled      = "ContentRollout"        // a rollout was started
	reasonDone        = "ContentRolledOut"      // and has ended well
	reasonRefused     = "ContentRolloutRefused" // the API server refused the patch
	reasonWithheld    = "SecretProviderClassWithheld"
	reasonNotBelieved = "DependenciesNotBelieved"
	reasonLagging     = "RotationLagging"
	reasonMissed      = "InjectionMissed"
	reasonNotCopied   = "AnnotationsNotCopied"
	reasonNotStarting = "SecretsNotMounted"
	reasonNewDefaults = "DefaultsChanged"
	reasonRotationOff = "RotationOff"

	reasonNotHonored     = "ReloaderAnnotationNotHonored"
	reasonReloaderActive = "ReloaderActive"
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
	rollout.RolloutStuck:    true, // told with what it is stuck on
}

// warnings are decisions that somebody has to do something about.
var warnings = map[rollout.Reason]bool{
	rollout.RolloutUndone: true,
	rollout.SecretMissing: true,
	rollout.SecretFlips:   true,
	rollout.MountedTwice:  true,
}

// atOnce are decisions that no waiting changes. The others are told when they
// have stood for a while: caches that are filled one after the other, and pods
// that the driver brings up to date one after the other, look odd for moments.
var atOnce = map[rollout.Reason]bool{
	rollout.RestartNever:   true,
	rollout.Paused:         true,
	rollout.OnDelete:       true,
	rollout.NotReplaced:    true,
	rollout.BelowPartition: true,
	rollout.NotRestartable: true,
	rollout.RolloutUndone:  true,
}

// tellAfter is that while.
const tellAfter = time.Minute

// tellAgain is how long a thing must have been over to be told again when it
// comes up another time. What comes and goes every few seconds is told once.
const tellAgain = 10 * time.Minute

// maxTold bounds what is remembered of what was said. Saying a thing again is
// no harm, growing for ever is.
const maxTold = 20000

// maxWhy bounds what is repeated of what others wrote, such as the API server's answer.
const maxWhy = 500

func shortened(why string) string {
	if len(why) > maxWhy {
		return strings.ToValidUTF8(why[:maxWhy], "") + "..."
	}
	return why
}

// eventSink is where client-go's recorders write Events to.
type eventSink struct{ kube *kube.Client }

func (s eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.kube.Events(e.Namespace).Create(context.Background(), e, metav1.CreateOptions{})
}

func (s eventSink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.kube.Events(e.Namespace).Update(context.Background(), e, metav1.UpdateOptions{})
}

func (s eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.kube.Events(e.Namespace).Patch(context.Background(), e.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{})
}

// teller tells people what happens, in Events on the object that they look at.
// Safe for concurrent use.
type teller struct {
	recorders *recorders

	mu    sync.Mutex
	told  map[saying]bool
	stood map[subject]map[string]time.Time // of each text when it was over, zero while it stands
}

// saying is something said of an object.
type saying struct {
	about types.UID
	text  string
}

// once reports whether a thing is said of an object for the first time.
func (t *teller) once(about types.UID, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := saying{about, text}
	if t.told[s] {
		return false
	}
	if t.told == nil || len(t.told) >= maxTold {
		t.told = map[saying]bool{}
	}
	t.told[s] = true
	return true
}

// subject is what may be said of an object, of which one thing at a time stands.
type subject struct {
	about types.UID
	topic string
}

// standing reports whether what stands with an object now, "" for nothing, is to
// be told: once for each time that it comes up. It wants to be asked at every look.
func (t *teller) standing(about types.UID, topic, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, s := time.Now(), subject{about, topic}
	texts := t.stood[s]
	for one, over := range texts {
		switch {
		case over.IsZero() && one != text:
			texts[one] = now
		case !over.IsZero() && now.Sub(over) >= tellAgain:
			delete(texts, one)
		}
	}
	if text == "" {
		if len(texts) == 0 {
			delete(t.stood, s)
		}
		return false
	}
	if texts == nil {
		if t.stood == nil || len(t.stood) >= maxTold {
			t.stood = map[subject]map[string]time.Time{}
		}
		texts = map[string]time.Time{}
		t.stood[s] = texts
	}
	_, known := texts[text]
	texts[text] = time.Time{}
	return !known
}

// event tells something of a workload; of a pod or ReplicaSet that belongs to
// somebody, such as a Job, it tells the owner.
func (t *teller) event(w *workload, kind, reason, message string) {
	about := corev1.ObjectReference{Namespace: w.Namespace, Name: w.Name, UID: w.UID}
	about.APIVersion, about.Kind = w.kind.ToAPIVersionAndKind()
	if (w.kind == pods || w.kind == replicaSets) && w.owner.uid != "" {
		about.APIVersion, about.Kind, about.Name, about.UID = w.owner.apiVersion, w.owner.kind, w.owner.name, w.owner.uid
	}
	t.recorders.event(&about, kind, reason, message)
}

// topicDecision is that of decisions, whatever their reasons.
const topicDecision = "Decision"

// decided tells of a decision that leaves pods on old content, once for each
// reason and rotation while it stands. It answers in how long it wants to be
// asked again, 0 for not at all.
func (t *teller) decided(w *workload, d rollout.Decision, stood time.Duration) time.Duration {
	text, wait := string(d.Reason)+d.Rotated.String(), time.Duration(0)
	switch {
	case d.Counts.Stale+d.Counts.Unknown == 0 || d.Action == rollout.Roll || quiet[d.Reason]:
		text = ""
	case stood < tellAfter && !atOnce[d.Reason]:
		text, wait = "", tellAfter-stood
	}
	if t.standing(w.UID, topicDecision, text) {
		kind := normal
		if warnings[d.Reason] {
			kind = warning
		}
		t.event(w, kind, string(d.Reason), d.Message)
	}
	return wait
}

func (t *teller) rolled(w *workload, cause string) {
	t.event(w, normal, reasonRolled, cause)
}

func (t *teller) done(w *workload, pods int, took time.Duration) {
	t.event(w, normal, reasonDone,
		fmt.Sprintf("%d pods run on the new content, %s after the rollout began", pods, took.Round(time.Second)))
}

// stuck tells why a rollout does not move, in the words that why has of one of
// its pods.
func (t *teller) stuck(w *workload, d rollout.Decision, stuck bool, why func() string) {
	text := ""
	if stuck {
		text = "of " + w.stamp()
	}
	if !t.standing(w.UID, string(rollout.RolloutStuck), text) {
		return
	}
	message := d.Message
	if d.Reason != rollout.RolloutStuck || message == "" {
		message = "The rollout has not moved for long"
	}
	if words := why(); words != "" {
		message += ". " + words
	}
	t.event(w, warning, string(rollout.RolloutStuck), message)
}

func (t *teller) refused(w *workload, err error) {
	why := shortened(err.Error())
	if t.standing(w.UID, reasonRefused, w.stamp()+why) {
		t.event(w, warning, reasonRefused, "The rollout was refused, it is tried again: "+why)
	}
}

// settled takes note that nothing is refused any more.
func (t *teller) settled(w *workload) { t.standing(w.UID, reasonRefused, "") }

// withheld tells those who need a class why there is none.
func (t *teller) withheld(k classKey, askers []*workload, why string) {
	for _, w := range askers {
		if t.once(w.UID, reasonWithheld+k.name) {
			t.event(w, warning, reasonWithheld, fmt.Sprintf("%s %s is not made: %s", secretsstore.ClassKind.Kind, k.name, why))
		}
	}
}

// notBelieved tells, once for each pod, that its record is not believed.
func (t *teller) notBelieved(p *pod, err error) {
	if t.once(p.UID, reasonNotBelieved) {
		t.recorders.event(&corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		}, warning, reasonNotBelieved, fmt.Sprintf("No %s is made for this pod: %v", secretsstore.ClassKind.Kind, err))
	}
}

// rotationOff tells on the driver what concerns every workload of the cluster.
func (t *teller) rotationOff(d *driver) {
	t.recorders.event(&corev1.ObjectReference{
		APIVersion: "storage.k8s.io/v1", Kind: "CSIDriver", Name: d.Name, UID: d.UID,
	}, warning, reasonRotationOff, "Rotation is switched off: pods keep what they started with, and Keyroll rolls nothing")
}

// newDefaults tells that pods would ask for another class now, "" for none.
func (t *teller) newDefaults(w *workload, class string) {
	if t.standing(w.UID, reasonNewDefaults, class) {
		t.event(w, normal, reasonNewDefaults,
			"What the namespace, its ServiceAccount or the installation give as defaults has changed since the pods were made; a restart applies it")
	}
}
