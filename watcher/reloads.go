package watcher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/watcher/reloader"
)

// reloads is what a workload asks for by Reloader's annotations.
type reloads struct {
	reloader.Wishes

	configMaps []string // that its template takes from, where it asks for those that it does
}

func reloadsOf(m *metav1.ObjectMeta, template *corev1.PodTemplateSpec) *reloads {
	wishes := reloader.Parse(m.Annotations, template.Annotations)
	if wishes == nil {
		return nil
	}
	r := &reloads{Wishes: *wishes}
	if r.ConfigMaps != "" {
		r.configMaps = configMapsOf(&template.Spec)
	}
	return r
}

// configMapsOf answers the ConfigMaps that a template takes from, by name.
func configMapsOf(spec *corev1.PodSpec) []string {
	found := map[string]bool{}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil {
			found[v.ConfigMap.Name] = true
		}
		if v.Projected != nil {
			for _, projection := range v.Projected.Sources {
				if projection.ConfigMap != nil {
					found[projection.ConfigMap.Name] = true
				}
			}
		}
	}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			for _, from := range containers[i].EnvFrom {
				if from.ConfigMapRef != nil {
					found[from.ConfigMapRef.Name] = true
				}
			}
			for _, env := range containers[i].Env {
				if env.ValueFrom != nil && env.ValueFrom.ConfigMapKeyRef != nil {
					found[env.ValueFrom.ConfigMapKeyRef.Name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// ofSecret tells how the workload stands to a Secret by Reloader's annotations.
func (c *caches) ofSecret(w *workload, name string) reloader.Follow {
	if w.reloads == nil {
		return reloader.Not
	}
	return w.reloads.Secrets.Follows(name, c.marksOfSecret(w.Namespace, name))
}

// ofClass tells how the workload stands to a SecretProviderClass.
func (c *caches) ofClass(w *workload, name string) reloader.Follow {
	if w.reloads == nil {
		return reloader.Not
	}
	var marks reloader.Marks
	if found := c.classes.get(w.Namespace, name); found != nil {
		marks = found.marks
	}
	return w.reloads.Classes.Follows(name, marks)
}

// marksOfSecret unites what stands on a Secret with what its classes put there:
// v1.5 of the driver does so at the Secret's creation only, and the Secret may
// be hidden from us.
func (c *caches) marksOfSecret(namespace, name string) reloader.Marks {
	var marks reloader.Marks
	if s := c.secrets.get(namespace, name); s != nil {
		marks = s.marks
	}
	for _, feeder := range c.classes.by(bySecret, path(namespace, name)) {
		marks = marks.Or(feeder.secretMarks[name])
	}
	return marks
}

// secretsListed answers the driver-managed Secrets that Reloader's annotations
// name, whether or not the pods take from them. Where an element is an
// expression, all of the namespace are compared.
func (c *caches) secretsListed(w *workload) []string {
	if w.reloads == nil {
		return nil
	}
	var found []string
	for _, n := range w.reloads.Secrets.Names {
		switch {
		case !n.Exact():
			return slices.DeleteFunc(c.managedSecrets(w.Namespace), func(name string) bool { return !w.reloads.Secrets.Lists(name) })
		case c.managed(w.Namespace, n.Text):
			found = append(found, n.Text)
		}
	}
	return found
}

// classesListed is the same for SecretProviderClasses.
func (c *caches) classesListed(w *workload) []*class {
	if w.reloads == nil {
		return nil
	}
	var found []*class
	for _, n := range w.reloads.Classes.Names {
		if !n.Exact() {
			return slices.DeleteFunc(c.classes.by(byNamespace, w.Namespace), func(one *class) bool { return !w.reloads.Classes.Lists(one.Name) })
		}
		if named := c.classes.get(w.Namespace, n.Text); named != nil {
			found = append(found, named)
		}
	}
	return found
}

// managedSecrets answers every Secret of a namespace that the driver fills.
func (c *caches) managedSecrets(namespace string) []string {
	found := map[string]bool{}
	for _, s := range c.secrets.by(byNamespace, namespace) {
		found[s.Name] = true
	}
	for _, class := range c.classes.by(byNamespace, namespace) {
		for name := range class.synced {
			found[name] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}

// unhonored answers what Reloader's annotations on a workload ask for and nobody
// does, a line for each. What depends on its pods is told once they have had
// time to start; it answers how much of that is left.
func (c *caches) unhonored(now time.Time, w *workload) (lines []string, wait time.Duration) {
	if w.reloads == nil {
		return nil, 0
	}
	for _, u := range w.reloads.Unmet {
		lines = append(lines, u.String())
	}
	if w.kind == cronJobs {
		return append(lines, "no Job is run for a change: the next one takes the newest content by itself"), 0
	}
	if names := w.reloads.configMaps; len(names) > 0 {
		lines = append(lines, fmt.Sprintf("%s: ConfigMaps are not followed (%s)", w.reloads.ConfigMaps, few(names)))
	}
	if wait = slowStart - now.Sub(w.CreationTimestamp.Time); wait > 0 {
		return lines, wait
	}
	return append(lines, c.unfound(w)...), 0
}

// unfound answers what the annotations of a workload name or its pods use, and
// is not there to be followed.
func (c *caches) unfound(w *workload) []string {
	var lines []string
	uses, secrets := c.usesOf(w), c.secretsListed(w)
	for _, n := range w.reloads.Secrets.Names {
		if !slices.ContainsFunc(secrets, n.Matches) {
			lines = append(lines, fmt.Sprintf("%s: %s is no Secret that the driver fills", reloader.SecretReload, n))
		}
	}
	for _, n := range w.reloads.Classes.Names {
		if uses.pods > 0 && !slices.ContainsFunc(uses.classes, n.Matches) {
			lines = append(lines, fmt.Sprintf("%s: the pods take from no SecretProviderClass %s", reloader.ClassReload, n))
		}
	}
	if key := w.reloads.Secrets.ByUse(); key != "" && len(uses.others) > 0 {
		lines = append(lines, fmt.Sprintf("%s: Secrets that the driver does not fill are not followed (%s)", key, few(uses.others)))
	}
	if c.secrets.informer == nil && w.reloads.Secrets.Search && len(uses.managed) > 0 {
		lines = append(lines, reloader.Search+": the watcher has no right to see Secrets, so `match` counts only where a SecretProviderClass puts it on them")
	}
	return lines
}

// uses is what the live pods of a workload take from.
type uses struct {
	pods            int
	classes         []string // those included whose Secrets they take from
	managed, others []string // Secrets, by whether the driver fills them
}

func (c *caches) usesOf(w *workload) uses {
	var u uses
	for _, p := range c.podsOf(w) {
		if p.finished {
			continue
		}
		u.pods++
		u.classes = append(u.classes, p.classes...)
		for name := range p.secrets {
			for _, feeder := range c.classes.by(bySecret, path(p.Namespace, name)) {
				u.classes = append(u.classes, feeder.Name)
			}
			if c.managed(p.Namespace, name) {
				u.managed = append(u.managed, name)
			} else {
				u.others = append(u.others, name)
			}
		}
	}
	for _, names := range []*[]string{&u.classes, &u.managed, &u.others} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return u
}

// unhonored tells it.
func (t *teller) unhonored(w *workload, lines []string) {
	text := shortened(strings.Join(lines, "; "))
	if t.standing(w.UID, reasonNotHonored, text) {
		t.event(w, warning, reasonNotHonored, "Reloader's annotations are honored but for this: "+text)
	}
}
