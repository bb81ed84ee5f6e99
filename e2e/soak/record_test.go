package soak

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// outcome of one attempt to have a pod admitted.
type outcome string

const (
	admitted outcome = "admitted" // and injected
	refused  outcome = "refused"  // or let in without being injected: what must not happen
	unheard  outcome = "unheard"  // the API server was not there
)

// attempt is one pod, or one review on a fresh connection.
type attempt struct {
	at      time.Time
	took    time.Duration
	outcome outcome
	why     string
}

func (a attempt) end() time.Time { return a.at.Add(a.took) }

// record is what became of a load.
type record struct {
	running sync.RWMutex // read while an attempt runs
	mu      sync.Mutex
	all     []attempt
}

// run makes one attempt, but none while a border is waited for.
func (r *record) run(try func() (outcome, string)) {
	if !r.running.TryRLock() {
		return
	}
	defer r.running.RUnlock()
	a := attempt{at: time.Now()}
	a.outcome, a.why = try()
	a.took = time.Since(a.at)
	r.add(a)
}

// border is a moment at which no attempt of any of them runs: each was over
// before, or begins later.
func border(records ...*record) time.Time {
	for _, r := range records {
		r.running.Lock()
		defer r.running.Unlock()
	}
	return time.Now()
}

func (r *record) add(a attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, a)
}

// newest is the attempt that began last, of those that have ended.
func (r *record) newest() attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest attempt
	for _, a := range r.all {
		if a.at.After(newest.at) {
			newest = a
		}
	}
	return newest
}

// between are the attempts that began in that time.
func (r *record) between(from, to time.Time) attempts {
	r.mu.Lock()
	defer r.mu.Unlock()
	var some attempts
	for _, a := range r.all {
		if !a.at.Before(from) && a.at.Before(to) {
			some = append(some, a)
		}
	}
	slices.SortFunc(some, func(a, b attempt) int { return a.at.Compare(b.at) })
	return some
}

// attempts are in the order in which they began.
type attempts []attempt

func (a attempts) count(o outcome) int { return len(a.with(o)) }

func (a attempts) with(o outcome) attempts {
	return slices.DeleteFunc(slices.Clone(a), func(x attempt) bool { return x.outcome != o })
}

// until is how long after a moment the last of them was over.
func (a attempts) until(moment time.Time) time.Duration {
	var longest time.Duration
	for _, x := range a {
		longest = max(longest, x.end().Sub(moment))
	}
	return longest
}

// percentile of the time that they took.
func (a attempts) percentile(p int) time.Duration {
	if len(a) == 0 {
		return 0
	}
	took := slices.SortedFunc(func(yield func(time.Duration) bool) {
		for _, x := range a {
			if !yield(x.took) {
				return
			}
		}
	}, cmp.Compare[time.Duration])
	return took[min(len(took)*p/100, len(took)-1)]
}

// reasons are the different ones, with their number.
func (a attempts) reasons() string {
	count := map[string]int{}
	var order []string
	for _, x := range a {
		if count[x.why]++; count[x.why] == 1 {
			order = append(order, x.why)
		}
	}
	text := ""
	for _, why := range order[:min(len(order), 5)] {
		text += fmt.Sprintf("\n  %d times: %s", count[why], why)
	}
	return text
}
