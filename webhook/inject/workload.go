package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
)

// Kinds that differ from the others.
const (
	kindCronJob = "CronJob"
	kindJob     = "Job"
)

// lastApplied is where client-side kubectl apply keeps the manifest.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Workload is the part of a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job
// or CronJob that a plan reads.
type Workload struct {
	Metadata WorkloadMetadata
	Pod      Pod // the pod template

	path string // JSON pointer to the pod template
	raw  []byte // the pod template, as it stands in the object
}

// WorkloadMetadata is the part of a workload's metadata that a plan reads.
type WorkloadMetadata struct {
	Annotations map[string]string
	Deletion    *string
	Owners      []owner
	Managers    []manager
}

// owner is one entry of ownerReferences.
type owner struct{ Controller *bool }

// manager is one entry of managedFields.
type manager struct {
	Operation   string
	Subresource string
	Fields      []byte
}

// owned tells of an object whose content is its controller's business.
func (w *Workload) owned() bool {
	for _, o := range w.Metadata.Owners {
		if o.Controller != nil && *o.Controller {
			return true
		}
	}
	return false
}

// WorkloadInput is all that a workload's plan is made from.
type WorkloadInput struct {
	Kind      string
	New       *Workload
	Old       *Workload // nil on CREATE
	Namespace dependency.Namespace
	Accounts  dependency.Accounts
	Classes   Classes
	Fallback  dependency.Fallback
}

// WorkloadPlan is what is to be done with a workload. With Problems nothing is
// done and the workload is refused.
type WorkloadPlan struct {
	Reason   Reason
	Problems annotation.Problems
	Warnings []string
	// Unsettled: as in [Plan], for a change that asks for something.
	Unsettled bool

	workload *Workload
	template map[string]string // the annotations that the template is to have; nil: leave them
	uncaused bool              // remove the change-cause
}

// NewWorkloadPlan decides what becomes of a workload:
//
//	owned, being deleted, update of a Job         let in as it is
//	namespace not enabled                         its annotations are left as they are, with warnings
//	something wrong, by this very change          refused
//	something wrong, since before this change     let in as it is, with warnings; lost copies are put back (see kept)
//	else                                          the template follows the workload's annotations (see follow)
//
// and on an update two things more, so that the watcher's rollouts leave no
// trace that confuses: a stamp that got lost while the template is otherwise
// the same is put back, lest its loss roll the workload; and a change-cause of
// the watcher's is removed when the template changes for another reason, lest
// it explain that change.
func NewWorkloadPlan(in WorkloadInput) WorkloadPlan {
	switch {
	case in.New.owned():
		return WorkloadPlan{Reason: OwnedByController}
	case in.New.Metadata.Deletion != nil:
		return WorkloadPlan{Reason: BeingDeleted}
	case in.Kind == kindJob && in.Old != nil:
		return WorkloadPlan{Reason: TemplateImmutable}
	}
	template, warnings := in.New.follow(in.Old)
	check := in.check(in.New, template)
	if !in.Namespace.Enabled() {
		warnings := in.unlabelled(check)
		p := WorkloadPlan{Reason: NamespaceNotEnabled, Warnings: warnings, Unsettled: len(warnings) > 0 && in.asks(), workload: in.New}
		p.tidy(in.Old, in.New.Pod.Metadata.Annotations)
		return p
	}
	p := WorkloadPlan{Reason: UpToDate, Warnings: check.Warnings, Unsettled: check.Unsettled && in.asks(), workload: in.New}
	standing, introduced := in.sort(check.Problems)
	p.Warnings = append(p.Warnings, standing...)
	if len(introduced) > 0 {
		return WorkloadPlan{Reason: check.Reason, Problems: introduced, Warnings: p.Warnings, Unsettled: p.Unsettled}
	}
	if hasWrong := slices.ContainsFunc(check.Problems, certain); hasWrong {
		// What its pods would be refused for stood before this update, and must not
		// reach a template that works.
		template = in.keep(template)
		p.Reason = check.Reason
	} else {
		p.Warnings = append(p.Warnings, warnings...)
	}
	p.tidy(in.Old, template)
	return p
}

// keep answers the annotations of a template that is not to follow the
// workload's on this update. A workload that opts out is to have plain pods,
// whatever else it says.
func (in WorkloadInput) keep(followed map[string]string) map[string]string {
	if strings.TrimSpace(followed[annotation.Inject]) == "false" {
		return in.New.Pod.Metadata.Annotations
	}
	return in.New.kept(in.Old)
}

// check looks at the pods that the template would make, with what stands on the
// workload alone.
func (in WorkloadInput) check(w *Workload, template map[string]string) Plan {
	pod := w.Pod
	pod.Metadata.Annotations = maps.Clone(template)
	if pod.Metadata.Annotations == nil {
		pod.Metadata.Annotations = map[string]string{}
	}
	for key, value := range w.Metadata.Annotations {
		if _, set := template[key]; !set && annotation.IsInput(key) {
			pod.Metadata.Annotations[key] = value
		}
	}
	return newPlan(Input{
		Pod: pod, Namespace: in.Namespace, Accounts: in.Accounts, Classes: in.Classes, Fallback: in.Fallback,
	})
}

// asks tells of a change in what is asked for, and of an update that changes
// nothing at all, by which the watcher asks to look again. All others, such as
// a new image, are not worth waiting for.
func (in WorkloadInput) asks() bool {
	if in.Old == nil {
		return true
	}
	same := func(a, b map[string]string) bool {
		return !slices.ContainsFunc(annotation.Table, func(r annotation.Row) bool { return a[r.Key] != b[r.Key] })
	}
	return bytes.Equal(in.Old.raw, in.New.raw) ||
		!same(in.New.Metadata.Annotations, in.Old.Metadata.Annotations) ||
		!same(in.New.Pod.Metadata.Annotations, in.Old.Pod.Metadata.Annotations)
}

// certain tells of a problem that nothing but a change of the workload mends.
func certain(p annotation.Problem) bool { return !p.Later }

// unlabelled is what there is to say in a namespace that is not enabled.
func (in WorkloadInput) unlabelled(check Plan) []string {
	if check.Reason == NotAsked || check.Reason == OptedOut {
		return nil
	}
	warnings := []string{fmt.Sprintf("namespace %q is not labelled %s=%s, so nothing is injected into these pods",
		in.Namespace.Name, annotation.InjectionLabel, annotation.InjectionEnabled)}
	for _, p := range check.Problems {
		warnings = append(warnings, p.String())
	}
	return append(warnings, check.Warnings...)
}

// sort divides problems into those that the change introduces and the
// others, which are warnings: what was there before, and what may yet be right.
func (in WorkloadInput) sort(problems annotation.Problems) (standing []string, introduced annotation.Problems) {
	if len(problems) == 0 {
		return nil, nil
	}
	var before annotation.Problems
	if in.Old != nil {
		template, _ := in.Old.follow(in.Old)
		before = in.check(in.Old, template).Problems
	}
	old := stood(problems, before)
	for i, p := range problems {
		if certain(p) && !old[i] {
			introduced = append(introduced, p)
			continue
		}
		standing = append(standing, p.String())
	}
	return standing, introduced
}

// stood tells of each problem whether it was there before. What is said of the
// same value of a key is the same problem, though a container or volume has
// another name now; but of two where there was one, one is new: that which was
// not said before.
func stood(problems, before annotation.Problems) []bool {
	bare := func(p annotation.Problem) annotation.Problem { return annotation.Problem{Key: p.Key, Value: p.Value} }
	left, said := map[annotation.Problem]int{}, map[annotation.Problem]bool{}
	for _, b := range before {
		left[bare(b)]++
		said[b] = true
	}
	take := func(p annotation.Problem) bool {
		left[bare(p)]--
		return left[bare(p)] >= 0
	}
	old := make([]bool, len(problems))
	for i, p := range problems {
		old[i] = said[p] && take(p)
	}
	for i, p := range problems {
		old[i] = old[i] || take(p)
	}
	return old
}

// tidy takes down the changes that give the template these annotations, and
// those that the watcher's rollouts want.
func (p *WorkloadPlan) tidy(old *Workload, template map[string]string) {
	w := p.workload
	if !maps.Equal(template, w.Pod.Metadata.Annotations) {
		p.template, p.Reason = template, AnnotationsCopied
	}
	if old == nil {
		return
	}
	before, after := old.Pod.Metadata.Annotations, template
	stamp, stamped := before[annotation.Content]
	if _, kept := after[annotation.Content]; stamped && !kept {
		restored := maps.Clone(after)
		if restored == nil {
			restored = map[string]string{}
		}
		restored[annotation.Content] = stamp
		if maps.Equal(restored, before) && sameTemplate(old.raw, w.raw) {
			p.template, p.Reason, after = restored, StampRestored, restored
		}
	}
	p.tidyCause(old, after)
}

// tidyCause finds whether a change-cause of the watcher's would explain a
// change that is not its own.
func (p *WorkloadPlan) tidyCause(old *Workload, template map[string]string) {
	cause, set := p.workload.Metadata.Annotations[annotation.ChangeCause]
	before := old.Pod.Metadata.Annotations
	switch {
	case !set, !strings.HasPrefix(cause, annotation.CausePrefix), old.Metadata.Annotations[annotation.ChangeCause] != cause:
		return
	case template[annotation.Content] != before[annotation.Content] && template[annotation.Content] != "":
		return
	case maps.Equal(template, before) && sameTemplate(old.raw, p.workload.raw):
		return
	}
	p.uncaused = true
	if p.Reason == UpToDate || p.Reason == NamespaceNotEnabled {
		p.Reason = CauseRemoved
	}
}

// sameTemplate tells whether two pod templates are equal but for their annotations.
func sameTemplate(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := bareTemplate(a)
	y, errY := bareTemplate(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func bareTemplate(raw []byte) (map[string]any, error) {
	var t map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &t); err != nil {
		return nil, err
	}
	if metadata, ok := t["metadata"].(map[string]any); ok {
		delete(metadata, "annotations")
	}
	return t, nil
}

// Patch answers the operations that carry out the plan on the workload that it
// was made for.
func (p WorkloadPlan) Patch() Patch {
	if p.workload == nil {
		return nil
	}
	var ops Patch
	p.patchTemplate(&ops)
	if p.uncaused {
		ops.remove("/metadata/annotations/" + escape(annotation.ChangeCause))
	}
	return ops
}

func (p WorkloadPlan) patchTemplate(ops *Patch) {
	if p.template == nil {
		return
	}
	have := p.workload.Pod.Metadata.Annotations
	path := p.workload.path + "/metadata/annotations"
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if _, keep := p.template[key]; !keep {
			ops.remove(path + "/" + escape(key))
		}
	}
	want := map[string]string{}
	for key, value := range p.template {
		if old, set := have[key]; !set || old != value {
			want[key] = value
		}
	}
	if len(want) > 0 && !hasMetadata(p.workload.raw) {
		ops.add(p.workload.path+"/metadata", json.RawMessage("{}"))
	}
	ops.set(path, len(have) > 0, want)
}

// hasMetadata tells whether a template has metadata to put annotations into.
func hasMetadata(template []byte) bool {
	var t struct {
		Metadata map[string]json.RawMessage `json:"metadata"`
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(template, &t) == nil && t.Metadata != nil
}
