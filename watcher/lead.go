package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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

// lead runs work while this replica holds the lease. When ctx ends, work is
// awaited and the lease is released after it, so that the next leader never
// acts beside this one and does not wait for the lease to expire.
func lead(ctx context.Context, client kubernetes.Interface, namespace string, l Lease, work func(context.Context)) error {
	working := make(chan struct{}, 1) // full while work is under way
	election, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
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
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				select {
				case working <- struct{}{}:
					defer func() { <-working }()
				case <-leading.Done():
					return
				}
				both, stop := context.WithCancel(leading)
				defer stop()
				defer context.AfterFunc(ctx, stop)()
				if ctx.Err() == nil {
					work(both)
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		working <- struct{}{} // work has ended, and never begins again
		resign()
	})()
	elector.Run(election)
	if ctx.Err() != nil {
		return nil
	}
	working <- struct{}{} // it was told to end when the lease was lost
	return errLost
}
