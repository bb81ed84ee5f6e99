package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyroll.dev/e2e/cluster"
)

// asked is what the API server's audit log tells of one rotation.
type asked struct {
	firstStatus, lastStatus time.Time        // received from the driver
	last                    time.Time        // patch of a template, received from the watcher
	ours                    cluster.Requests // of the watcher, but for its lease
	until                   cluster.Requests // those of them until the last patch
}

// look reads what happened in a namespace since begin.
func look(c *cluster.Cluster, begin time.Time, watcher, namespace string) (asked, error) {
	all, err := c.Requests(begin)
	if err != nil {
		return asked{}, err
	}
	a := asked{ours: all.By(watcher).Where(func(q cluster.Request) bool { return q.Resource != "leases" })}
	delivered := received(all.Where(func(q cluster.Request) bool {
		changes := q.Verb == "update" || q.Verb == "patch"
		return changes && q.Resource == statuses.Resource && q.Namespace == namespace && q.Code < 300
	}))
	patches := received(a.ours.Where(func(q cluster.Request) bool { return q.Verb == "patch" && q.Group == "apps" && q.Code < 300 }))
	if len(delivered) == 0 || len(patches) == 0 {
		return asked{}, errors.New("the audit log shows no rotation")
	}
	a.firstStatus, a.lastStatus, a.last = delivered[0], delivered[len(delivered)-1], patches[len(patches)-1]
	a.until = a.ours.Where(func(q cluster.Request) bool { return !q.Received.After(a.last) })
	return a, nil
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

// counted tells requests by verb.
func counted(all cluster.Requests) string {
	var lines []string
	for what, count := range all.Count() {
		lines = append(lines, fmt.Sprintf("%d %s", count, what))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}
