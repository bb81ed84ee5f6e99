// Package asked tells from the API server's audit log what one rotation cost it.
package asked

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyroll.dev/e2e/cluster"
)

// Rotation is one from the driver's first status to the end of the rollouts.
type Rotation struct {
	FirstStatus, LastStatus time.Time        // received from the driver
	LastPatch               time.Time        // of a template, received from the watcher
	Patches                 cluster.Requests // that succeeded
	Ours                    cluster.Requests // of the watcher, but for its lease
	UntilPatched            cluster.Requests // those of them until the last patch
}

// Took is from the first status to the last patch.
func (r Rotation) Took() time.Duration { return r.LastPatch.Sub(r.FirstStatus) }

// Lagged is from the last status to the last patch.
func (r Rotation) Lagged() time.Duration { return r.LastPatch.Sub(r.LastStatus) }

// MostUntilPatched and MostUntilDone are the most requests that the watcher may
// make for one rotation that rolls n workloads, whatever the number of their pods.
func MostUntilPatched(n int) int { return 2*n + 20 }
func MostUntilDone(n int) int    { return 4 * n }

// Of finds the rotation in all requests of its time.
func Of(all cluster.Requests, watcher string) (Rotation, error) {
	r := Rotation{Ours: all.By(watcher).Where(func(q cluster.Request) bool { return q.Resource != "leases" })}
	r.Patches = r.Ours.Where(func(q cluster.Request) bool { return q.Verb == "patch" && q.Group == "apps" && q.Code < 300 })
	delivered := received(all.Where(func(q cluster.Request) bool {
		changes := q.Verb == "update" || q.Verb == "patch"
		return changes && q.Resource == "secretproviderclasspodstatuses" && q.Code < 300
	}))
	patched := received(r.Patches)
	if len(delivered) == 0 || len(patched) == 0 {
		return Rotation{}, errors.New("the audit log shows no rotation")
	}
	r.FirstStatus, r.LastStatus, r.LastPatch = delivered[0], delivered[len(delivered)-1], patched[len(patched)-1]
	r.UntilPatched = r.Ours.Where(func(q cluster.Request) bool { return !q.Received.After(r.LastPatch) })
	return r, nil
}

// received are the times of requests, in order: the audit log has them in that of the answers.
func received(all cluster.Requests) []time.Time {
	var times []time.Time
	for _, q := range all {
		times = append(times, q.Received)
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// Counted tells requests by verb.
func Counted(all cluster.Requests) string {
	var lines []string
	for what, count := range all.Count() {
		lines = append(lines, fmt.Sprintf("%d %s", count, what))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}
