package soak

import (
	"context"
	"fmt"
	"slices"
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
	ending  []*install.Process
	stops   sync.WaitGroup
}

// roll replaces every replica as a rolling update with maxSurge 1 and
// maxUnavailable 0 does: one more is started, and when it is ready one of the
// old ones is told to end, while the next is started.
func (r *replicas) roll(ctx context.Context, starts ...start) error {
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
			r.end(old[0])
			old = old[1:]
		}
	}
	return nil
}

// end tells a replica to end. It takes its time: the API server still has
// connections to it.
func (r *replicas) end(p *install.Process) {
	r.ending = append(r.ending, p)
	r.stops.Go(func() { _ = p.Stop() }) // Err tells of one that had to be killed
}

// ended waits until those that were told to end have ended.
func (r *replicas) ended(ctx context.Context) error {
	for _, p := range r.ending {
		select {
		case <-p.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		if code := p.ExitCode(); code != 0 {
			return fmt.Errorf("%s ended with exit code %d", p.Name(), code)
		}
	}
	return nil
}

// kill ends all of them at once.
func (r *replicas) kill() {
	for _, p := range slices.Concat(r.running, r.ending) {
		p.Kill()
	}
	r.stops.Wait()
	r.running, r.ending = nil, nil
}
