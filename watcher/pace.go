package watcher

import (
	"slices"
	"sync"
)

// pace lets at most max rollouts be under way, and gives the places to those
// who wait in the order in which they came. Safe for concurrent use.
type pace struct {
	max int // 0: no limit

	mu       sync.Mutex
	underway map[key]bool
	waiting  []key
}

func newPace(max int) *pace {
	return &pace{max: max, underway: map[key]bool{}}
}

// ahead answers how many go before k: the rollouts under way, and those who
// have waited for a place longer than k has.
func (p *pace) ahead(k key) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aheadLocked(k)
}

func (p *pace) aheadLocked(k key) int {
	n := len(p.underway)
	if p.underway[k] {
		n--
	}
	if place := slices.Index(p.waiting, k); place >= 0 {
		return n + place
	}
	return n + len(p.waiting)
}

// take gives k a place, or a turn in the line and false.
func (p *pace) take(k key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.max > 0 && !p.underway[k] && p.aheadLocked(k) >= p.max {
		if !slices.Contains(p.waiting, k) {
			p.waiting = append(p.waiting, k)
		}
		return false
	}
	p.leaveLocked(k)
	p.underway[k] = true
	return true
}

// line gives k a turn, if it has none.
func (p *pace) line(k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.waiting, k) {
		p.waiting = append(p.waiting, k)
	}
}

// leave gives up k's turn, and answers those who can go now.
func (p *pace) leave(k key) []key {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.leaveLocked(k) {
		return nil
	}
	return p.nextLocked()
}

func (p *pace) leaveLocked(k key) bool {
	place := slices.Index(p.waiting, k)
	if place < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, place, place+1)
	return true
}

// free gives up k's place, and answers those who can go now.
func (p *pace) free(k key) []key {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.underway[k] {
		return nil
	}
	delete(p.underway, k)
	return p.nextLocked()
}

func (p *pace) nextLocked() []key {
	places := len(p.waiting)
	if p.max > 0 {
		places = min(places, max(0, p.max-len(p.underway)))
	}
	return slices.Clone(p.waiting[:places])
}

// hold notes a rollout that was under way before this process led.
func (p *pace) hold(k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underway[k] = true
}

// counts answers how many are under way, and how many wait.
func (p *pace) counts() (underway, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.underway), len(p.waiting)
}
