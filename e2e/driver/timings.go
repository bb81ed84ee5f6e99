package driver

import (
	"math/rand/v2"
	"time"
)

// Range is a span of time that a value is drawn from.
type Range struct{ Min, Max time.Duration }

// draw returns a value of the range, evenly spread.
func (r Range) draw() time.Duration {
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + rand.N(r.Max-r.Min)
}

// Timings are the periods and delays of kubelet and driver.
type Timings struct {
	// PollInterval is the driver's --rotation-poll-interval. Zero: nothing
	// rotates by itself, only when [Driver.Poll] or [Driver.PollPod] says so.
	PollInterval time.Duration
	// PodSync is how often a kubelet looks at a running pod again. With a driver
	// that requires republishing, a volume is published again that often. Zero: never by itself.
	PodSync Range
	// SecretSync is how long the patch of a Secret takes to leave driver v1.5.6,
	// so about the time from the status of a rotation to the Secret.
	SecretSync Range
	// Resync is how often the driver looks at a pod's synced Secrets again.
	Resync time.Duration
	// OwnerPatch is how often the driver completes the ownerReferences of synced Secrets.
	OwnerPatch time.Duration
	// RotationRetry is how long driver v1.5.6 waits after a failed rotation.
	RotationRetry time.Duration
	// SyncRetry is how long the driver waits when a status's pod or class is missing.
	SyncRetry time.Duration
	// MountBackoff is the first pause of a kubelet after a failed mount; each
	// further one is twice as long, up to MountBackoffMax.
	MountBackoff, MountBackoffMax time.Duration
	// ConfigRetry is how long a kubelet waits when a container cannot be made.
	ConfigRetry Range
	// Start is the time from the last mount to the first container: sandbox and images.
	Start Range
	// Ready is the time from a container's start until it is ready.
	Ready time.Duration
}

// Real returns the timings of a cluster with nothing configured, as measured
// with Kubernetes 1.37 and both driver versions.
func Real() Timings {
	return Timings{
		PollInterval:    2 * time.Minute,
		PodSync:         Range{60 * time.Second, 90 * time.Second},
		SecretSync:      Range{220 * time.Millisecond, 400 * time.Millisecond},
		Resync:          5 * time.Minute,
		OwnerPatch:      5 * time.Second,
		RotationRetry:   10 * time.Second,
		SyncRetry:       5 * time.Second,
		MountBackoff:    500 * time.Millisecond,
		MountBackoffMax: 122 * time.Second,
		ConfigRetry:     Range{10 * time.Second, 15 * time.Second},
		Start:           Range{300 * time.Millisecond, 2800 * time.Millisecond},
	}
}

// Fast returns timings for tests: periods that would take minutes take
// seconds in about the same proportion to each other, and what takes
// milliseconds stays.
func Fast() Timings {
	return Timings{
		PollInterval:    2 * time.Second,
		PodSync:         Range{1000 * time.Millisecond, 1500 * time.Millisecond},
		SecretSync:      Range{220 * time.Millisecond, 400 * time.Millisecond},
		Resync:          5 * time.Second,
		OwnerPatch:      500 * time.Millisecond,
		RotationRetry:   time.Second,
		SyncRetry:       500 * time.Millisecond,
		MountBackoff:    100 * time.Millisecond,
		MountBackoffMax: 2 * time.Second,
		ConfigRetry:     Range{500 * time.Millisecond, 750 * time.Millisecond},
		Start:           Range{50 * time.Millisecond, 250 * time.Millisecond},
	}
}

// Manual returns Fast without anything that rotates, resyncs or republishes by
// itself: the test says when, by [Driver.Poll], [Driver.PollPod] and [Driver.Resync].
func Manual() Timings {
	t := Fast()
	t.PollInterval, t.PodSync, t.Resync = 0, Range{}, 0
	return t
}
