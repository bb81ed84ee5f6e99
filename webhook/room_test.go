package webhook

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestRoomIsTakenAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(3)
		two := r.enter(t.Context(), 2)
		one := r.enter(t.Context(), 1)

		entered := make(chan func(), 2)
		go func() { entered <- r.enter(t.Context(), 5) }() // all there are
		synctest.Wait()
		go func() { entered <- r.enter(t.Context(), 1) }() // not before who came first
		one()
		synctest.Wait()
		if len(entered) > 0 {
			t.Fatal("somebody entered while two units were taken")
		}
		two()
		synctest.Wait()
		if len(entered) != 1 {
			t.Fatalf("%d entered a room that is empty, want the first alone", len(entered))
		}
		(<-entered)()
		(<-entered)()
	})
}

func TestWhoGivesUpTakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(2)
		one := r.enter(t.Context(), 1)
		impatient, giveUp := context.WithCancel(t.Context())
		gaveUp := make(chan func(), 2)
		go func() { gaveUp <- r.enter(impatient, 2) }() // has one of the two
		synctest.Wait()
		go func() { gaveUp <- r.enter(impatient, 1) }() // waits for its turn
		synctest.Wait()
		giveUp()
		for range 2 {
			if leave := <-gaveUp; leave != nil {
				t.Error("it entered")
			}
		}
		r.enter(t.Context(), 1)()
		one()
		r.enter(t.Context(), 2)()
	})
}

func TestAShareGrowsWithEmptyHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(4)
		a, b := share{room: r}, share{room: r}
		if !a.need(t.Context(), 2) || !b.need(t.Context(), 2) || !a.need(t.Context(), 1) {
			t.Fatal("no room though there was")
		}
		grown := make(chan bool, 2)
		for _, s := range []*share{&a, &b} {
			go func() {
				ok := s.need(t.Context(), 4)
				s.giveBack()
				grown <- ok
			}()
		}
		for range 2 {
			if !<-grown {
				t.Error("it did not grow")
			}
		}
		a.giveBack() // has none any more
		r.enter(t.Context(), 4)()
	})
}
