package driver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/vault"
)

// The watcher decides by these fields; what they hold was measured on real
// drivers of both versions.
func TestAStatusHasWhatTheRealDriverWrites(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		user := w.vault.Set(keyVault, vault.Secret, "db-username", "app")
		v1 := w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "", "db-username", "db-password")
		w.pod("web-1", mountOf("web", nil))
		pod := w.ready("web-1")

		status := w.statusOf("web-1", "web")
		want := &PodStatus{
			ObjectMeta: metav1.ObjectMeta{
				Name: "web-1-" + w.ns + "-web", Namespace: w.ns, Generation: 1,
				Labels:          map[string]string{"internal.secrets-store.csi.k8s.io/node-name": pod.Spec.NodeName},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web-1", UID: pod.UID}},
			},
			Status: PodStatusStatus{
				PodName: "web-1", ClassName: "web", Mounted: true,
				TargetPath: "/var/lib/kubelet/pods/" + string(pod.UID) + "/volumes/kubernetes.io~csi/vault/mount",
				Objects:    []ObjectVersion{{"secret/db-password", v1}, {"secret/db-username", user}},
			},
		}
		if diff := cmp.Diff(want, plain(status)); diff != "" {
			t.Errorf("after the mount (-want +got):\n%s", diff)
		}
		one := onlyEntry(t, status)
		if !one.Time.Equal(&status.CreationTimestamp) {
			t.Errorf("managedFields time %v is not the creation's %v", one.Time, status.CreationTimestamp)
		}

		v2 := w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.turn(2, func() { w.d.Poll() })
		rotated := w.generation("web-1", "web", 2)
		want.Generation = 2
		want.Status.Objects[0].Version = v2
		if diff := cmp.Diff(want, plain(rotated)); diff != "" {
			t.Errorf("after the rotation (-want +got):\n%s", diff)
		}
		onlyEntry(t, rotated)

		for range 3 { // nothing new: the next change is the third generation
			w.turn(2, func() { w.d.Poll() })
		}
		w.vault.Set(keyVault, vault.Secret, "db-password", "three")
		w.turn(2, func() { w.d.Poll() })
		w.generation("web-1", "web", 3)
	})
}

func TestAForeignLabelIsNoChangeOfAStatus(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	w.pod("web-1", mountOf("web", nil))
	w.ready("web-1")
	status := w.statusOf("web-1", "web")
	before := onlyEntry(t, status)
	status.Labels["owner"] = "somebody"
	if _, err := w.d.kubelet.podStatuses(w.ns).Update(t.Context(), status, metav1.UpdateOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	after := w.statusOf("web-1", "web")
	if after.Generation != 1 {
		t.Errorf("generation is %d", after.Generation)
	}
	for _, entry := range after.ManagedFields {
		if entry.Manager == "csi-secrets-store" && !entry.Time.Equal(before.Time) {
			t.Errorf("the driver's entry moved from %v to %v", before.Time, entry.Time)
		}
	}
}

// A pod of the same name as one that has just gone takes over its status if
// the garbage collector was late: older than the pod, with a higher generation.
func TestAPodInheritsTheStatusOfItsPredecessor(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		version := w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "", "db-password")
		driver, err := newClient(shared.Admin(), pluginAgent("controller", g.String()))
		if err != nil {
			t.Fatal(err)
		}
		left := &PodStatus{
			ObjectMeta: metav1.ObjectMeta{Name: "web-0-" + w.ns + "-web", Namespace: w.ns, Labels: map[string]string{NodeLabel: "node-of-before"}},
			Status: PodStatusStatus{
				PodName: "web-0", ClassName: "web", Mounted: true, TargetPath: targetPath("uid-of-before", "vault"),
				Objects: []ObjectVersion{{"secret/db-password", version}},
			},
		}
		left, err = driver.podStatuses(w.ns).Create(t.Context(), left, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w.pod("web-0", mountOf("web", nil))
		pod := w.ready("web-0")
		got := w.statusOf("web-0", "web")
		if got.UID != left.UID || got.Generation != 2 {
			t.Errorf("uid %s, generation %d; want %s, 2", got.UID, got.Generation, left.UID)
		}
		if pod.CreationTimestamp.Before(&got.CreationTimestamp) {
			t.Errorf("created %v, after the pod at %v", got.CreationTimestamp, pod.CreationTimestamp)
		}
		want := plain(left)
		want.Generation = 2
		want.Labels[NodeLabel] = pod.Spec.NodeName
		want.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web-0", UID: pod.UID}}
		want.Status.TargetPath = targetPath(pod.UID, "vault")
		if diff := cmp.Diff(want, plain(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		onlyEntry(t, got)
	})
}

func TestAStatusThatIsDeleted(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.pod("web-2", mountOf("web", nil))
		w.ready("web-1")
		w.ready("web-2")
		if err := w.d.kubelet.podStatuses(w.ns).Delete(t.Context(), w.statusOf("web-1", "web").Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.untilSeen(w.d.statuses, 1)
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		switch g {
		case Polling: // its loop goes over statuses: the pod never rotates again
			w.turn(1, func() { w.d.Poll() })
			w.generation("web-2", "web", 2)
			for _, h := range w.d.Current(w.ns) {
				if want := map[string]string{"web-1": "one", "web-2": "two"}[h.Pod]; h.Files["/mnt/secrets/db-password"].Value != want {
					t.Errorf("%s holds %v, want %s", h.Pod, h.Files, want)
				}
			}
		case Republishing: // the next look makes it anew
			w.turn(2, func() { w.d.Poll() })
			w.untilSeen(w.d.statuses, 2)
			w.generation("web-1", "web", 1)
		}
	})
}

// The driver finds a pod's volume by its class and looks no further than the first.
func TestTwoVolumesOfOneClassInAPodFightForTheStatus(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Generation = Republishing })
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	spec := mountOf("web", nil)
	second := spec.Volumes[0].DeepCopy()
	second.Name = "again"
	spec.Volumes = append(spec.Volumes, *second)
	w.pod("web-1", spec)
	w.ready("web-1")
	// Each look changes it at least once: the second write may lose against the
	// first, which its cache has not seen yet, and that goes unseen.
	last := w.generation("web-1", "web", 2).Generation
	for range 2 {
		w.turn(2, func() { w.d.Poll() })
		w.until("another change of the status", func() string {
			if now := w.statusOf("web-1", "web").Generation; now > last {
				last = now
				return ""
			}
			return "none"
		})
	}
}

// plain leaves out what the API server gives each object anew.
func plain(s *PodStatus) *PodStatus {
	s = deepCopy(s)
	s.TypeMeta = metav1.TypeMeta{}
	s.UID, s.ResourceVersion, s.CreationTimestamp, s.ManagedFields = "", "", metav1.Time{}, nil
	return s
}

func onlyEntry(t *testing.T, s *PodStatus) metav1.ManagedFieldsEntry {
	t.Helper()
	if len(s.ManagedFields) != 1 {
		t.Fatalf("managedFields has %d entries: %v", len(s.ManagedFields), s.ManagedFields)
	}
	one := s.ManagedFields[0]
	if one.Manager != "csi-secrets-store" || one.Operation != metav1.ManagedFieldsOperationUpdate || one.Subresource != "" {
		t.Errorf("entry of %s, %s, %q", one.Manager, one.Operation, one.Subresource)
	}
	return one
}
