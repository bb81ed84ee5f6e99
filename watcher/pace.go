package watcher

import (
	"container/list"
	"sync"
)

// pace lets at most max rollouts be under way, and gives the places to those
// who wait in the order in which they came. However many wait, no call looks at
// more than max of them. Safe for concurrent use.
type pace struct {
	max int // 0: no limit

	mu       sync.Mutex
	underway map[key]bool
	line     list.List // of keys
	turns    map[key]*list.Element
}

func newPace(max int) *pace {
	return &pace{max: max, underway: map[key]bool{}, turns: map[key]*list.Element{}}
}

// ahead answers how many go before k: the rollouts under way, and those who
// have waited for a place longer than k has, of whom no more are counted than
// it takes to keep k waiting.
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
	for turn := p.line.Front(); turn != nil && n < p.max && turn.Value != k; turn = turn.Next() {
		n++
	}
	return n
}

// take gives k a place, or a turn in the line and false.
func (p *pace) take(k key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.max > 0 && !p.underway[k] && p.aheadLocked(k) >= p.max {
		p.lineLocked(k)
		return false
	}
	p.leaveLocked(k)
	p.underway[k] = true
	return true
}

// queue gives k a turn, if it has none.
func (p *pace) queue(k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lineLocked(k)
}

func (p *pace) lineLocked(k key) {
	if p.turns[k] == nil {
		p.turns[k] = p.line.PushBack(k)
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
	turn := p.turns[k]
	if turn == nil {
		return false
	}
	p.line.Remove(turn)
	delete(p.turns, k)
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
	places := p.line.Len()
	if p.max > 0 {
		places = min(places, max(0, p.max-len(p.underway)))
	}
	next := make([]key, 0, places)
	for turn := p.line.Front(); len(next) < places; turn = turn.Next() {
		next = append(next, turn.Value.(key))
	}
	return next
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
	return len(p.underway), p.line.Len()
}
