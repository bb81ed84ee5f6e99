package webhook

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/golden"
	"keyroll.dev/webhook/inject"
)

// cases is where the inputs of the core's golden tests are.
var cases = filepath.Join("inject", "testdata")

// fixed is a Cluster of given content. The mutex is for tests that change it
// while a request waits.
type fixed struct {
	mu         sync.Mutex
	namespaces map[string]dependency.Namespace
	accounts   map[string]*dependency.ServiceAccount
	looks      int // at a namespace
	look       func(look int)
}

// shop is a cluster with the labelled namespace "shop" and ServiceAccount "web".
func shop() *fixed {
	return &fixed{
		namespaces: map[string]dependency.Namespace{"shop": labelled("shop"), "unlabelled": {Name: "unlabelled"}},
		accounts: map[string]*dependency.ServiceAccount{
			"default": {Name: "default"},
			"web": {Name: "web", Annotations: map[string]string{
				annotation.IdentityClientID: "22222222-2222-2222-2222-222222222222",
			}},
		},
	}
}

func labelled(name string) dependency.Namespace {
	return dependency.Namespace{
		Name:   name,
		Labels: map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled},
		Annotations: map[string]string{
			annotation.Vault: "shop-kv", annotation.TenantID: "11111111-1111-1111-1111-111111111111",
		},
	}
}

func (c *fixed) Namespace(name string) (dependency.Namespace, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	if c.look != nil {
		c.look(c.looks)
	}
	n, found := c.namespaces[name]
	return n, found
}

func (c *fixed) Accounts(string) dependency.Accounts {
	return func(name string) (*dependency.ServiceAccount, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		a, found := c.accounts[name]
		return a, found
	}
}

func (c *fixed) Classes(string) inject.Classes { return nil }

// add takes up what surrounds the subject of a golden case.
func (c *fixed) add(tb testing.TB, o golden.Object) bool {
	tb.Helper()
	switch o.Kind {
	case "Namespace":
		var n corev1.Namespace
		decode(tb, o.JSON, &n)
		c.namespaces["shop"] = dependency.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
	case "ServiceAccount":
		var a corev1.ServiceAccount
		decode(tb, o.JSON, &a)
		c.accounts[a.Name] = &dependency.ServiceAccount{Name: a.Name, Annotations: a.Annotations, Automount: a.AutomountServiceAccountToken}
	case "SecretProviderClass":
	default:
		return false
	}
	return true
}

func decode(tb testing.TB, raw []byte, into any) {
	tb.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		tb.Fatal(err)
	}
}

// resources are what the kinds are called in requests.
var resources = map[string]metav1.GroupVersionResource{
	"Pod":         {Version: "v1", Resource: "pods"},
	"Deployment":  {Group: "apps", Version: "v1", Resource: "deployments"},
	"StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"DaemonSet":   {Group: "apps", Version: "v1", Resource: "daemonsets"},
	"ReplicaSet":  {Group: "apps", Version: "v1", Resource: "replicasets"},
	"Job":         {Group: "batch", Version: "v1", Resource: "jobs"},
	"CronJob":     {Group: "batch", Version: "v1", Resource: "cronjobs"},
}

// request is a review's request about an object, to be created or, with an
// old one, updated.
func request(kind string, object, old []byte) *admissionv1.AdmissionRequest {
	gvr := resources[kind]
	r := &admissionv1.AdmissionRequest{
		UID:       types.UID("b2c3"),
		Kind:      metav1.GroupVersionKind{Group: gvr.Group, Version: gvr.Version, Kind: kind},
		Resource:  gvr,
		Namespace: "shop",
		Operation: admissionv1.Create,
		Object:    runtime.RawExtension{Raw: object},
	}
	if old != nil {
		r.Operation = admissionv1.Update
		r.OldObject = runtime.RawExtension{Raw: old}
	}
	return r
}

func reviewOf(tb testing.TB, r *admissionv1.AdmissionRequest) []byte {
	tb.Helper()
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// pod is a pod that asks for an object, with further annotations.
func pod(annotations string) []byte {
	return fmt.Appendf(nil, `{"metadata":{"annotations":{"keyroll.dev/objects":"db-password"%s}},"spec":{"serviceAccountName":"web","containers":[{"name":"app"}]}}`, annotations)
}
