package certs

import (
	"testing"
	"time"
)

// A machine that was suspended is late by the clock on the wall only: Go's monotonic one stood still.
func TestLeafIsDueByTheClockOnTheWall(t *testing.T) {
	a := &authority{current: makeCA(t, time.Now()), validity: validity{leaf: time.Minute}, loop: newLoop(), now: time.Now}
	t.Cleanup(a.loop.queue.ShutDown)
	if _, err := a.Sign(leafTemplate(t, "a.svc")); err != nil {
		t.Fatal(err)
	}
	if a.leafDue != a.leafDue.Round(0) {
		t.Errorf("the leaf is due at %v, which is compared by the monotonic clock", a.leafDue)
	}
}
