package watcher

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/secretsstore"
)

// heldLease is held by another replica, which renews it no more.
func heldLease() *coordinationv1.Lease {
	holder, seconds, now := "another", int32(24*3600), metav1.NowMicro()
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: "keyroll-watcher"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
}

// giveBack gives the lease of heldLease back.
func (c *cluster) giveBack() {
	c.t.Helper()
	leases := c.kube.CoordinationV1().Leases("keyroll-system")
	lease, err := leases.Get(c.t.Context(), "keyroll-watcher", metav1.GetOptions{})
	c.must(err)
	none := ""
	lease.Spec.HolderIdentity = &none
	_, err = leases.Update(c.t.Context(), lease, metav1.UpdateOptions{})
	c.must(err)
}

// queued answers which of the queues' depths and adds are not zero.
func (c *cluster) queued() []string {
	c.t.Helper()
	families, err := c.config.Registerer.(*prometheus.Registry).Gather()
	c.must(err)
	var found []string
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "keyroll_watcher_queue_")
		for _, m := range family.GetMetric() {
			if (name == "depth" || name == "adds_total") && m.GetGauge().GetValue()+m.GetCounter().GetValue() > 0 {
				found = append(found, name+" of "+m.GetLabel()[0].GetValue())
			}
		}
	}
	return found
}

func TestAReplicaThatStandsByQueuesNothingAndMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := append(shopObjects(), heldLease())
		asks := asking("db-password") // a class that is to be made
		asks.Name, asks.UID = "api", "api-uid"
		unneeded := syncingClass("keyroll-unneeded", "app-secrets")
		unneeded.Labels = map[string]string{"app.kubernetes.io/managed-by": "keyroll"}
		missed := deployment() // a workload that is to be mended
		missed.Name, missed.UID = "late", "late-uid"
		missed.Annotations["keyroll.dev/objects"] = "db-password"
		c := start(t, append(objects, asks, missed, unneeded))
		defer c.stop()
		time.Sleep(time.Minute)
		bare := injectedPod("bare", "none", "files")
		bare.OwnerReferences = nil
		_, err := c.kube.CoreV1().Pods(shop).Create(t.Context(), bare, metav1.CreateOptions{})
		c.must(err)
		for _, name := range []string{"web-1-a", "web-1-b"} {
			c.must(c.statuses.Update(secretsstore.PodStatusResource, podStatus(name, "files", "v2", 2, time.Now()), shop))
		}
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string(nil), c.queued()); diff != "" {
			t.Errorf("queues of a replica that stands by (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff([]string(nil), c.patched()); diff != "" {
			t.Errorf("its patches (-want +got)\n%s", diff)
		}

		c.giveBack()
		time.Sleep(5 * time.Second)
		for _, name := range []string{"deployments/web", "deployments/late"} {
			if !strings.Contains(strings.Join(c.patched(), " "), name) {
				t.Errorf("patches %v after the lease was given back, %s is missing", c.patched(), name)
			}
		}
		if got := len(c.classesOf()); got != 2 {
			t.Errorf("%d classes, want the unneeded one and one that was made", got)
		}
		time.Sleep(2 * time.Hour)
		if got := c.classesOf(); len(got) != 1 {
			t.Errorf("classes %v, want the unneeded one to be collected", got)
		}
	})
}
