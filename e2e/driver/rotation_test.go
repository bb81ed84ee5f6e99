package driver

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/e2e/vault"
)

// The main story by itself: pods on three nodes start on one version, hold the
// next after a rotation by the driver's own periods, and keep their environment.
func TestPodsRotateByThemselves(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation, c.Timings = g, Fast() })
		v1 := w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "web-synced", "db-password")
		w.deployment("web", 9, mountOf("web", map[string]string{"DB_PASSWORD": "web-synced/db-password"}))
		nodes := map[string]bool{}
		for _, s := range w.d.Starts(w.ns) {
			nodes[s.Node] = true
			want := map[string]File{"/mnt/secrets/db-password": {ID: "secret/db-password", Version: v1, Value: "one"}}
			if diff := cmp.Diff(want, s.Files); diff != "" {
				t.Errorf("files at the start of %s (-want +got):\n%s", s.Pod, diff)
			}
			if s.Env["DB_PASSWORD"] != "one" {
				t.Errorf("%s started with %q", s.Pod, s.Env)
			}
		}
		if len(nodes) != 3 {
			t.Errorf("pods started on %v only", nodes)
		}

		v2 := w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.until("all pods on the new version", func() string {
			behind := 0
			for _, h := range w.d.Current(w.ns) {
				if h.Versions()["secret/db-password"] != v2 {
					behind++
				}
			}
			if held := len(w.d.Current(w.ns)); held != 9 || behind > 0 {
				return fmt.Sprintf("%d of %d behind", behind, held)
			}
			return ""
		})
		w.secretHolds("web-synced", "db-password", "two")
		for _, h := range w.d.Current(w.ns) {
			w.generation(h.Pod, "web", 2)
			if h.Env["DB_PASSWORD"] != "one" {
				t.Errorf("the environment of %s changed to %q without a start", h.Pod, h.Env)
			}
		}
	})
}

func TestAFailedRotation(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "", "db-password")
		for _, pod := range []string{"web-1", "web-2", "web-3"} {
			w.pod(pod, mountOf("web", nil))
		}
		for _, pod := range []string{"web-1", "web-2", "web-3"} {
			w.ready(pod)
		}
		w.d.FailRotation(w.ns, "web-1")
		w.d.Pause(w.ns, "web-2")
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.turn(1, func() { w.d.Poll() })
		w.generation("web-3", "web", 2)
		if got := w.statusOf("web-2", "web").Generation; got != 1 {
			t.Errorf("generation %d of the paused pod's status", got)
		}
		if g == Polling {
			w.event("web-1", "MountRotationFailed", "provider mount err: "+errHeld.Error())
			w.event("web-3", "MountRotationComplete", "successfully rotated mounted contents for spc "+w.ns+"/web")
		} else {
			w.until("both pods behind", func() string {
				for _, h := range w.d.Current(w.ns) {
					if want := map[string]string{"web-1": "one", "web-2": "one", "web-3": "two"}[h.Pod]; h.Files["/mnt/secrets/db-password"].Value != want {
						return h.Pod + " holds " + h.Files["/mnt/secrets/db-password"].Value
					}
				}
				return ""
			})
		}
		w.d.Release(w.ns, "web-1")
		w.d.Release(w.ns, "web-2")
		w.d.Poll()
		w.generation("web-1", "web", 2)
		w.generation("web-2", "web", 2)
		if g == Republishing {
			for _, e := range append(w.events("web-1", "FailedMount"), w.events("web-1", "MountRotationFailed")...) {
				t.Errorf("a masked failure made the event %q", e)
			}
		}
	})
}

func TestYoungContentIsNotFetchedAgain(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Generation = Republishing
		c.Timings.PollInterval = 1e12 // some minutes
	})
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	pod := w.pod("web-1", mountOf("web", nil))
	w.ready("web-1")
	before := w.vault.Reads(keyVault)
	r := publishRequest{pod: pod, volume: &pod.Spec.Volumes[0]}
	n := w.d.nodes[w.getPod("web-1").Spec.NodeName]
	if err := n.publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := w.vault.Reads(keyVault); got != before {
		t.Errorf("%d reads", got-before)
	}
}

// In the newer generation each pod writes the whole Secret from its own files,
// so one that lags puts the old value back; in the older one it does not,
// because its turn ends at the failed fetch.
func TestAPodThatLagsPutsTheOldValueBack(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "web-synced", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.pod("web-2", mountOf("web", nil))
		w.ready("web-1")
		w.ready("web-2")
		w.secretHolds("web-synced", "db-password", "one")
		w.d.FailRotation(w.ns, "web-1")
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.d.Poll()
		w.secretHolds("web-synced", "db-password", "two")
		w.d.ResyncPod(w.ns, "web-1")
		if g == Republishing {
			w.secretHolds("web-synced", "db-password", "one")
			w.d.ResyncPod(w.ns, "web-2")
			w.secretHolds("web-synced", "db-password", "two")
			return
		}
		w.d.Poll() // its turn fails again
		w.patchSecret("web-synced", `{"metadata":{"labels":{"seen":"yes"}}}`)
		w.secretHolds("web-synced", "db-password", "two")
	})
}

// What stands on a Secret besides the driver's own data.
func TestForeignMetadataOfASecret(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		class := w.class("unused", "web-synced", "db-password")
		class.ObjectMeta = metav1.ObjectMeta{Name: "web", Namespace: w.ns}
		class.Spec.SecretObjects[0].Labels = map[string]string{"team": "shop"}
		class.Spec.SecretObjects[0].Annotations = map[string]string{"note": "hello"}
		w.create(class)
		w.deployment("web", 1, mountOf("web", nil))
		owned := func() string {
			if owners := w.secret("web-synced").OwnerReferences; len(owners) != 1 || owners[0].Kind != "ReplicaSet" || owners[0].Controller != nil {
				return fmt.Sprint(owners)
			}
			return ""
		}
		w.until("the owner", owned)
		secret := w.secret("web-synced")
		labels := map[string]string{"secrets-store.csi.k8s.io/managed": "true", "team": "shop"}
		if diff := cmp.Diff(labels, secret.Labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"note": "hello"}, secret.Annotations); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
		w.patchSecret("web-synced", `{"metadata":{"labels":{"mine":"yes"}}}`)
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.d.Poll()
		w.secretHolds("web-synced", "db-password", "two")
		if got := w.secret("web-synced").Labels["mine"]; (got == "yes") != (g == Polling) {
			t.Errorf("the foreign label is %q", got)
		}
		w.until("the owner, after the rotation", owned)
	})
}

func TestAStartOfTheDriver(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "web-synced", "db-password")
		w.class("other", "other-synced", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.ready("web-1")
		w.secretHolds("web-synced", "db-password", "one")
		w.patchSecret("web-synced", `{"stringData":{"db-password":"by hand"}}`)
		w.until("the driver to have seen it", func() string {
			if s := w.d.nodes[nodeNames[0]].running().secret(w.ns, "web-synced"); string(s.Data["db-password"]) != "by hand" {
				return "not yet"
			}
			return ""
		})
		if err := w.d.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if g == Republishing {
			w.secretHolds("web-synced", "db-password", "one")
			return
		}
		// Its sync controller has been through once the Secret of a later pod on the same node is there.
		spec := mountOf("other", nil)
		spec.NodeName = w.getPod("web-1").Spec.NodeName
		w.pod("other-1", spec)
		w.ready("other-1")
		w.secretHolds("other-synced", "db-password", "one")
		if got := string(w.secret("web-synced").Data["db-password"]); got != "by hand" {
			t.Errorf("rewritten: %s", got)
		}
		if w.statusOf("web-1", "web").Generation != 1 {
			t.Error("the status changed")
		}
	})
}

func TestASecretThatIsDeletedComesBack(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation, c.Timings.Resync = g, Fast().Resync })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "web-synced", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.ready("web-1")
		w.secretHolds("web-synced", "db-password", "one")
		if err := w.kube.CoreV1().Secrets(w.ns).Delete(t.Context(), "web-synced", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.secretHolds("web-synced", "db-password", "one")
		if got := w.statusOf("web-1", "web").Generation; got != 1 {
			t.Errorf("generation %d of the status", got)
		}
	})
}

// A Secret that somebody else made is taken over by the newer generation and
// left alone by the older, which cannot see it.
func TestASecretOfSomebodyElse(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web-synced"}, StringData: map[string]string{"db-password": "mine"}}
		if _, err := w.kube.CoreV1().Secrets(w.ns).Create(t.Context(), mine, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.class("web", "web-synced", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.ready("web-1")
		if g == Republishing {
			w.secretHolds("web-synced", "db-password", "one")
			return
		}
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.d.Poll()
		w.event("web-1", "SecretRotationFailed", "failed to patch secret web-synced with new data, err: timed out waiting for the condition")
		w.secretHolds("web-synced", "db-password", "mine")
	})
}

// Attributes of the volume stand over the class's parameters: always in the
// newer generation, at the first mount only in the older.
func TestAttributesOfTheVolume(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "class")
		w.vault.Set("other-kv", vault.Secret, "db-password", "attribute")
		w.class("web", "", "db-password")
		spec := mountOf("web", nil)
		spec.Volumes[0].CSI.VolumeAttributes["keyvaultName"] = "other-kv"
		w.pod("web-1", spec)
		w.ready("web-1")
		holds := func(want string) {
			w.until(want, func() string {
				if got := w.d.Current(w.ns)[0].Files["/mnt/secrets/db-password"].Value; got != want {
					return "it holds " + got
				}
				return ""
			})
		}
		holds("attribute")
		w.vault.Set("other-kv", vault.Secret, "db-password", "attribute, rotated")
		w.d.Poll()
		holds(map[Generation]string{Polling: "class", Republishing: "attribute, rotated"}[g])
	})
}

func TestRotationSwitchedOff(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation, c.RotationEnabled = g, false })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.ready("web-1")
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.d.Poll()
		w.pod("web-2", mountOf("web", nil))
		w.ready("web-2")
		want := map[string]string{"web-1": "one", "web-2": "two"}
		got := map[string]string{}
		for _, h := range w.d.Current(w.ns) {
			got[h.Pod] = h.Files["/mnt/secrets/db-password"].Value
		}
		if !maps.Equal(want, got) {
			t.Errorf("pods hold %v, want %v", got, want)
		}
		driver, err := w.kube.StorageV1().CSIDrivers().Get(t.Context(), Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if *driver.Spec.RequiresRepublish {
			t.Error("requiresRepublish is true")
		}
	})
}

func TestAClassThatGoesWhilePodsRun(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.class("web", "", "db-password")
		w.pod("web-1", mountOf("web", nil))
		w.ready("web-1")
		if err := w.d.kubelet.classes(w.ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.untilSeen(w.d.classes, 0)
		w.d.Poll()
		if g == Republishing { // the one failure that is not masked
			w.event("web-1", "FailedMount", `MountVolume.SetUp failed for volume "vault" : rpc error: code = Unknown desc = failed to get secretproviderclass `+
				w.ns+`/web, error: SecretProviderClass.secrets-store.csi.x-k8s.io "web" not found`)
		}
		if held := w.d.Current(w.ns); len(held) != 1 || held[0].Files["/mnt/secrets/db-password"].Value != "one" {
			t.Errorf("the pod holds %v", held)
		}
		w.class("web", "", "db-password") // and all goes on
		w.untilSeen(w.d.classes, 1)
		w.vault.Set(keyVault, vault.Secret, "db-password", "two")
		w.d.Poll()
		w.generation("web-1", "web", 2)
	})
}

func TestTheKindsAreInstalledAgain(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Generation, c.Timings = Republishing, Fast() })
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	w.pod("web-1", mountOf("web", nil))
	w.ready("web-1")
	before := w.statusOf("web-1", "web")
	if err := w.d.UninstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.d.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.class("web", "", "db-password")
	w.until("the status to be made anew", func() string {
		s, err := w.d.kubelet.podStatuses(w.ns).Get(t.Context(), before.Name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if s.UID == before.UID || s.Generation != 1 {
			return fmt.Sprintf("uid %s, generation %d", s.UID, s.Generation)
		}
		return ""
	})
}

func TestAnUpgradeOfTheDriver(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "web-synced", "db-password")
	w.pod("web-1", mountOf("web", nil))
	w.ready("web-1")
	w.secretHolds("web-synced", "db-password", "one")
	if err := w.d.Switch(t.Context(), Republishing); err != nil {
		t.Fatal(err)
	}
	w.vault.Set(keyVault, vault.Secret, "db-password", "two")
	w.d.PollPod(w.ns, "web-1")
	onlyEntry(t, w.generation("web-1", "web", 2))
	w.secretHolds("web-synced", "db-password", "two")
}

func TestAnAnnotationMakesTheKubeletLook(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Generation = Republishing })
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	w.pod("web-1", mountOf("web", nil))
	w.ready("web-1")
	w.vault.Set(keyVault, vault.Secret, "db-password", "two")
	if _, err := w.kube.CoreV1().Pods(w.ns).Patch(t.Context(), "web-1", types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.generation("web-1", "web", 2)
}

func TestEventsOfASyncThatCannotWork(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		class := w.class("unused", "web-synced", "db-password")
		class.ObjectMeta = metav1.ObjectMeta{Name: "web", Namespace: w.ns}
		class.Spec.SecretObjects[0].Data[0].ObjectName = "password"
		w.create(class)
		w.pod("web-1", mountOf("web", nil))
		w.ready("web-1")
		w.event("web-1", "FailedToCreateSecret", strings.ReplaceAll(
			"failed to get data in spc <ns>/web for secret web-synced, err: file matching objectName password not found in the pod", "<ns>", w.ns))
	})
}
