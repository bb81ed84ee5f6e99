package certs

import (
	"context"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// loop calls one function again whenever something has happened, the time that
// it asked for has come, or it ended in an error (then with backoff). Calls
// never overlap, and what happens during one leads to another.
type loop struct {
	queue workqueue.TypedRateLimitingInterface[struct{}]
}

func newLoop() *loop {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[struct{}](100*time.Millisecond, 5*time.Second)
	return &loop{queue: workqueue.NewTypedRateLimitingQueue(limiter)}
}

func (l *loop) trigger() { l.queue.Add(struct{}{}) }

func (l *loop) triggerAfter(d time.Duration) { l.queue.AddAfter(struct{}{}, d) }

// run waits for the caches that sync reads, then calls sync until ctx ends.
// sync reports its errors itself and answers when it wants to be called at the
// latest.
func (l *loop) run(ctx context.Context, sync func(context.Context) (again time.Duration, err error), caches ...cache.DoneChecker) {
	// The queue has goroutines of its own from the start: it is shut down even
	// if the caches never fill.
	stop := context.AfterFunc(ctx, l.queue.ShutDown)
	defer stop()
	if !cache.WaitFor(ctx, "", caches...) {
		return
	}
	l.trigger()
	for {
		key, shutdown := l.queue.Get()
		if shutdown {
			return
		}
		again, err := sync(ctx)
		if err != nil {
			l.queue.AddRateLimited(key)
		} else {
			l.queue.Forget(key)
			l.queue.AddAfter(key, again)
		}
		l.queue.Done(key)
	}
}
