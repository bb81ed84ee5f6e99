package soak

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// phase is one fault as it was played.
type phase struct {
	fault
	from, moment, to time.Time
	pods, fresh      attempts
}

func (p *phase) collect(pods, fresh *record) {
	p.pods, p.fresh = pods.between(p.from, p.to), fresh.between(p.from, p.to)
}

// check fails the test for every admission that failed and should not have.
func (p *phase) check(t *testing.T) {
	t.Helper()
	for load, tries := range map[string]attempts{"pods": p.pods, "fresh connections": p.fresh} {
		failed := tries.with(refused)
		switch {
		case tries.count(admitted) == 0:
			t.Errorf("%s: no %s were admitted at all", p.name, load)
		case len(failed) == 0:
		case p.allowed == 0:
			t.Errorf("%s: %d of %d %s were refused:%s", p.name, len(failed), len(tries), load, failed.reasons())
		case long && failed.until(p.moment) > p.allowed:
			t.Errorf("%s: %s were refused until %s after it, %s is allowed:%s", p.name, load, failed.until(p.moment), p.allowed, failed.reasons())
		case tries[len(tries)-1].outcome == refused:
			t.Errorf("%s: %s are still refused when it is over:%s", p.name, load, failed.reasons())
		}
		if n := tries.count(unheard); n > 0 && !p.away {
			t.Errorf("%s: the API server did not hear %d of %d %s:%s", p.name, n, len(tries), load, tries.with(unheard).reasons())
		}
	}
}

// table is what docs/reliability.md shows.
func table(phases []phase) string {
	var b strings.Builder
	b.WriteString("| while | for | pods | refused | until | API server away | p99 | connections | refused | until |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, p := range phases {
		answered := p.pods.with(admitted)
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %d | %s | %d | %s |\n", p.name, p.to.Sub(p.from).Round(time.Second),
			len(answered), lost(p.pods, p.moment), p.pods.count(unheard), answered.percentile(99).Round(time.Millisecond),
			p.fresh.count(admitted), lost(p.fresh, p.moment))
	}
	return b.String()
}

// lost are two columns: how many were refused, and until when after the fault.
func lost(tries attempts, moment time.Time) string {
	failed := tries.with(refused)
	if len(failed) == 0 {
		return "0 | "
	}
	return fmt.Sprintf("%d | %s", len(failed), failed.until(moment).Round(10*time.Millisecond))
}
