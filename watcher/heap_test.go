package watcher

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"

	"keyroll.dev/internal/annotation"
	kubefake "keyroll.dev/internal/kube/fake"
	"keyroll.dev/internal/process"
	"keyroll.dev/internal/secretsstore"
	driverfake "keyroll.dev/internal/secretsstore/fake"
)

// served serves Secrets without holding them.
type served struct {
	list  func(context.Context, metav1.ListOptions) (*corev1.SecretList, error)
	start func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func (s served) List(ctx context.Context, o metav1.ListOptions) (*corev1.SecretList, error) {
	return s.list(ctx, o)
}

func (s served) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return s.start(ctx, o)
}

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
	cached := newStore(listWatch(kubefake.New(fake.NewClientset()), served{list, start}), &corev1.Secret{}, digester{key: []byte("k")}.slim, nil)
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

// BenchmarkHeap tells what one object costs in a cache, with all that is kept to find it.
func BenchmarkHeap(b *testing.B) {
	digests := digester{key: []byte("k")}
	const class, hash = "keyroll-0123456789abcdef0123456789abcdef", "-5d8f7c9b6d"
	uid := func(m *metav1.ObjectMeta, i int) { m.UID = types.UID(fmt.Sprintf("8c1f6f0e-3c1b-4c55-9a57-%012d", i)) }
	kinds := map[string]func(c *caches, i int) error{
		"pod": func(c *caches, i int) error {
			set := fmt.Sprint("web-", i/4, hash)
			p := injectedPod(fmt.Sprintf("%s-x%04d", set, i), set, class)
			uid(&p.ObjectMeta, i)
			p.Annotations = map[string]string{
				annotation.Objects: "db-username,db-password", annotation.ServiceAccount: "web", annotation.Content: "0123456701234567-1",
				annotation.Dependencies: `{"v":1,"secretProviderClass":"` + class + `","vault":"shop-kv","tenantID":"11111111-1111-1111-1111-111111111111","clientID":"11111111-1111-1111-1111-111111111111","objects":["secret/db-username","secret/db-password"]}`,
			}
			p.Spec.ServiceAccountName, p.Spec.NodeName = "web", fmt.Sprint("node-", i/100)
			return c.add(sent(b, p, &corev1.Pod{}), digests)
		},
		"status": func(c *caches, i int) error {
			s := podStatus(fmt.Sprintf("web-%d%s-x%04d", i/4, hash, i), class, "0123456789abcdef0123456789abcdef", 1, noon)
			uid(&s.ObjectMeta, i)
			return c.add(sent(b, s, &secretsstore.SecretProviderClassPodStatus{}), digests)
		},
		"deployment": func(c *caches, i int) error {
			return c.add(sent(b, deployment(func(d *appsv1.Deployment) {
				d.Name = fmt.Sprint("web-", i)
				uid(&d.ObjectMeta, i)
				d.Spec.Template.Annotations = map[string]string{annotation.Objects: "db-username,db-password", annotation.ServiceAccount: "web"}
			}), &appsv1.Deployment{}), digests)
		},
		"replicaset": func(c *caches, i int) error {
			r := replicaSet(fmt.Sprint("web-", i, hash), "1")
			uid(&r.ObjectMeta, i)
			r.OwnerReferences[0].UID = types.UID(fmt.Sprintf("9d2f6f0e-3c1b-4c55-9a57-%012d", i))
			return c.add(sent(b, r, &appsv1.ReplicaSet{}), digests)
		},
	}
	for name, add := range kinds {
		b.Run(name, func(b *testing.B) {
			const objects = 20000
			for b.Loop() {
				driverClient, _, _ := driverfake.New()
				c := newCaches(Config{Kube: kubefake.New(fake.NewClientset()), Driver: driverClient, Namespace: "keyroll-system"}, &digests)
				before := heap()
				for i := range objects {
					if err := add(c, i); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(heap()-before)/objects, "B/object")
				goruntime.KeepAlive(c)
			}
		})
	}
}

// sent is an object as a client has it: no string of it is shared with another object's.
func sent[O any](b *testing.B, object any, into *O) *O {
	b.Helper()
	text, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		b.Fatal(err)
	}
	return into
}
