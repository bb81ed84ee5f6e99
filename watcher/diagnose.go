package watcher

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
)

// slowStart is how long a pod may take until somebody is told what hinders it.
const slowStart = time.Minute

// health is what is wrong with a workload's pods besides old content.
type health struct {
	missed  []string // names of pods that ask for an injection and did not get it
	hinders string   // why a pod's secrets are not mounted, "" for nothing that is known
	slow    string   // the name of that pod
	unheard []string // keys of annotations that ask for nothing where they stand
	again   time.Duration
}

// examine looks at the pods of a workload whose namespace is opted in.
func (c *caches) examine(now time.Time, w *workload) health {
	var h health
	if !c.enabled(w.Namespace) {
		return h
	}
	h.unheard = w.unheard()
	var slow []*pod
	for _, p := range c.podsOf(w) {
		if p.missed() {
			h.missed = append(h.missed, p.Name)
		}
		if !p.injected || p.finished || !p.started.IsZero() {
			continue
		}
		if left := slowStart - now.Sub(p.CreationTimestamp.Time); left > 0 {
			h.again = max(h.again, left)
		} else {
			slow = append(slow, p)
		}
	}
	// Each time of the same one, as long as it is hindered.
	slices.SortFunc(slow, func(a, b *pod) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range slow {
		if h.hinders = c.hinders(p); h.hinders != "" {
			h.slow = p.Name
			break
		}
	}
	slices.Sort(h.missed)
	return h
}

// hinders answers what keeps an injected pod's secrets from being mounted, as far
// as it can be told: from what is there, and from what kubelet says of its
// mounts. The code that Azure answers with when an identity is wrong never
// reaches the pod, so identities are compared here.
func (c *caches) hinders(p *pod) string {
	var found []string
	for _, name := range p.classes {
		if text := c.classHinders(p, name); text != "" {
			found = append(found, text)
		}
	}
	// An Event stays for an hour, also of a mount that is made a moment later.
	if !c.mounted(p, p.classes...) {
		var failures []string
		for _, failure := range c.mountFailures.by(byPod, string(p.UID)) {
			if !slices.Contains(found, failure.text) {
				failures = append(failures, failure.text)
			}
		}
		slices.Sort(failures)
		found = append(found, slices.Compact(failures)...)
	}
	return strings.Join(found, "; ")
}

// mounted reports whether classes have been mounted for this very pod: of each
// the driver writes a status as the last step. It may be another pod's that had
// the name before.
func (c *caches) mounted(p *pod, classes ...string) bool {
	return !slices.ContainsFunc(classes, func(class string) bool {
		s := c.mountOf(p, class)
		return s == nil || s.owner != p.UID
	})
}

func doesNotStart(pod, why string) string { return "Pod " + pod + " does not start: " + why }

// classHinders compares what a class, the pod's ServiceAccount and the driver's
// provider need of one another. Identities that have mounted it fit.
func (c *caches) classHinders(p *pod, name string) string {
	class := c.classes.get(p.Namespace, name)
	if class == nil {
		return "SecretProviderClass " + name + " does not exist"
	}
	if class.spec.Provider != secretsstore.ProviderAzure {
		return ""
	}
	serviceAccount := c.accounts.get(p.Namespace, p.account)
	if serviceAccount == nil {
		return "ServiceAccount " + p.account + " does not exist"
	}
	if c.mounted(p, name) {
		return ""
	}
	ours := serviceAccount.Annotations[annotation.IdentityClientID]
	theirs := class.spec.Parameters["clientID"]
	switch {
	case theirs == "" && !p.principal && !otherIdentity(class.spec.Parameters):
		return "SecretProviderClass " + name + " names no clientID"
	case theirs != "" && ours != "" && !strings.EqualFold(ours, theirs):
		return fmt.Sprintf("SecretProviderClass %s names another clientID than ServiceAccount %s: "+
			"its identity must trust system:serviceaccount:%s:%s", name, p.account, p.Namespace, p.account)
	}
	return ""
}

// otherIdentity reports whether a class reads the vault by something else than
// workload identity (provider v1.8.2 pkg/provider/types/parameters.go).
func otherIdentity(parameters map[string]string) bool {
	return parameters["useVMManagedIdentity"] == "true" || parameters["usePodIdentity"] == "true"
}

// examined tells what is wrong with the pods.
func (t *teller) examined(w *workload, h health) {
	missed := ""
	if len(h.missed) > 0 {
		missed = "under " + w.stamp() // whoever they are
	}
	if t.standing(w.UID, reasonMissed, missed) {
		t.event(w, warning, reasonMissed, fmt.Sprintf(
			"%d pods ask for secrets and were not injected (%s): the webhook was away when they were made, "+
				"or their namespace was labelled later; restart them", len(h.missed), few(h.missed)))
	}
	if unheard := strings.Join(h.unheard, ", "); t.standing(w.UID, reasonNotCopied, unheard) {
		t.event(w, warning, reasonNotCopied, fmt.Sprintf(
			"On %s nothing is asked for by %s, which the webhook does not copy from there: annotate the pod template",
			w.itself(), unheard))
	}
	if t.standing(w.UID, reasonNotStarting, h.hinders) { // one pod for all that are hindered by the same
		t.event(w, warning, reasonNotStarting, doesNotStart(h.slow, h.hinders))
	}
}

// itself says what annotations stand on that are not on the pod template.
func (w *workload) itself() string {
	if w.owner.uid == "" {
		return fmt.Sprintf("a %s itself", w.kind.Kind)
	}
	return fmt.Sprintf("a %s of %s %s, which shapes it,", w.kind.Kind, w.owner.kind, w.owner.name)
}

// few lists the first three.
func few(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}

// stuckOn answers what a pod of the workload that is not ready waits for, one of
// the newest template if there is any.
func (c *caches) stuckOn(w *workload) string {
	var waiting []*pod
	for _, p := range c.podsOf(w) {
		if !p.finished && !p.ready {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *pod) int {
		if newA, newB := a.stamp == w.stamp(), b.stamp == w.stamp(); newA != newB {
			return map[bool]int{true: -1, false: 1}[newA]
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, p := range waiting {
		if why := cmp.Or(c.hinders(p), p.trouble); why != "" {
			return doesNotStart(p.Name, why)
		}
	}
	return ""
}

// newDefaults answers the generated class that the workload's template would come
// to now, where it is another than the one that its pods have, else "": a default
// has changed, which by itself rolls nothing.
func (c *caches) newDefaults(w *workload, wanted dependency.Record) string {
	if !wanted.Generated() || w.fixed {
		return ""
	}
	current := c.currency(w)
	for _, p := range c.podsOf(w) {
		if p.injected && !p.finished && current(p) && !slices.Contains(p.classes, wanted.SecretProviderClass) {
			return wanted.SecretProviderClass
		}
	}
	return ""
}
