package watcher

import (
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
	for _, p := range c.podsOf(w) {
		if p.missed() {
			h.missed = append(h.missed, p.Name)
		}
		if !p.injected || p.finished || !p.started.IsZero() {
			continue
		}
		switch left := slowStart - now.Sub(p.CreationTimestamp.Time); {
		case left > 0:
			h.again = max(h.again, left)
		case h.hinders == "":
			h.hinders = c.hinders(p)
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
	failures := c.mountFailures.by(byPod, string(p.UID))
	if c.mounted(p, p.classes...) {
		failures = nil
	}
	for _, failure := range failures {
		if !slices.Contains(found, failure.text) {
			found = append(found, failure.text)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return p.doesNotStart(strings.Join(found, "; "))
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

func (p *pod) doesNotStart(why string) string { return "Pod " + p.Name + " does not start: " + why }

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

// examined tells what is wrong with the pods, each thing once.
func (t *teller) examined(w *workload, h health) {
	if len(h.missed) > 0 && t.once(w.UID, reasonMissed+w.stamp()) {
		t.event(w, warning, reasonMissed, fmt.Sprintf(
			"%d pods ask for secrets and were not injected (%s): the webhook was away when they were made, "+
				"or their namespace was labelled later; restart them", len(h.missed), few(h.missed)))
	}
	if len(h.unheard) > 0 && t.once(w.UID, reasonNotCopied+strings.Join(h.unheard, ",")) {
		t.event(w, warning, reasonNotCopied, fmt.Sprintf(
			"On a %s itself nothing is asked for by %s, which the webhook does not copy from there: annotate its pod template",
			w.kind.Kind, strings.Join(h.unheard, ", ")))
	}
	if h.hinders != "" && t.once(w.UID, h.hinders) {
		t.event(w, warning, reasonNotStarting, h.hinders)
	}
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
		switch text := c.hinders(p); {
		case text != "":
			return text
		case p.trouble != "":
			return p.doesNotStart(p.trouble)
		}
	}
	return ""
}

// newDefaults reports whether the workload's template would come to another
// generated class now than the one that its pods have: a default has changed,
// which by itself rolls nothing.
func (c *caches) newDefaults(w *workload, wanted dependency.Record) bool {
	if !wanted.Generated() || w.fixed {
		return false
	}
	current := c.currency(w)
	for _, p := range c.podsOf(w) {
		if p.injected && !p.finished && current(p) && !slices.Contains(p.classes, wanted.SecretProviderClass) {
			return true
		}
	}
	return false
}
