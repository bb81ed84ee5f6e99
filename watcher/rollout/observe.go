package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// recoverBaseline is the ledger's record, unless a later stamp of ours stands on
// the template: then the watcher ended between its patch and its record. The
// stamp names the content that it answered, so as far as that is still the
// newest, the record is made good; what has changed since, cannot be told.
func recoverBaseline(now time.Time, s State) Baseline {
	b, stamp := s.Baseline, s.Workload.Stamp
	if b.knows(stamp) {
		return b
	}
	fingerprint, _ := readStamp(stamp)
	c := newestContent(s)
	n := Baseline{Stamp: stamp, Newest: later(stamp, b.newest()), Classes: map[string]ClassBaseline{}, Secrets: map[string]SecretBaseline{}}
	if s.secretAway() {
		n.Stamp = b.Stamp // to be recovered when it is back, see recoversLater
	}
	if strings.HasPrefix(fingerprint, c.classesPrint()) {
		for name, versions := range c.classes {
			n.Classes[name] = newClassBaseline(versions, time.Time{}) // some pods may have changed since, unseen
		}
	}
	switch {
	case strings.HasSuffix(fingerprint, c.secretsPrint(false)):
		n.Secrets = b.answeredSecrets(c, s, now, func(string) bool { return true })
	case strings.HasSuffix(fingerprint, c.secretsPrint(true)):
		n.Secrets = b.answeredSecrets(c, s, now, func(string) bool { return false })
	default:
		for name, secret := range b.Secrets {
			secret.Unsettled = true
			n.Secrets[name] = secret
		}
	}
	return n
}

// recoversLater reports whether the record cannot be recovered before a Secret is
// back: the stamp speaks of all of them at once.
func (s State) recoversLater(b Baseline) bool { return s.secretAway() && !b.knows(s.Workload.Stamp) }

// secretAway reports whether a Secret that the workload consumes does not exist just now.
func (s State) secretAway() bool {
	for _, secret := range s.Secrets {
		if secret.consumed() && !secret.Hidden && secret.Digest == "" {
			return true
		}
	}
	return false
}

// answered is the record after a roll: pods with the stamp start on the content or later.
func (b Baseline) answered(stamp string, c content, s State, now time.Time, settled func(secret string) bool) Baseline {
	n := Baseline{Stamp: stamp, Classes: map[string]ClassBaseline{}, Secrets: b.answeredSecrets(c, s, now, settled)}
	for name, versions := range c.classes {
		n.Classes[name] = newClassBaseline(versions, now)
	}
	return n
}

func (b Baseline) answeredSecrets(c content, s State, now time.Time, settled func(secret string) bool) map[string]SecretBaseline {
	all := map[string]SecretBaseline{}
	for name, digest := range c.secrets {
		all[name] = b.Secrets[name].answered(digest, s.newestFeeds(name), now, settled(name))
	}
	return all
}

// answered is a Secret's record after a roll. Where it had to go unsettled, the
// digest left behind counts as answered too: it may flip back for a while.
func (b SecretBaseline) answered(digest, feeds string, now time.Time, settled bool) SecretBaseline {
	n := SecretBaseline{Digest: digest, Since: now}
	switch {
	case !settled:
		n.Unsettled = true
		n.Answered = b.answer(b.Digest, digest)
	case feeds == b.Feeds:
		n.Feeds = feeds
		n.Answered = b.answer(digest)
	default:
		n.Feeds = feeds
		n.Answered = []string{digest}
	}
	return n
}

// observe brings the record up to date where nothing was rolled: gaps are filled
// at first sight, and what all pods are known to run on replaces what they ran on before.
func (v *view) observe() Baseline {
	running := v.running
	if len(running) == 0 {
		return v.s.Baseline
	}
	b := v.base.clone()
	whole := v.allRun()
	for _, class := range mounted(running) {
		whole = v.observeClass(b, running, class) && whole
	}
	for name, secret := range v.s.Secrets {
		if secret.consumed() && !secret.Hidden {
			whole = v.observeSecret(b, running, name, secret) && whole
		}
	}
	if stamp := v.s.Workload.Stamp; stamp != b.Stamp && (v.base.IsZero() || whole) {
		b.Newest, b.Stamp = b.newest(), stamp
	}
	if whole {
		if v.unconfirmed(b) && v.untilCovered() == 0 {
			b.Confirmed = v.now
		}
		v.forget(b, running)
	}
	if b.IsZero() {
		return v.s.Baseline
	}
	return b
}

// allRun reports whether every live pod that a rollout reaches runs on the newest
// revision, and no other is still to start, not even below the partition: it may
// read content that is older than what the others run on.
func (v *view) allRun() bool {
	starts := func(p *judged) bool { return p.Started.IsZero() }
	return v.leaving() == 0 && len(v.running) == len(v.current) && !slices.ContainsFunc(v.below, starts)
}

// unconfirmed reports whether the record, as it was written last, does not speak
// for certain of all pods that need it.
func (v *view) unconfirmed(b Baseline) bool {
	return b.Confirmed.IsZero() || slices.ContainsFunc(v.running, func(p *judged) bool {
		return p.rests && !before(p.Started, b.Confirmed, v.o.ClockSkew)
	})
}

// untilCovered is how long it takes until every pod has certainly started before
// now, by whatever clock; 0 when all have.
func (v *view) untilCovered() time.Duration {
	rest := time.Duration(0)
	for _, p := range v.running {
		rest = max(rest, p.Started.Add(v.o.ClockSkew).Sub(v.now)+1)
	}
	return rest
}

// observeClass reports whether all pods that the record speaks of are known to have
// started on its versions.
func (v *view) observeClass(b Baseline, running []*judged, class string) bool {
	digest, from, common := v.shared(running, func(pods []*judged) (string, bool) { return commonVersions(pods, class) })
	was, recorded := b.Classes[class]
	switch {
	case common && v.allRun() && recorded && was.Digest == digest:
		was.Since, was.Mixed, was.From = v.now, false, from
		b.Classes[class] = was
	case common && v.allRun():
		entry := newClassBaseline(versionsOf(running, class, digest), v.now)
		if entry.Digest != digest {
			entry = ClassBaseline{Digest: digest, Since: v.now}
		}
		entry.From = from
		b.Classes[class] = entry
	case !recorded:
		if versions, ok := agreedVersions(append(slices.Clip(running), v.below...), class); ok && v.allRun() {
			b.Classes[class] = newClassBaseline(versions, v.now)
		}
	case startedElse(fromOrdinal(running, was.From), class, was.Digest):
		was.Mixed = true // another process must not take them all to run on it
		b.Classes[class] = was
	}
	return common
}

// observeSecret reports whether all pods that the record speaks of are known to have
// started on its digest.
func (v *view) observeSecret(b Baseline, running []*judged, name string, secret Secret) bool {
	digest, from, common := v.shared(running, func(pods []*judged) (string, bool) { return commonDigest(pods, name) })
	was, recorded := b.Secrets[name]
	feeds := v.memory.secrets[name].on
	switch {
	case secret.Digest == "":
	case !recorded:
		b.Secrets[name] = SecretBaseline{Digest: secret.Digest, Since: v.now, Feeds: feeds}
	case common && v.allRun() && digest == secret.Digest:
		if len(v.stale)+len(v.kept) > 0 || v.agreedFor(name, rewrittenAfter).reason != "" {
			feeds = "" // the Secret may not hold yet what they agree on
		}
		was = was.confirmed(digest, feeds, v.now)
		was.From = from
		b.Secrets[name] = was
	case !common, digest != was.Digest:
		was.Unsettled = true // another process must not take them all to run on it
		b.Secrets[name] = was
	default:
		was.From = max(was.From, from)
		b.Secrets[name] = was
	}
	return common && b.Secrets[name].Digest == digest
}

// confirmed is a Secret's record once all pods are known to run on the digest.
func (b SecretBaseline) confirmed(digest, feeds string, now time.Time) SecretBaseline {
	n := SecretBaseline{Digest: digest, Since: now, Feeds: b.Feeds, Answered: b.Answered}
	if feeds != "" && feeds != b.Feeds {
		n.Feeds = feeds
		if b.Feeds != "" {
			n.Answered = nil
		}
	}
	return n
}

// forget drops what the workload depends on no longer.
func (v *view) forget(b Baseline, running []*judged) {
	classes := map[string]bool{}
	for _, class := range mounted(running) {
		classes[class] = true
	}
	maps.DeleteFunc(b.Classes, func(name string, _ ClassBaseline) bool { return !classes[name] })
	maps.DeleteFunc(b.Secrets, func(name string, _ SecretBaseline) bool { return !v.s.Secrets[name].consumed() })
}

// shared is what all pods are known to have started with or, where those below a
// partition differ, what the others are. from is the lowest ordinal that it is true
// of. Those of an older revision count too: an undo makes it the newest again.
func (v *view) shared(running []*judged, commonOf func([]*judged) (string, bool)) (digest string, from int32, common bool) {
	digest, common = commonOf(append(slices.Clip(running), v.below...))
	if partition := v.s.Workload.Partition; !common && partition > 0 {
		from = partition
		digest, common = commonOf(fromOrdinal(running, from))
	}
	return digest, from, common
}

// fromOrdinal leaves out the pods of lower ordinals.
func fromOrdinal(pods []*judged, from int32) []*judged {
	if from <= 0 {
		return pods
	}
	return slices.DeleteFunc(slices.Clone(pods), func(p *judged) bool { return p.Ordinal < from })
}

// commonVersions is what all pods that mount the class are known to have started with.
func commonVersions(pods []*judged, class string) (digest string, common bool) {
	for _, p := range pods {
		if !p.mounts(class) {
			continue
		}
		h := p.held.classes[class]
		if h == "" || h == lost || digest != "" && h != digest {
			return "", false
		}
		digest = h
	}
	return digest, digest != ""
}

// startedElse reports whether a pod is known to have started on something else.
func startedElse(pods []*judged, class, digest string) bool {
	return slices.ContainsFunc(pods, func(p *judged) bool {
		h := p.held.classes[class]
		return p.mounts(class) && h != "" && h != digest
	})
}

// commonDigest is what all pods are known to have started with.
func commonDigest(pods []*judged, secret string) (digest string, common bool) {
	for _, p := range pods {
		h := p.held.secrets[secret]
		if h == "" || digest != "" && h != digest {
			return "", false
		}
		digest = h
	}
	return digest, digest != ""
}

// versionsOf finds the versions behind a digest.
func versionsOf(pods []*judged, class, digest string) map[string]string {
	for _, p := range pods {
		for _, m := range p.Mounts {
			if m.Class == class && m.Status != nil && digestOf(m.Status.Versions) == digest {
				return m.Status.Versions
			}
		}
	}
	return nil
}

// agreedVersions is what all statuses of the class say, if no pod is stale by it.
func agreedVersions(pods []*judged, class string) (map[string]string, bool) {
	var versions map[string]string
	for _, p := range pods {
		for _, m := range p.Mounts {
			switch {
			case m.Class != class:
			case m.Status == nil, !m.Status.belongsTo(p.Pod), p.verdict.Freshness == Stale:
				return nil, false
			case versions != nil && !maps.Equal(versions, m.Status.Versions):
				return nil, false
			default:
				versions = m.Status.Versions
			}
		}
	}
	return versions, versions != nil
}

// mounted lists the classes that any of the pods mounts.
func mounted(pods []*judged) []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range pods {
		for _, m := range p.Mounts {
			if !seen[m.Class] {
				seen[m.Class] = true
				names = append(names, m.Class)
			}
		}
	}
	return names
}

func (p Pod) mounts(class string) bool {
	for _, m := range p.Mounts {
		if m.Class == class {
			return true
		}
	}
	return false
}
