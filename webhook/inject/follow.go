package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"keyroll.dev/internal/annotation"
)

// follow answers the annotations that the workload's template is to have, and
// what there is to say about it. The template's keyroll.dev/from-workload lists
// the keys that were copied. For each key:
//
//	template       workload   then
//	absent         set        copied, listed (not where a manifest claims it for the template)
//	listed         set        copied, listed
//	listed         absent     removed, if it was listed before this update
//	not listed     set        the template's own value wins
//
// A listed key becomes the template's own, and is listed no more, when it has
// come to be so:
//
//	a manifest that was applied, on the client's side or the server's, gives it to the template
//	an update takes it off the workload and gives it another value in the template
//	it came with its list, from an exported manifest or by kubectl rollout undo, and the workload has none
func (w *Workload) follow(old *Workload) (template map[string]string, warnings []string) {
	have := w.Pod.Metadata.Annotations
	listed := annotation.Copied(have)
	f := following{w: w, old: old, listed: listed, template: map[string]string{}}
	maps.Copy(f.template, have)
	delete(f.template, annotation.FromWorkload)
	if old != nil {
		f.before = annotation.Copied(old.Pod.Metadata.Annotations)
	}
	for _, row := range annotation.Table {
		if row.ShapesPods() {
			f.key(row.Key)
		}
	}
	if len(f.copied) > 0 {
		f.template[annotation.FromWorkload] = annotation.CopiedList(f.copied)
	}
	return f.template, f.warnings
}

// following is the state of [Workload.follow].
type following struct {
	w, old   *Workload
	listed   []string
	before   []string        // listed before the update
	claimed  map[string]bool // keys that a manifest claims for the template; nil until it is asked for
	template map[string]string
	copied   []string
	warnings []string
}

func (f *following) key(key string) {
	wanted, set := f.w.Metadata.Annotations[key]
	value, there := f.template[key]
	switch {
	case there && f.own(key, set):
		if set && value != wanted {
			f.warn("%s: the pod template's own value %q wins over the workload's %q", key, short(value), short(wanted))
		}
	case set:
		if f.edited(key) && value != wanted {
			f.warn("%s: the pod template follows the workload's own annotation, so %q is set back to %q; change it there", key, short(value), short(wanted))
		}
		f.template[key] = wanted
		if there || !f.claims(key) || f.claims(annotation.FromWorkload) { // else it would be the template's own the next time
			f.copied = append(f.copied, key)
		}
	case there:
		delete(f.template, key)
	}
}

// own tells whether a key in the template is its own. set says whether the
// workload has the key, too.
func (f *following) own(key string, set bool) bool {
	switch {
	case !slices.Contains(f.listed, key):
		return true
	case f.claims(key):
		// A manifest that holds the list as well was taken from the cluster, with
		// copies and all: then what the workload says counts, if it says anything.
		return !set || !f.claims(annotation.FromWorkload)
	case set:
		return false
	}
	return !slices.Contains(f.before, key) || f.edited(key)
}

// claims tells whether a manifest claims a key for the template.
func (f *following) claims(key string) bool {
	if f.claimed == nil {
		f.claimed = f.w.claims()
	}
	return f.claimed[key]
}

func (f *following) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// edited tells that an update changed the key's value in the template.
func (f *following) edited(key string) bool {
	if f.old == nil {
		return false
	}
	before, had := f.old.Pod.Metadata.Annotations[key]
	now, has := f.w.Pod.Metadata.Annotations[key]
	return had && has && before != now
}

// short bounds a value that a warning repeats.
func short(value string) string {
	const most = 60
	characters := 0
	for i := range value {
		if characters == most {
			return value[:i] + "…"
		}
		characters++
	}
	return value
}

// kept answers the template's annotations as they are, with those that the
// update took away though the workload has them. These come back as copies, with
// the values that they had: without them new pods would not even ask for their
// secrets.
func (w *Workload) kept(old *Workload) map[string]string {
	have, before := w.Pod.Metadata.Annotations, old.Pod.Metadata.Annotations
	listed := annotation.Copied(have)
	template := map[string]string{}
	maps.Copy(template, have)
	var copied []string
	for _, row := range annotation.Table {
		_, set := w.Metadata.Annotations[row.Key]
		_, there := have[row.Key]
		value, had := before[row.Key]
		lost := set && had && !there && row.ShapesPods()
		if lost {
			template[row.Key] = value
		}
		if lost || slices.Contains(listed, row.Key) {
			copied = append(copied, row.Key)
		}
	}
	if len(template) == len(have) {
		return have
	}
	template[annotation.FromWorkload] = annotation.CopiedList(copied)
	return template
}

// claims answers the annotations that someone's manifest gives the template.
func (w *Workload) claims() map[string]bool {
	claimed := map[string]bool{}
	for _, m := range w.Metadata.Managers {
		if m.Operation == "Apply" && m.Subresource == "" {
			w.addClaims(claimed, m.Fields)
		}
	}
	if manifest := w.Metadata.Annotations[lastApplied]; manifest != "" {
		w.addManifest(claimed, manifest)
	}
	return claimed
}

// addManifest adds the template's annotations of a manifest.
func (w *Workload) addManifest(claimed map[string]bool, manifest string) {
	var t templated
	if t.decode([]byte(manifest)) != nil {
		return // it is an annotation: anything may stand there
	}
	for _, raw := range [][]byte{t.template, t.jobTemplate} {
		var pod Pod
		if len(raw) > 0 && pod.decode(raw) == nil {
			for key := range pod.Metadata.Annotations {
				claimed[key] = true
			}
		}
	}
}

// addClaims adds the template's annotations of a field set.
func (w *Workload) addClaims(claimed map[string]bool, fields []byte) {
	type template struct {
		Metadata struct {
			Annotations map[string]json.RawMessage `json:"f:annotations"`
		} `json:"f:metadata"`
	}
	var set struct {
		Spec struct {
			Template    template `json:"f:template"`
			JobTemplate struct {
				Spec struct {
					Template template `json:"f:template"`
				} `json:"f:spec"`
			} `json:"f:jobTemplate"`
		} `json:"f:spec"`
	}
	if kjson.UnmarshalCaseSensitivePreserveInts(fields, &set) != nil {
		return // a version of field sets that we do not know
	}
	for _, t := range []template{set.Spec.Template, set.Spec.JobTemplate.Spec.Template} {
		for key := range t.Metadata.Annotations {
			claimed[strings.TrimPrefix(key, "f:")] = true
		}
	}
}
