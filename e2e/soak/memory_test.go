package soak

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/driver"
)

// TestTheWatcherKeepsNoSecretData compares what is in use on the heap of a watcher
// with 2,000 synced Secrets of 10 KiB and without any. They are 20 MiB; what it keeps
// of each, its digest and identity, is a few hundred bytes.
func TestTheWatcherKeepsNoSecretData(t *testing.T) {
	keyroll.ShowLogs(t)
	const secrets, size, most = 2000, 10 << 10, 4 << 20
	without := heapOfWatcher(t, 0)
	sync20MiB(t, "memory", secrets, size)
	with := heapOfWatcher(t, without+most)
	t.Logf("in use on the heap: %d KiB with %d Secrets of %d KiB, %d KiB without", with>>10, secrets, size>>10, without>>10)
	if with > without+most {
		t.Errorf("the Secrets hold %d KiB on the heap, at most %d are allowed", (with-without)>>10, most>>10)
	}
}

// sync20MiB makes Secrets as the driver would, and takes them away when the test is over.
func sync20MiB(t *testing.T, ns string, secrets, size int) {
	t.Helper()
	namespace(t, ns)
	client := shared.Client().CoreV1().Secrets(ns)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = client.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	})
	var next atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for i := next.Add(1); i <= int64(secrets); i = next.Add(1) {
				secret := &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("synced-", i), Labels: map[string]string{driver.ManagedLabel: "true"}},
					StringData: map[string]string{"db-password": strings.Repeat("x", size)},
				}
				if _, err := client.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// heapOfWatcher is what a watcher that has filled its caches has in use on its heap:
// what lists have left behind may take a moment to go, so the least counts of what is
// seen until it is as low as expected, or for a while.
func heapOfWatcher(t *testing.T, expected int64) (least int64) {
	t.Helper()
	p, err := keyroll.StartWatcher(t.Context(), "--pprof")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop() //nolint:errcheck // its log tells of one that had to be killed
	if err := p.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := sleep(t.Context(), 250*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		got, err := p.HeapInUse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 || got < least {
			least = got
		}
		if least <= expected {
			break
		}
	}
	return least
}
