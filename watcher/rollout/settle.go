package rollout

import (
	"maps"
	"slices"
	"time"
)

// sameValueAfter is how long a Secret must stay unchanged, after all that feed
// it agree, until it counts as holding the new content: a new version with the same value.
// The driver writes a Secret within a second of the status (v1.6.0 pkg controllers,
// v1.5.6 pkg/rotation), or not at all.
const sameValueAfter = 10 * time.Second

// steadyAfter is how long a Secret must hold content that the statuses which feed
// it do not account for, or that was answered already, until it is believed. The
// driver puts such content back sooner, and two writers that fight flip it more
// often: v1.6.0 rewrites each Secret every 5 minutes for every pod.
const steadyAfter = 15 * time.Minute

// rewrittenAfter is how long the driver takes at most to write a Secret again from a
// pod that holds the newest content: v1.6.0 does so every 5 minutes for every pod,
// the polling driver whenever it looks at one.
const rewrittenAfter = 6 * time.Minute

// pending is why something is not settled, and how long to wait for it at least.
type pending struct {
	reason Reason
	of     string
	after  time.Duration
	// rewritten: the driver will write the Secret by then. To roll before would only
	// have the new pods do so while they start.
	rewritten bool
}

// unsettled lists the Secrets that do not certainly hold what new pods should
// start with.
//
//	the stale pods started on another digest      settled once all feeding statuses agree; with the polling driver,
//	                                              which writes once, at once if pods are stale by their files
//	the same, but no object that it holds changed settled once it has lasted: see edited
//	no object that it holds has changed           settled
//	a pod that is gone by now has put it back     settled once it has lasted: see setBack
//	otherwise (same value, or not written yet)    settled 10 s after all feeding statuses agree; with the polling
//	                                              driver later, see sameValue, where pods just mounted what they hold
func (v *view) unsettled() []pending {
	var all []pending
	for _, name := range slices.Sorted(maps.Keys(v.s.Secrets)) {
		secret := v.s.Secrets[name]
		if !secret.consumed() {
			continue
		}
		if p := v.awaits(name, secret); p.reason != "" {
			p.of = name
			all = append(all, p)
		}
	}
	return all
}

// awaits tells what a Secret waits for; a zero pending for nothing.
func (v *view) awaits(name string, secret Secret) pending {
	byFiles, bySecret := v.staleByFeeds(name), v.staleBySecret(name)
	switch {
	case secret.Hidden && byFiles:
		return v.agreedFor(name, v.sameValue(name))
	case secret.Hidden:
		return pending{}
	case secret.Digest == "":
		return pending{reason: SecretMissing}
	case v.setBack(name, secret):
		if rest := rewrittenAfter - v.steady(secret); rest > 0 {
			return pending{reason: SecretSettling, after: rest, rewritten: true}
		}
		return pending{reason: SecretSettling, after: steadyAfter - v.steady(secret)}
	case v.newToStale(name, secret) && byFiles && v.s.Driver == Polling:
		return v.steadyFor(secret, v.o.Settle)
	case v.edited(name):
		return pending{reason: SecretEdited, after: steadyAfter - v.steady(secret)}
	case v.newToStale(name, secret):
		return v.agreedAndSteadyFor(name, v.o.Settle)
	case !bySecret && (!byFiles || v.unsynced(name)):
		return pending{}
	}
	return v.agreedAndSteadyFor(name, v.sameValue(name))
}

// sameValue is how long a Secret must stay as it is until new content counts as the
// same value. The polling driver writes none for a pod that it mounts, so where nobody
// else has the content, that takes another look of it at one of them.
func (v *view) sameValue(name string) time.Duration {
	if v.s.Driver == Polling && !v.polled(name) {
		return steadyAfter
	}
	return sameValueAfter
}

// polled reports whether the driver has brought content to a running pod that feeds
// the Secret, and so has compared the Secret with it.
func (v *view) polled(name string) bool {
	for _, class := range v.s.Classes {
		_, feeds := class.Synced[name]
		if feeds && slices.ContainsFunc(class.Feeds, func(st Status) bool { return !st.unchanged() && !v.justMounted(st) }) {
			return true
		}
	}
	return false
}

// justMounted reports whether a status that a pod inherited may have changed for its
// first mount alone.
func (v *view) justMounted(st Status) bool {
	return slices.ContainsFunc(v.s.Pods, func(p Pod) bool {
		inherited := p.UID == st.Owner && st.Created.Before(p.Created)
		return inherited && (p.Started.IsZero() || !st.Changed.After(p.Started.Add(v.o.ClockSkew)))
	})
}

// soon reports whether new pods will certainly start on the new content, unless it
// changes once more, if they are made a little later.
func (p pending) soon() bool {
	return p.rewritten || p.reason == SecretSettling && p.after <= sameValueAfter
}

// sameAssumed reports whether a Secret is held to be settled though nobody has
// written it since objects changed that it holds: by the same value, or by a driver that is late.
func (v *view) sameAssumed(name string) bool {
	return v.staleByFeeds(name) && !v.newToStale(name, v.s.Secrets[name]) && !v.unsynced(name)
}

func (v *view) agreedAndSteadyFor(name string, d time.Duration) pending {
	if p := v.agreedFor(name, d); p.reason != "" {
		return p
	}
	return v.steadyFor(v.s.Secrets[name], d)
}

// steadyFor asks that the Secret has held its data for a while.
func (v *view) steadyFor(s Secret, d time.Duration) pending {
	if rest := d - v.steady(s); rest > 0 {
		return pending{reason: SecretSettling, after: rest}
	}
	return pending{}
}

// agreedFor asks that all statuses that feed the Secret have agreed for a while.
func (v *view) agreedFor(name string, d time.Duration) pending {
	a := v.memory.secrets[name]
	if a.on == "" {
		return pending{reason: StatusesDisagree}
	}
	if rest := d - v.now.Sub(a.since); rest > 0 {
		return pending{reason: SecretSettling, after: rest}
	}
	return pending{}
}

// steady is how long a Secret is known to have held its data.
func (v *view) steady(s Secret) time.Duration {
	since := v.memory.start
	if s.Since.After(since) {
		since = s.Since
	}
	return v.now.Sub(since)
}

// newToStale reports whether no stale pod can have started on what the Secret holds.
func (v *view) newToStale(name string, secret Secret) bool {
	for _, p := range v.stale {
		if h := p.held.secrets[name]; h == secret.Digest || h == "" && v.base.Secrets[name].Digest == secret.Digest {
			return false
		}
	}
	return true
}

// staleByFeeds reports whether a pod is stale by the files of a class that writes the Secret.
func (v *view) staleByFeeds(name string) bool {
	return slices.ContainsFunc(v.stale, func(p *judged) bool {
		return slices.ContainsFunc(p.staleClasses, func(class string) bool {
			_, feeds := v.s.Classes[class].Synced[name]
			return feeds
		})
	})
}

// staleBySecret reports whether a pod is stale because it started on another digest.
func (v *view) staleBySecret(name string) bool {
	return slices.ContainsFunc(v.stale, func(p *judged) bool { return slices.Contains(p.staleSecrets, name) })
}

// setBack reports whether a Secret holds what was answered before because a pod that
// lagged behind wrote it back and is gone: it changed while the statuses that feed it
// disagreed, and has not since they agree. That it stays so does not make it the new
// content: a pod that holds that will write it, or one that is made.
func (v *view) setBack(name string, secret Secret) bool {
	base, feeds := v.base.Secrets[name], v.memory.secrets[name]
	meanwhile := secret.Since.After(feeds.left) && !secret.Since.After(feeds.since)
	answered := secret.Digest == base.Digest || slices.Contains(base.Answered, secret.Digest)
	return meanwhile && answered && v.steady(secret) < steadyAfter
}

// edited reports whether a Secret holds something else than recorded though the
// statuses that feed it agree on what they did then: somebody edited it, or the
// one pod that had brought the new content is gone and the others lag behind.
func (v *view) edited(name string) bool {
	secret, base, feeds := v.s.Secrets[name], v.base.Secrets[name], v.memory.secrets[name]
	return feeds.fed && feeds.on != "" && feeds.on == base.Feeds && secret.Digest != base.Digest && v.steady(secret) < steadyAfter
}

// flips reports whether a Secret went back to digests that were answered
// already, with the versions that feed it unchanged. Once it has held one for
// longer than any fight lets it, it counts again.
func (v *view) flips(name string) (pending, bool) {
	secret, base := v.s.Secrets[name], v.base.Secrets[name]
	rest := steadyAfter - v.steady(secret)
	if base.Feeds == "" || base.Feeds != v.memory.secrets[name].on || rest <= 0 || !slices.Contains(base.Answered, secret.Digest) {
		return pending{}, false
	}
	return pending{reason: SecretFlips, of: name, after: rest}, true
}

// unsynced reports whether the objects that the Secret holds are all as recorded,
// in every status: then what changed does not concern it.
func (v *view) unsynced(name string) bool {
	for className, class := range v.s.Classes {
		ids, feeds := class.Synced[name]
		if !feeds {
			continue
		}
		base := v.base.Classes[className]
		if ids == nil || base.Versions == nil {
			return false
		}
		for i := range class.Feeds {
			if !sameOn(class.Feeds[i].Versions, base.Versions, ids) {
				return false
			}
		}
	}
	return true
}

// feedsOf identifies what all live statuses that feed a Secret agree on, of the
// objects that it holds; "" when they do not agree.
func (s State) feedsOf(secret string) string {
	for _, class := range s.Classes {
		ids, feeds := class.Synced[secret]
		for i := range class.Feeds {
			if feeds && !sameOn(class.Feeds[0].Versions, class.Feeds[i].Versions, ids) {
				return ""
			}
		}
	}
	return s.newestFeeds(secret)
}

// newestFeeds identifies what the newest of the statuses that feed a Secret say
// of the objects that it holds.
func (s State) newestFeeds(secret string) string {
	h := newHasher("feeds")
	for _, name := range slices.Sorted(maps.Keys(s.Classes)) {
		class := s.Classes[name]
		if ids, feeds := class.Synced[secret]; feeds && len(class.Feeds) > 0 {
			h.add(name, digestOf(pick(s.newestOf(name).Versions, ids)))
		}
	}
	return h.sum()
}

// fed reports whether any live status feeds the Secret.
func (s State) fed(secret string) bool {
	for _, class := range s.Classes {
		if _, feeds := class.Synced[secret]; feeds && len(class.Feeds) > 0 {
			return true
		}
	}
	return false
}

// sameOn reports whether two statuses say the same of the given ids; of all
// where none are given.
func sameOn(a, b map[string]string, ids []string) bool {
	if ids == nil {
		return maps.Equal(a, b)
	}
	for _, id := range ids {
		x, inA := a[id]
		y, inB := b[id]
		if x != y || inA != inB {
			return false
		}
	}
	return true
}

// pick leaves only the given ids; all where none are given.
func pick(versions map[string]string, ids []string) map[string]string {
	if ids == nil {
		return versions
	}
	some := map[string]string{}
	for _, id := range ids {
		if version, ok := versions[id]; ok {
			some[id] = version
		}
	}
	return some
}
