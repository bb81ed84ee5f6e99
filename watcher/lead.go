package watcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Lease says how replicas agree on the one that acts.
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

// lookout is how often a replica that stands by looks whether the lease was
// given back. The elector's own tries are Retry to 2.2 times Retry apart: long
// to be without a leader, and a shorter Retry is also how often the leader writes.
const lookout = 500 * time.Millisecond

// lead runs work while this replica holds the lease. When ctx ends, work is
// awaited and the lease is released after it, so that the next leader never
// acts beside this one and does not wait for the lease to expire.
func lead(ctx context.Context, client kubernetes.Interface, namespace string, l Lease, work func(context.Context)) error {
	election, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	c := &candidate{
		leases: client.CoordinationV1().Leases(namespace), lease: l.Name,
		working: make(chan struct{}, 1), work: func(leading context.Context) {
			both, stop := context.WithCancel(leading)
			defer stop()
			defer context.AfterFunc(ctx, stop)()
			if ctx.Err() == nil {
				work(both)
			}
		},
	}
	var err error
	c.elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: l.Name},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration:   l.Duration,
		RenewDeadline:   l.Renew,
		RetryPeriod:     l.Retry,
		ReleaseOnCancel: true,
		Name:            l.Name,
		Callbacks:       leaderelection.LeaderCallbacks{OnStartedLeading: c.elected, OnStoppedLeading: func() {}},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		c.working <- struct{}{} // work has ended, and never begins again
		resign()
	})()
	for c.run(election) {
	}
	if ctx.Err() != nil {
		return nil
	}
	c.working <- struct{}{} // it was told to end when the lease was lost
	return errLost
}

// candidate is this replica in the election.
type candidate struct {
	elector *leaderelection.LeaderElector
	leases  coordinationclient.LeaseInterface
	lease   string
	work    func(context.Context)
	working chan struct{} // full while work is under way
	// bound is set once by whoever is first in a run of the elector: the work
	// that begins, or the look-out that wants another run. So work is never cut
	// off for another run.
	bound atomic.Bool
}

// run runs the elector until the lease is lost or ctx ends. When another replica
// has given the lease back it ends sooner and answers true: the next run begins
// with a try to get it.
func (c *candidate) run(ctx context.Context) (again bool) {
	c.bound.Store(false)
	run, end := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() { c.lookOut(run, end) })
	c.elector.Run(run)
	again = run.Err() != nil && ctx.Err() == nil
	end()
	looking.Wait()
	return again
}

// lookOut calls released once, when the lease has been given back and this
// replica does not lead.
func (c *candidate) lookOut(ctx context.Context, released func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookout):
		}
		if c.elector.IsLeader() {
			continue
		}
		lease, err := c.leases.Get(ctx, c.lease, metav1.GetOptions{ResourceVersion: "0"}) // from the API server's memory
		if err == nil && isFree(lease) && c.bound.CompareAndSwap(false, true) {
			released()
			return
		}
	}
}

func isFree(l *coordinationv1.Lease) bool {
	return l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == ""
}

// elected is called by the elector, in a goroutine that may be late.
func (c *candidate) elected(leading context.Context) {
	select {
	case c.working <- struct{}{}:
		defer func() { <-c.working }()
	case <-leading.Done():
		return
	}
	if leading.Err() == nil && c.bound.CompareAndSwap(false, true) {
		c.work(leading)
	}
}
