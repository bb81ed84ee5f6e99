package watcher

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	kubefake "keyroll.dev/internal/kube/fake"
	"keyroll.dev/internal/secretsstore"
)

// driverResources are the driver's, as discovery lists them for a version.
func driverResources(version string, names ...string) *metav1.APIResourceList {
	list := &metav1.APIResourceList{GroupVersion: secretsstore.GroupVersion.Group + "/" + version}
	for _, name := range names {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name})
	}
	return list
}

func TestHasStatusSubresource(t *testing.T) {
	const classes, statuses = "secretproviderclasses", "secretproviderclasspodstatuses"
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "apis"}, "", errors.New("no"))
	tests := map[string]struct {
		served  []*metav1.APIResourceList
		err     error
		want    bool
		wantErr error
	}{
		"the driver's own CRD": {served: []*metav1.APIResourceList{driverResources("v1", classes, statuses)}},
		"one with a status subresource": {
			served: []*metav1.APIResourceList{driverResources("v1", classes, statuses, statuses+"/status")}, want: true,
		},
		"a subresource of classes alone": {
			served: []*metav1.APIResourceList{driverResources("v1", classes, classes+"/status", statuses)},
		},
		"another subresource": {served: []*metav1.APIResourceList{driverResources("v1", statuses, statuses+"/scale")}},
		"an older version alone has it": {
			served: []*metav1.APIResourceList{driverResources("v1alpha1", statuses, statuses+"/status")},
		},
		"an older version has it too": {
			served: []*metav1.APIResourceList{driverResources("v1alpha1", statuses, statuses+"/status"), driverResources("v1", statuses)},
		},
		"the driver is not installed yet": {},
		"discovery is denied": {
			served: []*metav1.APIResourceList{driverResources("v1", statuses)}, err: denied, wantErr: denied,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set := fake.NewClientset()
			set.Resources = test.served
			set.PrependReactor("get", "resource", func(clienttesting.Action) (bool, runtime.Object, error) {
				return test.err != nil, nil, test.err
			})
			got, err := hasStatusSubresource(t.Context(), kubefake.New(set))
			if got != test.want || !errors.Is(err, test.wantErr) {
				t.Errorf("%t, %v; want %t, %v", got, err, test.want, test.wantErr)
			}
		})
	}
}

// TestGenerationsThatTellNothingAreNotCounted: with a status subresource they
// stay 1 whatever the driver writes.
func TestGenerationsThatTellNothingAreNotCounted(t *testing.T) {
	statuses := secretsstore.PodStatusResource.Resource
	for name, test := range map[string]struct {
		resources []string
		want      int
	}{
		"without the subresource": {[]string{statuses}, 0},
		"with the subresource":    {[]string{statuses, statuses + "/status"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				c := start(t, shopObjects(), func(config *Config) {
					config.Log = slog.New(slog.NewJSONHandler(&logged, nil))
					config.Kube.Served = func(context.Context, schema.GroupVersion) (*metav1.APIResourceList, error) {
						return driverResources("v1", test.resources...), nil
					}
				})
				time.Sleep(10 * time.Minute)
				for _, p := range c.pods() {
					status := podStatus(p.Name, "files", "v2", 1, time.Now())
					status.CreationTimestamp = p.CreationTimestamp
					c.must(c.statuses.Update(secretsstore.PodStatusResource, status, shop))
				}
				time.Sleep(time.Minute)
				c.stop() // and with it all that logs
				warned := strings.Contains(logged.String(), "has a status subresource")
				if got := len(c.patches()); got != test.want || warned != (test.want > 0) {
					t.Errorf("%d rollouts, warned: %t; want %d, %t", got, warned, test.want, test.want > 0)
				}
			})
		})
	}
}
