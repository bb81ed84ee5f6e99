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
