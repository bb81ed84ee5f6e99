package rollout

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// content is what new pods would start with, as far as it is known.
type content struct {
	classes map[string]map[string]string // class, object id: version
	secrets map[string]string            // Secret: digest
}

// newestContent takes of each class that a current pod mounts the status that
// the driver changed last: versions cannot be ordered, times can.
func newestContent(s State) content {
	c := content{classes: map[string]map[string]string{}, secrets: map[string]string{}}
	for _, p := range s.Pods {
		if !s.current(p) {
			continue
		}
		for _, m := range p.Mounts {
			if _, done := c.classes[m.Class]; done {
				continue
			}
			if newest := s.newestOf(m.Class); newest != nil {
				c.classes[m.Class] = newest.Versions
			}
		}
	}
	for name, secret := range s.Secrets {
		if secret.consumed() && secret.Digest != "" {
			c.secrets[name] = secret.Digest
		}
	}
	return c
}

// current reports whether a pod is live and of the newest revision.
func (s State) current(p Pod) bool {
	return !p.Finished && p.Current && (p.Stamp == s.Workload.Stamp || s.Workload.Fixed)
}

// newestOf is the newest status of a class, nil for none.
func (s State) newestOf(class string) *Status {
	var newest *Status
	s.eachStatus(class, func(st *Status) {
		if newest == nil || byAge(*st, *newest) > 0 {
			newest = st
		}
	})
	return newest
}

// eachStatus goes through all that is known of a class.
func (s State) eachStatus(class string, visit func(*Status)) {
	feeds := s.Classes[class].Feeds
	for i := range feeds {
		visit(&feeds[i])
	}
	for _, p := range s.Pods {
		for _, m := range p.Mounts {
			if !p.Finished && m.Class == class && m.Status != nil && m.Status.belongsTo(p) {
				visit(m.Status)
			}
		}
	}
}

// byAge orders statuses by the time of their last change. The API server tells
// whole seconds, so among equals one that has changed more often counts as
// newer, and the rest makes the order total.
func byAge(a, b Status) int {
	if c := a.Changed.Compare(b.Changed); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Generation, b.Generation); c != 0 {
		return c
	}
	if maps.Equal(a.Versions, b.Versions) {
		return 0 // mostly so, and cheaper than to hash
	}
	return strings.Compare(digestOf(a.Versions), digestOf(b.Versions))
}

// fingerprint identifies content in two halves, for files and for Secrets, so
// that one can be told where the other has changed since.
func (c content) fingerprint(capped bool) string {
	return c.classesPrint() + c.secretsPrint(capped)
}

func (c content) classesPrint() string {
	h := newHasher("classes")
	for _, name := range slices.Sorted(maps.Keys(c.classes)) {
		h.add(name, digestOf(c.classes[name]))
	}
	return h.sum()[:halfPrint]
}

// secretsPrint is another one for a roll that could not wait for its Secrets to
// settle, so that the stamp alone tells it.
func (c content) secretsPrint(capped bool) string {
	h := newHasher("secrets", strconv.FormatBool(capped))
	for _, name := range slices.Sorted(maps.Keys(c.secrets)) {
		h.add(name, c.secrets[name])
	}
	return h.sum()[:halfPrint]
}

// halfPrint is the length of half a fingerprint.
const halfPrint = 8

// digestOf identifies a set of object versions.
func digestOf(versions map[string]string) string {
	h := newHasher("versions")
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		h.add(id, versions[id])
	}
	return h.sum()
}

// lastDigest spares hashing the same versions again: most pods hold the same.
type lastDigest struct {
	versions map[string]string
	digest   string
}

func (d *lastDigest) of(versions map[string]string) string {
	if d.digest == "" || !maps.Equal(d.versions, versions) {
		d.versions, d.digest = versions, digestOf(versions)
	}
	return d.digest
}

// hasher hashes lists of strings without ambiguity between their ends.
type hasher []byte

func newHasher(words ...string) *hasher {
	h := make(hasher, 0, 256) // enough for most
	h.add(words...)
	return &h
}

func (h *hasher) add(words ...string) {
	for _, w := range words {
		*h = binary.AppendUvarint(*h, uint64(len(w)))
		*h = append(*h, w...)
	}
}

func (h *hasher) sum() string {
	sum := sha256.Sum256(*h)
	return hex.EncodeToString(sum[:8])
}

// newStamp makes the value of keyroll.dev/content. A workload's generation never
// repeats, so neither does a stamp, and no old ReplicaSet is ever revived by one.
func newStamp(fingerprint string, generation int64) string {
	return fingerprint + "-" + strconv.FormatInt(generation, 10)
}

// readStamp is the inverse; a stamp that is not ours reads as generation 0.
func readStamp(stamp string) (fingerprint string, generation int64) {
	fingerprint, n, ok := strings.Cut(stamp, "-")
	if !ok {
		return "", 0
	}
	generation, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		return "", 0
	}
	return fingerprint, generation
}
