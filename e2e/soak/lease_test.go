package soak

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/install"
	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
)

const (
	afterTerm     = 2 * time.Second
	afterKillLost = 18 * time.Second // the lease, time until the next look at it, and time to act
)

// TestTheLeaseIsHandedOver ends the leading watcher in both ways and shows how
// long it takes until the other one leads, and until it acts.
func TestTheLeaseIsHandedOver(t *testing.T) {
	keyroll.ShowLogs(t)
	namespace(t, "lease")
	var webhook replicas
	t.Cleanup(webhook.kill)
	if err := webhook.roll(t.Context(), shipped()); err != nil {
		t.Fatal(err)
	}
	killed := install.FastWatcher
	if long {
		killed = asShipped
	}
	t.Run("SIGTERM", func(t *testing.T) {
		handOver(t, asShipped, afterTerm, func(leader *install.Process) {
			go leader.Stop() //nolint:errcheck // one that had to be killed fails the test by its lease
		})
	})
	t.Run("SIGKILL", func(t *testing.T) {
		handOver(t, killed, afterKillLost, (*install.Process).Kill)
	})
}

// handOver ends one leader after the other, and each time another takes over.
func handOver(t *testing.T, args []string, limit time.Duration, end func(*install.Process)) {
	w := &watchers{t: t, args: args, byName: map[string]*install.Process{}}
	t.Cleanup(w.stop)
	w.start()
	w.start()
	leader := w.await("")
	for range number(4, 1) {
		from := time.Now()
		end(w.byName[leader])
		next := w.await(leader)
		leads := time.Since(from)
		w.awaitAct()
		acts := time.Since(from)
		t.Logf("after %s another leads, after %s it has made a class", leads.Round(10*time.Millisecond), acts.Round(10*time.Millisecond))
		if long && acts > limit {
			t.Errorf("the hand-over took %s, %s is allowed", acts, limit)
		}
		leader = next
		w.start()
		if long { // not always at the same moment between two looks
			_ = sleep(t.Context(), 3*time.Second)
		}
	}
}

// watchers are replicas by their names in the lease.
type watchers struct {
	t      *testing.T
	args   []string
	byName map[string]*install.Process
}

func (w *watchers) start() {
	w.t.Helper()
	name := fmt.Sprintf("%s-%d", w.t.Name(), len(w.byName))
	p, err := keyroll.StartWatcher(w.t.Context(), slices.Concat(w.args, []string{"--identity=" + name})...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.byName[name] = p
	if err := p.WaitReady(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watchers) stop() {
	var ending sync.WaitGroup
	for _, p := range w.byName {
		ending.Go(func() { _ = p.Stop() }) // Err tells of one that had to be killed
	}
	ending.Wait()
}

// await waits for one of them to lead that is not the one before.
func (w *watchers) await(before string) (leader string) {
	w.t.Helper()
	err := until(w.t.Context(), "a leader", func() string {
		lease, err := shared.Client().CoordinationV1().Leases(keyroll.Namespace()).Get(w.t.Context(), "keyroll-watcher", metav1.GetOptions{})
		switch {
		case err != nil:
			return err.Error()
		case lease.Spec.HolderIdentity == nil || w.byName[*lease.Spec.HolderIdentity] == nil:
			return "no one of ours"
		case *lease.Spec.HolderIdentity == before:
			return before + " still"
		}
		leader = *lease.Spec.HolderIdentity
		return ""
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return leader
}

// awaitAct has the leader make the class of a pod.
func (w *watchers) awaitAct() {
	w.t.Helper()
	ctx := w.t.Context()
	pod := asking("")
	pod.GenerateName = "acts-"
	pod.Annotations[annotation.Objects] = fmt.Sprintf("object-%d", time.Now().UnixNano()) // a class of its own
	pod, err := shared.Client().CoreV1().Pods("lease").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	record, err := dependency.Decode(pod.Annotations[annotation.Dependencies])
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(shared.Admin())
	if err != nil {
		w.t.Fatal(err)
	}
	classes := client.Resource(driver.GroupVersion.WithResource("secretproviderclasses")).Namespace("lease")
	if err := until(ctx, "the class", func() string {
		if _, err := classes.Get(ctx, record.SecretProviderClass, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	}); err != nil {
		w.t.Fatal(err)
	}
}
