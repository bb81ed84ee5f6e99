package watcher

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/kube"
)

// Lease says how replicas agree on the one that acts. Duration is longer than
// Renew, so that a leader begins nothing any more when another begins, and Renew
// than Retry. Writes of one that lost the lease may still go on for lastWrites, and
// the last ones of all for as long again: each names the version of the object
// that it is made upon, and is refused where the next leader came before it.
type Lease struct {
	Name     string // of the Lease object in the release namespace
	Identity string // of this replica
	Duration time.Duration
	Renew    time.Duration
	Retry    time.Duration
}

// errLost ends a process that may no longer act: what it knows of its own
// patches is of no use to it when it leads again.
var errLost = errors.New("lost the leader lease")

// lookout is how often a replica that stands by looks at the lease.
const lookout = 500 * time.Millisecond

// lead runs work while this replica holds the lease. When ctx ends, work is
// awaited and the lease is given back after it, so that the next leader never
// acts beside this one and does not wait for the lease to expire.
//
//	stand by ─ free, or expired ─► work ─ ctx ends ─► work ends, lease given back: nil
//	                                └─── not renewed in time, or taken ─► work ends: errLost
//
// Whether a lease has expired is told by this replica's own clock alone: it has
// seen the same lease for longer than the lease says that it lasts. Each write
// names the version of the lease that it is made upon, so that of two replicas
// which take it one is refused. All of this is as client-go's elector has it, and
// either can take over from the other; that one needs every kind of Kubernetes'.
func lead(ctx context.Context, leases leases, l Lease, log *slog.Logger, work func(context.Context)) error {
	c := &candidate{Lease: l, leases: leases, log: log}
	if !c.acquire(ctx) {
		return nil
	}
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	working, stop := context.WithCancel(ctx)
	defer stop()
	var renewing sync.WaitGroup
	lost := false
	renewing.Go(func() {
		if lost = !c.hold(holding); lost {
			stop()
		}
	})
	if ctx.Err() == nil {
		work(working)
	}
	release()
	renewing.Wait()
	switch {
	case !lost:
		c.giveBack(context.WithoutCancel(ctx))
	case ctx.Err() == nil:
		return errLost
	}
	return nil
}

type leases = kube.Resource[*coordinationv1.Lease, *coordinationv1.LeaseList]

// candidate is this replica in the election.
type candidate struct {
	Lease
	leases leases
	log    *slog.Logger

	// seen is the lease as it was last read or written, and since when it has
	// been the same.
	seen  *coordinationv1.Lease
	since time.Time
}

// acquire answers when this replica holds the lease, or false when ctx ended first.
func (c *candidate) acquire(ctx context.Context) bool {
	for {
		wait := lookout
		held, err := c.try(ctx)
		switch {
		case held:
			return true
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
			wait = c.Retry // another was quicker, or what was read is old and may be so for long
		case err != nil && ctx.Err() == nil:
			c.log.Warn("Lease not read or taken, comes again", "lease", c.Name, "error", err.Error())
			wait = c.Retry
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// try looks at the lease, and takes it if nobody holds it.
func (c *candidate) try(ctx context.Context) (held bool, err error) {
	err = c.look(ctx)
	switch {
	case err != nil:
		return false, err
	case c.seen != nil && c.holder() != "" && c.holder() != c.Identity && time.Since(c.since) <= lasts(c.seen):
		return false, nil
	}
	// Whether the lease was taken must be known, even if the end comes just now.
	taking, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Renew)
	defer cancel()
	err = c.write(taking, c.Identity)
	return err == nil, err
}

// look reads the lease from the API server's memory: what is read there too late
// only makes a write that is refused.
func (c *candidate) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Renew)
	defer cancel()
	found, err := c.leases.Get(ctx, c.Name, metav1.GetOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsNotFound(err):
		c.seen = nil
		return nil
	case err != nil:
		return err
	}
	c.see(found)
	return nil
}

func (c *candidate) see(lease *coordinationv1.Lease) {
	if c.seen == nil || c.seen.UID != lease.UID || c.seen.ResourceVersion != lease.ResourceVersion {
		c.since = time.Now()
	}
	c.seen = lease
}

// hold renews the lease until ctx ends. It answers false when the lease was lost:
// another has it, it was deleted, or Renew went by without a renewal.
func (c *candidate) hold(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return true
		case <-time.After(min(c.Retry, time.Until(c.since.Add(c.Renew)))):
		}
		if !time.Now().Before(c.since.Add(c.Renew)) {
			c.log.Error("Lease not renewed in time", "lease", c.Name)
			return false
		}
		renewing, cancel := context.WithDeadline(ctx, c.since.Add(c.Renew))
		err := c.rewrite(renewing, c.Identity)
		cancel()
		if err != nil && ctx.Err() == nil {
			c.log.Warn("Lease not renewed, comes again", "lease", c.Name, "error", err.Error())
		}
		if c.holder() != c.Identity {
			c.log.Error("Lease is not ours any more", "lease", c.Name, "holder", c.holder())
			return false
		}
	}
}

// rewrite writes the lease that this replica holds. Where another write came
// before, which may be one of its own whose answer it did not get, the lease is
// read, and written again as long as it is still ours.
func (c *candidate) rewrite(ctx context.Context, holder string) error {
	for {
		err := c.write(ctx, holder)
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		found, err := c.leases.Get(ctx, c.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			found = nil
		case err != nil:
			return err
		}
		c.seen = found // but it has been ours only since our own last write
		if c.holder() != c.Identity {
			return nil
		}
	}
}

// giveBack has the next leader begin at once.
func (c *candidate) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Renew)
	defer cancel()
	if err := c.rewrite(ctx, ""); err != nil {
		c.log.Warn("Lease not given back", "lease", c.Name, "error", err.Error())
	}
}

// write makes somebody, or with "" nobody, the holder of the lease that was seen.
// That its since is the time before the request is on the safe side.
func (c *candidate) write(ctx context.Context, holder string) error {
	began := time.Now()
	written := c.next(holder, metav1.NewMicroTime(began))
	var err error
	if c.seen == nil {
		written, err = c.leases.Create(ctx, written, metav1.CreateOptions{})
	} else {
		written, err = c.leases.Update(ctx, written, metav1.UpdateOptions{})
	}
	if err == nil {
		c.seen, c.since = written, began
	}
	return err
}

// next answers the lease as it is to be written.
func (c *candidate) next(holder string, now metav1.MicroTime) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: c.Name}}
	if c.seen != nil {
		lease = c.seen.DeepCopy()
	}
	spec := &lease.Spec
	seconds := int32(math.Ceil(c.Duration.Seconds()))
	if holder != "" && c.holder() != holder {
		transitions := int32(0)
		if spec.LeaseTransitions != nil {
			transitions = *spec.LeaseTransitions + 1
		}
		spec.LeaseTransitions, spec.AcquireTime = &transitions, &now
	}
	spec.HolderIdentity, spec.LeaseDurationSeconds, spec.RenewTime = &holder, &seconds, &now
	return lease
}

// holder is who has the lease that was seen, "" for nobody.
func (c *candidate) holder() string {
	if c.seen == nil || c.seen.Spec.HolderIdentity == nil {
		return ""
	}
	return *c.seen.Spec.HolderIdentity
}

// lasts is for how long the holder of a lease has it without renewing it.
func lasts(lease *coordinationv1.Lease) time.Duration {
	if lease.Spec.LeaseDurationSeconds == nil {
		return 0
	}
	return time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
}
