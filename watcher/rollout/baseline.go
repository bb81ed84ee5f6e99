package rollout

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Baseline is what the pods of one workload run on: recorded at first sight, at
// every roll as the content that the stamp answers, and whenever all pods are
// known to run on something else. It holds versions and keyed digests, no content.
type Baseline struct {
	Stamp string `json:"stamp,omitempty"` // of the pods that it speaks of
	// Newest is the last stamp of ours, "" for Stamp: an undo brings an older one back.
	Newest string `json:"newest,omitempty"`
	// Confirmed is when all pods were known to run on this, and to have started
	// before, whatever clocks say; zero: not yet. It moves on only where it must
	// be written: for a pod of which the driver's own object would tell otherwise.
	Confirmed time.Time `json:"confirmed,omitzero"`

	Classes map[string]ClassBaseline  `json:"classes,omitempty"`
	Secrets map[string]SecretBaseline `json:"secrets,omitempty"`
}

// ClassBaseline is a class's part of a Baseline.
type ClassBaseline struct {
	Digest   string            `json:"digest"`             // of the versions
	Versions map[string]string `json:"versions,omitempty"` // for people; left out when there are many
	Since    time.Time         `json:"since"`              // pods that started before, and bear the stamp, started on these versions
	// Mixed: some pod is known to have started on other versions, so that a pod holds these now proves nothing.
	Mixed bool `json:"mixed,omitempty"`
	// From is the lowest ordinal that it speaks of: below a partition pods stay on what they started with,
	// unless they are made since.
	From int32 `json:"from,omitempty"`
}

// SecretBaseline is a Secret's part of a Baseline.
type SecretBaseline struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
	// Unsettled: recorded by a roll that could not wait longer, so some pods may have started on another digest.
	Unsettled bool `json:"unsettled,omitempty"`
	// From is the lowest ordinal that it speaks of, as in ClassBaseline.
	From int32 `json:"from,omitempty"`
	// Feeds identifies the versions that the digest was made from, as the feeding statuses tell; "" when they did not.
	Feeds string `json:"feeds,omitempty"`
	// Answered are the digests that were rolled for since the feeding statuses came to Feeds, latest last.
	Answered []string `json:"answered,omitempty"`
}

// Bounds of one Baseline: versions above the limit are told by their digest alone.
const (
	maxVersions = 32
	maxAnswered = 8
)

// IsZero reports whether nothing is recorded.
func (b Baseline) IsZero() bool {
	return len(b.Classes) == 0 && len(b.Secrets) == 0
}

// Same reports whether b says the same as o of what pods run on. Times, and how
// the Secrets' content came about, change more often; for them alone no write is
// needed, they ride along with the next one.
func (b Baseline) Same(o Baseline) bool {
	return b.Stamp == o.Stamp && b.Confirmed.Equal(o.Confirmed) &&
		maps.EqualFunc(b.Classes, o.Classes, ClassBaseline.same) && maps.EqualFunc(b.Secrets, o.Secrets, SecretBaseline.same)
}

func (c ClassBaseline) same(o ClassBaseline) bool {
	return c.Digest == o.Digest && c.Mixed == o.Mixed && c.From == o.From
}

func (b SecretBaseline) same(o SecretBaseline) bool {
	return b.Digest == o.Digest && b.Unsettled == o.Unsettled && b.From == o.From
}

// Pending reports whether b, which takes the place of was, need not be written
// at once: it was made by a roll and will soon be confirmed, and until then the
// stamp tells the same.
func (b Baseline) Pending(was Baseline) bool {
	return b.Confirmed.IsZero() && b.Stamp != was.Stamp && !was.IsZero()
}

// clone returns a copy whose maps may be written.
func (b Baseline) clone() Baseline {
	c := Baseline{Stamp: b.Stamp, Newest: b.Newest, Confirmed: b.Confirmed, Classes: map[string]ClassBaseline{}, Secrets: map[string]SecretBaseline{}}
	maps.Copy(c.Classes, b.Classes)
	maps.Copy(c.Secrets, b.Secrets)
	return c
}

// newest is the last stamp of ours, as far as is recorded.
func (b Baseline) newest() string { return cmp.Or(b.Newest, b.Stamp) }

// later is the one of two stamps that was made later, the first if neither is ours.
func later(a, b string) string {
	_, first := readStamp(a)
	if _, second := readStamp(b); second > first {
		return b
	}
	return a
}

// knows reports whether b can speak of pods with this stamp at all: a later
// stamp of ours, whose record was lost, is beyond it.
func (b Baseline) knows(stamp string) bool {
	_, theirs := readStamp(stamp)
	_, ours := readStamp(b.Stamp)
	return theirs <= ours
}

// covers reports whether the pod is one of those that c of b speaks of for
// certain.
func (b Baseline) covers(c ClassBaseline, p Pod, skew time.Duration) bool {
	return p.Stamp == b.Stamp && p.Ordinal >= c.From && p.Started.Add(skew).Before(c.Since)
}

func newClassBaseline(versions map[string]string, now time.Time) ClassBaseline {
	c := ClassBaseline{Digest: digestOf(versions), Since: now}
	if len(versions) <= maxVersions {
		c.Versions = versions
	}
	return c
}

// answer records that a digest is rolled for, once more than limit forgetting the oldest.
func (b SecretBaseline) answer(digests ...string) []string {
	all := slices.Clone(b.Answered)
	for _, d := range digests {
		if d != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all[max(0, len(all)-maxAnswered):]
}
