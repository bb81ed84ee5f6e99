package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Ledger holds the baselines of one namespace's workloads. Its written form is
// the data of a ConfigMap: one key for each UID.
type Ledger map[types.UID]Baseline

// maxLedger bounds the written form below the 1 MiB that etcd and ConfigMaps allow.
const maxLedger = 900 << 10

// ReadLedger reads what [Ledger.Data] wrote. Entries that cannot be read are
// left out and named in the error; their workloads are seen for the first time again.
func ReadLedger(data map[string]string) (Ledger, error) {
	l := Ledger{}
	var problems []error
	for _, uid := range slices.Sorted(maps.Keys(data)) {
		var b Baseline
		if err := json.Unmarshal([]byte(data[uid]), &b); err != nil {
			problems = append(problems, fmt.Errorf("baseline of %s: %w", uid, err))
			continue
		}
		l[types.UID(uid)] = b
	}
	return l, errors.Join(problems...)
}

// Data is the written form. When it would grow too large, the versions that
// only people read go first, then the baselines that were confirmed longest ago;
// dropped tells how many of those.
func (l Ledger) Data() (data map[string]string, dropped int) {
	data = map[string]string{}
	size := 0
	for uid, b := range l {
		data[string(uid)] = b.encode()
		size += len(uid) + len(data[string(uid)])
	}
	if size <= maxLedger {
		return data, 0
	}
	size = 0
	for uid, b := range l {
		data[string(uid)] = b.brief().encode()
		size += len(uid) + len(data[string(uid)])
	}
	for _, uid := range l.oldestFirst() {
		if size <= maxLedger {
			break
		}
		size -= len(uid) + len(data[string(uid)])
		delete(data, string(uid))
		dropped++
	}
	return data, dropped
}

// Merge takes for each workload the baseline that was confirmed last. It serves
// a watcher that finds the record changed by another one before it.
func (l Ledger) Merge(o Ledger) Ledger {
	merged := maps.Clone(l)
	if merged == nil {
		merged = Ledger{}
	}
	for uid, theirs := range o {
		if ours, both := merged[uid]; !both || theirs.confirmedAt().After(ours.confirmedAt()) {
			merged[uid] = theirs
		}
	}
	return merged
}

// WithoutSecrets keeps what was recorded of classes alone: digests of Secrets
// that were made with another key say nothing.
func (l Ledger) WithoutSecrets() Ledger {
	some := Ledger{}
	for uid, b := range l {
		b.Secrets = nil
		some[uid] = b
	}
	return some
}

func (l Ledger) oldestFirst() []types.UID {
	return slices.SortedFunc(maps.Keys(l), func(a, b types.UID) int {
		if c := l[a].confirmedAt().Compare(l[b].confirmedAt()); c != 0 {
			return c
		}
		return strings.Compare(string(a), string(b))
	})
}

// encode cannot meet a value that JSON has no form for.
func (b Baseline) encode() string {
	text, err := json.Marshal(b)
	if err != nil {
		return "{}"
	}
	return string(text)
}

// brief leaves the versions out: their digests decide, they are for people.
func (b Baseline) brief() Baseline {
	c := b.clone()
	for name, class := range c.Classes {
		class.Versions = nil
		c.Classes[name] = class
	}
	return c
}

// confirmedAt is the latest time of the record.
func (b Baseline) confirmedAt() time.Time {
	var last time.Time
	for _, c := range b.Classes {
		if c.Since.After(last) {
			last = c.Since
		}
	}
	for _, s := range b.Secrets {
		if s.Since.After(last) {
			last = s.Since
		}
	}
	return last
}
