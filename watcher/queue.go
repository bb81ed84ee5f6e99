package watcher

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/workqueue"
)

// queue holds keys that are due for a look, each once however often it was added.
// It takes none in until it is opened: what nobody works off only grows.
type queue[K comparable] struct {
	workqueue.TypedRateLimitingInterface[K]

	opened atomic.Bool
}

func (q *queue[K]) open() { q.opened.Store(true) }

// Add takes a key in for a look at once.
func (q *queue[K]) Add(k K) {
	if q.opened.Load() {
		q.TypedRateLimitingInterface.Add(k)
	}
}

// AddAfter takes a key in for a look some time later.
func (q *queue[K]) AddAfter(k K, wait time.Duration) {
	if q.opened.Load() {
		q.TypedRateLimitingInterface.AddAfter(k, wait)
	}
}

// newQueue makes a queue whose failed keys come back after first, twice that,
// and so on up to last, for ever, each key by itself.
func newQueue[K comparable](name string, first, last time.Duration, provider workqueue.MetricsProvider) *queue[K] {
	return &queue[K]{TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[K](first, last),
		workqueue.TypedRateLimitingQueueConfig[K]{Name: name, MetricsProvider: provider},
	)}
}

// work has look called for every key that is due, by several workers at once but
// never for one key by two, until ctx ends, and returns when all of them have
// stopped. A key whose look fails is told to failed, and comes back.
func (q *queue[K]) work(ctx context.Context, workers int, look func(context.Context, K) error, failed func(K, error)) {
	defer q.ShutDown() // also where the workers saw the end before the next line did
	defer context.AfterFunc(ctx, q.ShutDown)()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for q.next(ctx, look, failed) {
			}
		})
	}
	group.Wait()
}

func (q *queue[K]) next(ctx context.Context, look func(context.Context, K) error, failed func(K, error)) bool {
	k, stopped := q.Get()
	if stopped || ctx.Err() != nil {
		return false
	}
	defer q.Done(k)
	if err := look(ctx, k); err != nil {
		failed(k, err)
		q.AddRateLimited(k)
		return true
	}
	q.Forget(k)
	return true
}
