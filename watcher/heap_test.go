package watcher

import (
	"context"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"

	"keyroll.dev/internal/process"
)

// TestTheCacheOfSecretsHoldsNoData lists 2,000 Secrets of 10 KiB and looks at
// what is left of them on the heap.
func TestTheCacheOfSecretsHoldsNoData(t *testing.T) {
	const secrets, size = 2000, 10 << 10
	list := func(context.Context, metav1.ListOptions) (*corev1.SecretList, error) {
		all := &corev1.SecretList{}
		for i := range secrets {
			s := managedSecret(fmt.Sprintf("secret-%d", i), strings.Repeat("x", size))
			s.Annotations = map[string]string{"note": strings.Repeat("y", 100)}
			all.Items = append(all.Items, *s)
		}
		return all, nil
	}
	start := func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil }
	before := heap()
	cached := newStore(listWatch(fake.NewClientset(), list, start), &corev1.Secret{}, digester{key: []byte("k")}.slim, nil)
	synced := cached.watch(func(_, _ *secret) {})
	ctx, stop := context.WithCancel(process.WithLogger(t.Context(), slog.New(slog.DiscardHandler)))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() { cached.informer.RunWithContext(ctx) })
	for !synced() {
		time.Sleep(time.Millisecond)
	}
	if got := len(cached.all()); got != secrets {
		t.Fatalf("%d Secrets are cached, want %d", got, secrets)
	}
	// The informer may hold on to the list for a moment after it has synced.
	limit := uint64(secrets * 1 << 10)
	for range 100 {
		if after := heap(); after < before+limit {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%d Secrets of %d bytes hold more than %d", secrets, size, limit)
}

// heap is what is in use after a collection.
func heap() uint64 {
	goruntime.GC()
	goruntime.GC()
	var stats goruntime.MemStats
	goruntime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
