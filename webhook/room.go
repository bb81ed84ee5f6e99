package webhook

import "context"

// room bounds how much is looked at at the same time, in units. Whoever needs
// more than one gets them all or waits, in the order of coming.
type room struct {
	turn  chan struct{} // full while somebody gathers units
	units chan struct{} // as many in it as are taken
}

func newRoom(units int) *room {
	return &room{turn: make(chan struct{}, 1), units: make(chan struct{}, units)}
}

// enter takes n units, at most all there are, and gives the function that gives
// them back. It is nil if ctx ended first.
func (r *room) enter(ctx context.Context, n int) (leave func()) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil
	}
	taken := 0
	leave = func() {
		for range taken {
			<-r.units
		}
	}
	for range min(n, cap(r.units)) {
		select {
		case r.units <- struct{}{}:
			taken++
		case <-ctx.Done():
			leave()
			return nil
		}
	}
	return leave
}

// share is what one request has of a room.
type share struct {
	room  *room
	units int
	leave func()
}

// take has the request hold n units, 0 being none; it is asked once. It is false
// if ctx ended first.
func (s *share) take(ctx context.Context, n int) bool {
	if n == 0 {
		return true
	}
	leave := s.room.enter(ctx, n)
	if leave == nil {
		return false
	}
	s.units, s.leave = n, leave
	return true
}

func (s *share) giveBack() {
	if s.units > 0 {
		s.leave()
		s.units = 0
	}
}
