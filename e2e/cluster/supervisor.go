package cluster

import (
	"context"
	"fmt"
	"time"

	"keyroll.dev/e2e/internal/daemon"
)

// startedAgain are the components that may end by themselves. Both do where
// they had better begin anew: the scheduler, for one, when its cache has gone
// astray over a restart of the API server. A real control plane has kubelet to
// start them again. Without the others the cluster is lost.
var startedAgain = map[string]bool{nameControllerManager: true, nameScheduler: true}

// A component whose runs are all shorter than shortestRun does not start at all.
const (
	shortestRun = 5 * time.Second
	shortRuns   = 3
	beforeNext  = time.Second
)

// lookAfter does what kubelet does for the components of a control plane, and
// says so where the run is watched: a story that fails because the scheduler
// crashed would otherwise blame the product.
func (c *Cluster) lookAfter(p *daemon.Process) {
	for short := 0; ; {
		begun := time.Now()
		<-p.Done()
		err := p.Err()
		if err == nil || c.isStopped() {
			return // it was asked to end
		}
		short++
		if time.Since(begun) > shortestRun {
			short = 0
		}
		if !startedAgain[p.Name()] || short == shortRuns {
			c.lose(err)
			return
		}
		fmt.Fprintf(c.options.Out, "control plane, which starts it again: %v\n", err)
		time.Sleep(beforeNext)
		if p, err = c.start(p.Spec()); err != nil {
			c.lose(err)
			return
		}
	}
}

// lose gives the cluster up.
func (c *Cluster) lose(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.cause != nil {
		return
	}
	fmt.Fprintf(c.options.Out, "control plane, which is lost with it: %v\n", cause)
	c.cause = cause
	close(c.lost)
}

// While is ctx as long as the cluster can go on. Its cause is then that of the
// component which has ended.
func (c *Cluster) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.lost:
			cancel(c.dead())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// dead tells why the cluster cannot go on.
func (c *Cluster) dead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return portTaken(c.cause)
	case c.stopped:
		return errStopped
	}
	return nil
}
