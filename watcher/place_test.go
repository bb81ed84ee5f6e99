package watcher

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

func TestDriverGeneration(t *testing.T) {
	yes, no := true, false
	tests := map[string]struct {
		republish *bool
		version   string
		want      rollout.Driver
		wantStill bool
	}{
		"republishing":                          {&yes, "", rollout.Republishing, false},
		"republishing, by its version too":      {&yes, "1.6.0", rollout.Republishing, false},
		"never heard of it":                     {nil, "", rollout.Polling, false},
		"not republishing":                      {&no, "1.5.6", rollout.Polling, false},
		"1.6.0 with rotation off":               {&no, "1.6.0", rollout.Republishing, true},
		"a later one with a v and rotation off": {nil, "v1.7.1", rollout.Republishing, true},
		"a version that is none":                {&no, "latest", rollout.Polling, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: secretsstore.DriverName}}
			d.Labels = map[string]string{"app.kubernetes.io/version": test.version}
			d.Spec.RequiresRepublish = test.republish
			got := slimDriver(d)
			if got.generation != test.want || got.still != test.wantStill {
				t.Errorf("generation %v, still %t; want %v, %t", got.generation, got.still, test.want, test.wantStill)
			}
		})
	}
}

// driverObject is the newer driver's, with rotation switched on or off.
func driverObject(on bool) *storagev1.CSIDriver {
	d := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: secretsstore.DriverName, UID: "driver-uid"}}
	d.Labels = map[string]string{"app.kubernetes.io/version": "1.6.0"}
	d.Spec.RequiresRepublish = &on
	return d
}

func TestThatNothingRotatesIsTold(t *testing.T) {
	event := []string{"Warning RotationOff CSIDriver/" + secretsstore.DriverName}
	update := func(c *cluster, on bool) {
		_, err := c.kube.StorageV1().CSIDrivers().Update(t.Context(), driverObject(on), metav1.UpdateOptions{})
		c.must(err)
	}
	tests := map[string]struct {
		driver     *storagev1.CSIDriver
		standby    bool
		change     func(*cluster)
		wantOff    float64
		wantEvents []string
	}{
		"rotation is on":               {driver: driverObject(true)},
		"it is off":                    {driver: driverObject(false), wantOff: 1, wantEvents: event},
		"it is switched off":           {driver: driverObject(true), change: func(c *cluster) { update(c, false) }, wantOff: 1, wantEvents: event},
		"it is switched on":            {driver: driverObject(false), change: func(c *cluster) { update(c, true) }, wantEvents: event},
		"it is off, and written again": {driver: driverObject(false), change: func(c *cluster) { update(c, false) }, wantOff: 1, wantEvents: event},
		"there is no driver":           {wantOff: 1},
		"the driver is taken away": {driver: driverObject(true), change: func(c *cluster) {
			c.must(c.kube.StorageV1().CSIDrivers().Delete(t.Context(), secretsstore.DriverName, metav1.DeleteOptions{}))
		}, wantOff: 1},
		"it is switched off, and told by who leads": {driver: driverObject(true), standby: true, change: func(c *cluster) {
			update(c, false)
			time.Sleep(time.Minute)
			if told := c.events(); told != nil {
				t.Errorf("events %v by one who stands by", told)
			}
			c.giveBack()
		}, wantOff: 1, wantEvents: event},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var objects []runtime.Object
				if test.driver != nil {
					objects = append(objects, test.driver)
				}
				if test.standby {
					objects = append(objects, heldLease())
				}
				c := start(t, objects)
				defer c.stop()
				time.Sleep(time.Minute)
				if test.change != nil {
					test.change(c)
					time.Sleep(time.Minute)
				}
				if got := testutil.ToFloat64(c.controller.metrics.still); got != test.wantOff {
					t.Errorf("rotation off: %v, want %v", got, test.wantOff)
				}
				if diff := cmp.Diff(test.wantEvents, c.events()); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
			})
		})
	}
}

func TestWithoutADriverObjectTheNewerIsAssumed(t *testing.T) {
	if got := cached(t).driver(); got != rollout.Republishing {
		t.Errorf("generation %v, want the newer", got)
	}
}

func TestSyncedObjects(t *testing.T) {
	spec := func(change func(*secretsstore.SecretProviderClassSpec)) *secretsstore.SecretProviderClassSpec {
		c := syncingClass("files", "app-secrets")
		change(&c.Spec)
		return &c.Spec
	}
	tests := map[string]struct {
		change func(*secretsstore.SecretProviderClassSpec)
		want   map[string][]string
	}{
		"one object": {func(*secretsstore.SecretProviderClassSpec) {}, map[string][]string{"app-secrets": {"secret/db-password"}}},
		"no Secret":  {func(s *secretsstore.SecretProviderClassSpec) { s.SecretObjects = nil }, nil},
		"an alias": {func(s *secretsstore.SecretProviderClassSpec) {
			s.Parameters["objects"] = "array:\n  - |\n    objectName: other\n    objectType: cert\n    objectAlias: db-password\n"
		}, map[string][]string{"app-secrets": {"cert/other"}}},
		"objects written as JSON": {func(s *secretsstore.SecretProviderClassSpec) {
			s.Parameters["objects"] = `{"array":["{\"objectName\":\"db-password\",\"objectType\":\"key\"}"]}`
		}, map[string][]string{"app-secrets": {"key/db-password"}}},
		"a file that is not known":    {func(s *secretsstore.SecretProviderClassSpec) { s.SecretObjects[0].Data[0].ObjectName = "x" }, map[string][]string{"app-secrets": nil}},
		"objects that cannot be read": {func(s *secretsstore.SecretProviderClassSpec) { s.Parameters["objects"] = "]" }, map[string][]string{"app-secrets": nil}},
		"another provider":            {func(s *secretsstore.SecretProviderClassSpec) { s.Provider = "vault" }, map[string][]string{"app-secrets": nil}},
		"a history of several versions": {func(s *secretsstore.SecretProviderClassSpec) {
			s.Parameters["objects"] = "array:\n  - |\n    objectName: db-password\n    objectType: secret\n    objectVersionHistory: 3\n"
		}, map[string][]string{"app-secrets": nil}},
		"one Secret named twice": {func(s *secretsstore.SecretProviderClassSpec) {
			s.Parameters["objects"] += "  - |\n    objectName: user\n    objectType: secret\n"
			s.SecretObjects = append(s.SecretObjects, &secretsstore.SecretObject{SecretName: "app-secrets", Data: []*secretsstore.SecretObjectData{{ObjectName: "user", Key: "user"}}})
		}, map[string][]string{"app-secrets": {"secret/db-password", "secret/user"}}},
		"a plain value besides": {func(s *secretsstore.SecretProviderClassSpec) {
			s.SecretObjects[0].Data = append(s.SecretObjects[0].Data, &secretsstore.SecretObjectData{Key: "k", PlainValue: "v"}, nil)
		}, map[string][]string{"app-secrets": {"secret/db-password"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, syncedBy(spec(test.change))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	tests := map[string]types.UID{
		"/var/lib/kubelet/pods/1c0e-uid/volumes/kubernetes.io~csi/secrets/mount":          "1c0e-uid",
		`c:\var\lib\kubelet\pods\1c0e-uid\volumes\kubernetes.io~csi\secrets\mount`:        "1c0e-uid",
		"/opt/pods/volumes/kubelet/pods/1c0e-uid/volumes/kubernetes.io~csi/volumes/mount": "1c0e-uid",
		"/somewhere/else": "",
		"":                "",
		"volumes":         "",
	}
	for path, want := range tests {
		if got := targetOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestNamespacesThatTheWebhookLeavesOutAreNotOptedIn(t *testing.T) {
	tests := map[string]struct {
		name   string
		labels map[string]string
		want   bool
	}{
		"labelled":                    {"shop", nil, true},
		"of the system":               {"kube-system", nil, false},
		"of the release":              {"keyroll-system", nil, false},
		"of a control plane":          {"shop", map[string]string{"control-plane": "true"}, false},
		"of something else's control": {"shop", map[string]string{"control-plane": "shop"}, true},
		"managed by AKS":              {"shop", map[string]string{"kubernetes.azure.com/managedby": "aks"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := enabledNamespace()
			n.Name = test.name
			maps.Copy(n.Labels, test.labels)
			if got := cached(t, n).enabled(test.name); got != test.want {
				t.Errorf("enabled %t, want %t", got, test.want)
			}
		})
	}
}
