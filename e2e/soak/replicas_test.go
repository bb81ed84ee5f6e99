package soak

import (
	"context"
	"sync"

	"keyroll.dev/e2e/install"
)

// start starts one replica of the webhook.
type start func(context.Context) (*install.Process, error)

// shipped is a replica with the flags of the Deployment, and args.
func shipped(args ...string) start {
	return func(ctx context.Context) (*install.Process, error) { return keyroll.StartWebhook(ctx, args...) }
}

// clocked is a replica whose certificates another clock issues.
func clocked(clock install.Clock, args ...string) start {
	return func(ctx context.Context) (*install.Process, error) {
		return keyroll.StartWebhookWithClock(ctx, clock, args...)
	}
}

// replicas are those of a Deployment.
type replicas struct {
	running []*install.Process
}

// roll replaces every replica as a rolling update with maxSurge 1 and
// maxUnavailable 0 does: one more is started, and when it is ready one of the
// old ones is told to end, while the next is started.
func (r *replicas) roll(ctx context.Context, starts ...start) error {
	var ending sync.WaitGroup
	defer ending.Wait()
	old := r.running
	r.running = nil
	for _, s := range starts {
		p, err := s(ctx)
		if err != nil {
			return err
		}
		r.running = append(r.running, p)
		if err := p.WaitReady(ctx); err != nil {
			return err
		}
		if len(old) > 0 {
			leaving := old[0]
			old = old[1:]
			ending.Go(func() { _ = leaving.Stop() }) // Err tells of one that had to be killed
		}
	}
	return nil
}

// stop ends all of them.
func (r *replicas) stop() {
	var ending sync.WaitGroup
	for _, p := range r.running {
		ending.Go(func() { _ = p.Stop() }) // Err tells of one that had to be killed
	}
	ending.Wait()
	r.running = nil
}
