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
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	kubefake "keyroll.dev/internal/kube/fake"
)

func lease(identity string) Lease {
	return Lease{Name: "keyroll-watcher", Identity: identity, Duration: 15 * time.Second, Renew: 10 * time.Second, Retry: 2 * time.Second}
}

// election is replicas that want the lease of one cluster.
type election struct {
	t      *testing.T
	client *fake.Clientset
	cut    atomic.Bool // writes of the lease fail

	mu  sync.Mutex
	log []string
}

// newElection must be called in a synctest bubble. The server of its leases
// refuses a write that is made upon another version, as client-go's fake does not.
func newElection(t *testing.T) *election {
	e := &election{t: t, client: fake.NewClientset()}
	version := 1
	e.client.PrependReactor("update", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if e.cut.Load() {
			return true, nil, errors.New("no connection")
		}
		update := action.(clienttesting.UpdateActionImpl)
		written := update.GetObject().(*coordinationv1.Lease)
		stored, err := e.client.Tracker().Get(update.GetResource(), update.GetNamespace(), written.Name)
		if err != nil {
			return true, nil, err
		}
		if stored.(*coordinationv1.Lease).ResourceVersion != written.ResourceVersion {
			return true, nil, apierrors.NewConflict(coordinationv1.Resource("leases"), written.Name, errors.New("changed meanwhile"))
		}
		version++
		written = written.DeepCopy()
		written.ResourceVersion = time.Duration(version).String()
		return true, written, e.client.Tracker().Update(update.GetResource(), written, update.GetNamespace())
	})
	return e
}

func (e *election) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, what)
}

func (e *election) noted() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.log...)
}

// run has a replica stand for the lease until ctx ends.
func (e *election) run(ctx context.Context, name string) chan error {
	ended := make(chan error, 1)
	go func() {
		leases := kubefake.New(e.client).Leases("keyroll-system")
		ended <- lead(ctx, leases, lease(name), slog.New(slog.DiscardHandler), func(ctx context.Context) {
			e.note(name + " begins")
			<-ctx.Done()
			time.Sleep(3 * time.Second) // its last patch
			e.note(name + " ends")
		})
	}()
	return ended
}

func (e *election) want(want ...string) {
	e.t.Helper()
	if diff := cmp.Diff(want, e.noted()); diff != "" {
		e.t.Errorf("(-want +got)\n%s", diff)
	}
}

// stored is the lease that the cluster has.
func (e *election) stored() *coordinationv1.Lease {
	e.t.Helper()
	found, err := e.client.CoordinationV1().Leases("keyroll-system").Get(e.t.Context(), "keyroll-watcher", metav1.GetOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	return found
}

// touch has somebody else change the lease, though its holder may renew it at the
// same moment.
func (e *election) touch(how string) {
	e.t.Helper()
	for {
		lease := e.stored()
		lease.Labels = map[string]string{"touched": how}
		_, err := e.client.CoordinationV1().Leases("keyroll-system").Update(e.t.Context(), lease, metav1.UpdateOptions{})
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			e.t.Fatal(err)
		}
	}
}

func TestTheNextLeaderBeginsWhenTheLastHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		firstCtx, stopFirst := context.WithCancel(t.Context())
		first := e.run(firstCtx, "first")
		time.Sleep(time.Second)
		secondCtx, stopSecond := context.WithCancel(t.Context())
		second := e.run(secondCtx, "second")
		time.Sleep(time.Minute)
		stopFirst()
		if err := <-first; err != nil {
			t.Errorf("first: %v", err)
		}
		time.Sleep(time.Second)
		e.want("first begins", "first ends", "second begins")
		if got := *e.stored().Spec.LeaseTransitions; got != 1 {
			t.Errorf("%d transitions, want 1", got)
		}
		stopSecond()
		if err := <-second; err != nil {
			t.Errorf("second: %v", err)
		}
		e.want("first begins", "first ends", "second begins", "second ends")
		if holder := *e.stored().Spec.HolderIdentity; holder != "" {
			t.Errorf("%s still holds the lease", holder)
		}
	})
}

func TestAnotherLeadsWhenTheLeaseOfOneThatIsGoneExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		seconds, gone, long := int32(15), "gone", metav1.NewMicroTime(time.Now().Add(-time.Hour))
		_, err := e.client.CoordinationV1().Leases("keyroll-system").Create(t.Context(), &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "keyroll-watcher"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &gone, LeaseDurationSeconds: &seconds, RenewTime: &long},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := e.run(ctx, "next")
		time.Sleep(15 * time.Second)
		e.want() // what the clock of the other said is nothing to go by
		time.Sleep(time.Second)
		e.want("next begins")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestOfManyOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		ctx, stop := context.WithCancel(t.Context())
		var all []chan error
		for _, name := range []string{"a", "b", "c", "d"} {
			all = append(all, e.run(ctx, name))
		}
		time.Sleep(time.Minute)
		if got := e.noted(); len(got) != 1 {
			t.Errorf("%q, want one to lead", got)
		}
		stop()
		for _, ended := range all {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestALostLeaseIsAnError(t *testing.T) {
	tests := map[string]struct {
		lose   func(*election)
		within time.Duration
	}{
		"when it is not renewed in time": {func(e *election) { e.cut.Store(true) }, 10 * time.Second},
		"when another has it": {func(e *election) {
			taken, thief := e.stored(), "thief"
			taken.Spec.HolderIdentity = &thief
			_, err := e.client.CoordinationV1().Leases("keyroll-system").Update(e.t.Context(), taken, metav1.UpdateOptions{})
			if err != nil {
				e.t.Fatal(err)
			}
		}, 2 * time.Second},
		"when it was deleted": {func(e *election) {
			if err := e.client.CoordinationV1().Leases("keyroll-system").Delete(e.t.Context(), "keyroll-watcher", metav1.DeleteOptions{}); err != nil {
				e.t.Fatal(err)
			}
		}, 2 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newElection(t)
				ended := e.run(t.Context(), "a")
				time.Sleep(time.Minute + time.Millisecond)
				test.lose(e)
				began := time.Now()
				if err := <-ended; !errors.Is(err, errLost) {
					t.Errorf("ended with %v, want %v", err, errLost)
				}
				if took, limit := time.Since(began), test.within+3*time.Second; took > limit { // the last patch included
					t.Errorf("ended after %s, want %s", took, limit)
				}
				e.want("a begins", "a ends")
			})
		})
	}
}

// A lease that changes but stays with its holder, and renewals that fail for a
// while, are no reason to stop.
func TestALeaseIsKeptThroughDisturbances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := e.run(ctx, "a")
		for range 3 {
			time.Sleep(time.Minute)
			e.cut.Store(true)
			time.Sleep(5 * time.Second) // so that a try within Renew meets none of it, whenever the last one was
			e.cut.Store(false)
			time.Sleep(time.Minute)
			e.touch("once")
		}
		time.Sleep(time.Minute)
		e.want("a begins")
		e.touch("again")
		stop() // the lease is given back upon a version that the leader has not seen
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if holder := *e.stored().Spec.HolderIdentity; holder != "" {
			t.Errorf("%s still holds the lease", holder)
		}
	})
}

// TestAStandbyThatReadsLateAsksSeldom: an API server whose memory lags shows it a
// lease that nobody renews, and refuses what it writes upon that.
func TestAStandbyThatReadsLateAsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		leaderCtx, stopLeader := context.WithCancel(t.Context())
		leader := e.run(leaderCtx, "leader")
		time.Sleep(time.Second)
		late := e.stored()
		e.client.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, late, nil
		})
		var refused atomic.Int32
		e.client.PrependReactor("update", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
			written := action.(clienttesting.UpdateActionImpl).GetObject().(*coordinationv1.Lease)
			if *written.Spec.HolderIdentity == "standby" {
				refused.Add(1)
			}
			return false, nil, nil
		})
		standbyCtx, stopStandby := context.WithCancel(t.Context())
		standby := e.run(standbyCtx, "standby")
		time.Sleep(36 * time.Second) // for 20 of which the lease seems to have expired
		if got := refused.Load(); got < 5 || got > 12 {
			t.Errorf("%d writes, want one every 2 seconds", got)
		}
		e.want("leader begins")
		stopStandby()
		if err := <-standby; err != nil {
			t.Error(err)
		}
		stopLeader()
		if err := <-leader; err != nil {
			t.Error(err)
		}
	})
}
