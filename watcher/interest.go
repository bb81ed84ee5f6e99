package watcher

import (
	"slices"

	"keyroll.dev/watcher/reloader"
)

// interest is what a workload is rolled for: the classes that its pods mount and
// the Secrets that they take from, as far as they count.
//
//	pod injected, namespace opted in   every class that it mounts, every Secret that
//	                                   those classes fill and the pod takes from
//	restart-on: auto                   the same, and every other driver-managed Secret
//	                                   that the pod takes from; no injection needed
//	restart-on: secret/NAME            that Secret, and the classes mounted that fill it
//	Reloader's annotations             the Secrets and classes that they name, and those
//	                                   that the pod takes from and they ask for; as above,
//	                                   with a Secret the mounted classes that fill it, and
//	                                   with a class the Secrets of it that the pod takes from
//	none of these                      nothing
//
// Reloader's exclusions hold against what Reloader's annotations bring in: a
// class that is excluded does not count with its Secret, and a change of a
// Secret that is excluded is no reason to roll, though new pods wait for it.
//
// An injected workload of a namespace that is no longer opted in counts for
// nothing: its next pods would not be injected, so a rollout would break it.
type interest struct {
	caches  *caches
	w       *workload
	enabled bool            // the namespace is opted in
	asked   map[string]bool // Secrets that count whether or not a pod takes from them
	feeding map[string]bool // Secrets that the classes fill which Reloader's annotations name

	// How the workload stands by Reloader's annotations to what was asked about:
	// many pods take from few things, and expressions are dear to compare.
	secrets, classes map[string]reloader.Follow
}

func (c *caches) interestOf(w *workload) interest {
	i := interest{
		caches: c, w: w, enabled: c.enabled(w.Namespace), asked: map[string]bool{}, feeding: map[string]bool{},
		secrets: map[string]reloader.Follow{}, classes: map[string]reloader.Follow{},
	}
	for _, name := range w.settings.RestartOn.Secrets {
		i.asked[name] = true
	}
	for _, name := range c.secretsListed(w) {
		if i.ofSecret(name) == reloader.Named {
			i.asked[name] = true
		}
	}
	for _, class := range c.classesListed(w) {
		if i.ofClass(class.Name) == reloader.Named {
			for name := range class.synced {
				i.feeding[name] = true
			}
		}
	}
	return i
}

func (i interest) ofSecret(name string) reloader.Follow {
	return once(i.secrets, name, i.w, i.caches.ofSecret)
}

func (i interest) ofClass(name string) reloader.Follow {
	return once(i.classes, name, i.w, i.caches.ofClass)
}

// once asks about a name if it is not known yet.
func once(known map[string]reloader.Follow, name string, w *workload, ask func(*workload, string) reloader.Follow) reloader.Follow {
	follow, asked := known[name]
	if !asked {
		follow = ask(w, name)
		known[name] = follow
	}
	return follow
}

// podInterest is the part of one pod.
type podInterest struct {
	classes []string        // that count, in the order of their volumes
	secrets map[string]bool // that count, to whether a change of one alone is a reason to roll
}

func (i interest) of(p *pod) podInterest {
	all := p.injected && i.enabled || i.w.settings.RestartOn.Auto
	var told podInterest
	var byClass map[string]bool // Secrets that come with a class
	if len(p.secrets) > 0 {
		told.secrets, byClass = map[string]bool{}, map[string]bool{}
	}
	for name := range p.secrets {
		if i.asked[name] || i.w.settings.RestartOn.Auto && i.caches.managed(p.Namespace, name) || i.usedBy(p, name) {
			told.secrets[name] = true
		}
	}
	for _, name := range p.classes {
		fills := i.caches.fills(p.Namespace, name)
		follow := i.ofClass(name)
		switch {
		case all || follow >= reloader.Used:
			for secret := range p.secrets {
				if _, filled := fills[secret]; filled {
					byClass[secret] = true
				}
			}
		case follow == reloader.Excluded && !anyOf(fills, i.restartOn):
			continue
		case !anyOf(fills, func(name string) bool { return i.asked[name] || told.secrets[name] }):
			continue
		}
		told.classes = append(told.classes, name)
	}
	for name := range p.secrets {
		if !told.secrets[name] && (byClass[name] || i.feeding[name]) {
			told.secrets[name] = all || i.ofSecret(name) != reloader.Excluded
		}
	}
	return told
}

// restartOn reports whether our own annotation names the Secret.
func (i interest) restartOn(name string) bool {
	return slices.Contains(i.w.settings.RestartOn.Secrets, name)
}

// rolledFor answers what the rotation of anything that rolls the workload would
// change, as Reloader's traces call it: Secrets, and classes with the Secrets that
// they fill. Nothing where nothing rolls it.
func (c *caches) rolledFor(w *workload) map[string]bool {
	things := map[string]bool{}
	if w.fixed || w.settings.RestartNever {
		return things
	}
	i := c.interestOf(w)
	for name := range i.asked {
		things[reloader.Variable(reloader.KindSecret, name)] = true
	}
	for _, p := range c.podsOf(w) {
		told := i.of(p)
		for name := range told.secrets {
			things[reloader.Variable(reloader.KindSecret, name)] = true
		}
		for _, name := range told.classes {
			things[reloader.Variable(reloader.KindClass, name)] = true
			for secret := range c.fills(p.Namespace, name) {
				things[reloader.Variable(reloader.KindSecret, secret)] = true
			}
		}
	}
	return things
}

// usedBy reports whether Reloader's annotations ask for a Secret that the pod takes from.
func (i interest) usedBy(p *pod, name string) bool {
	return i.ofSecret(name) >= reloader.Used && i.caches.managed(p.Namespace, name)
}

func anyOf(fills map[string][]string, counts func(string) bool) bool {
	for secret := range fills {
		if counts(secret) {
			return true
		}
	}
	return false
}
