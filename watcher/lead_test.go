package watcher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"keyroll.dev/internal/process"
)

func lease(identity string) Lease {
	return Lease{Name: "keyroll-watcher", Identity: identity, Duration: 15 * time.Second, Renew: 10 * time.Second, Retry: 2 * time.Second}
}

func TestTheNextLeaderBeginsWhenTheLastHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		background := process.WithLogger(t.Context(), slog.New(slog.DiscardHandler))
		var mu sync.Mutex
		var log []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, what)
		}
		run := func(ctx context.Context, name string) chan error {
			ended := make(chan error, 1)
			go func() {
				ended <- lead(ctx, client, "keyroll-system", lease(name), func(ctx context.Context) {
					note(name + " begins")
					<-ctx.Done()
					time.Sleep(3 * time.Second) // its last patch
					note(name + " ends")
				})
			}()
			return ended
		}
		firstCtx, stopFirst := context.WithCancel(background)
		first := run(firstCtx, "first")
		time.Sleep(time.Second)
		secondCtx, stopSecond := context.WithCancel(background)
		second := run(secondCtx, "second")
		time.Sleep(time.Minute)
		stopFirst()
		if err := <-first; err != nil {
			t.Errorf("first: %v", err)
		}
		released := time.Now()
		for {
			mu.Lock()
			n := len(log)
			mu.Unlock()
			if n == 3 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(released); took > time.Second {
			t.Errorf("the second leader began %s after the first had released the lease", took)
		}
		stopSecond()
		if err := <-second; err != nil {
			t.Errorf("second: %v", err)
		}
		want := []string{"first begins", "first ends", "second begins", "second ends"}
		if diff := cmp.Diff(want, log); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestALostLeaseIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var lost atomic.Bool
		client.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return lost.Load(), nil, errors.New("no connection")
		})
		ctx := process.WithLogger(t.Context(), slog.New(slog.DiscardHandler))
		var working atomic.Bool
		ended := make(chan error, 1)
		go func() {
			ended <- lead(ctx, client, "keyroll-system", lease("a"), func(ctx context.Context) {
				working.Store(true)
				<-ctx.Done()
				working.Store(false)
			})
		}()
		time.Sleep(time.Minute)
		lost.Store(true)
		if err := <-ended; !errors.Is(err, errLost) {
			t.Errorf("ended with %v, want %v", err, errLost)
		}
		if working.Load() {
			t.Error("work goes on without the lease")
		}
	})
}
