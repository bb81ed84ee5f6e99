package inject

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gomodules.xyz/jsonpatch/v2"
	applypatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/golden"
	"keyroll.dev/internal/secretsstore"
)

// TestGolden runs every case of testdata. A case holds what it needs besides
// what stands in testdata/shop, and one pod, one workload that is created, or
// one workload before and after an update.
func TestGolden(t *testing.T) {
	golden.Test(t, "testdata", func(t *testing.T, objects []golden.Object) golden.Result {
		c := newCluster(t)
		var subject []golden.Object
		for _, o := range objects {
			if !c.add(t, o) {
				subject = append(subject, o)
			}
		}
		if subject[0].Kind == "Pod" {
			return goldenPod(t, c, subject)
		}
		return goldenWorkload(t, c, subject)
	})
}

func goldenPod(t *testing.T, c *cluster, subject []golden.Object) golden.Result {
	t.Helper()
	if len(subject) != 1 {
		t.Fatalf("%d pods, want 1", len(subject))
	}
	plan := c.plan(t, subject[0].JSON)
	if len(plan.Problems) > 0 {
		if ops := plan.Patch(); len(ops) > 0 {
			t.Errorf("refused, yet patched: %v", ops)
		}
		return golden.Result{Denied: plan.Problems.Error(), Warnings: plan.Warnings}
	}
	patched := apply(t, subject[0].JSON, plan.Patch())
	again := c.plan(t, patched)
	if len(again.Problems) > 0 || len(again.Patch()) > 0 {
		t.Errorf("second pass: problems %v, patch %v", again.Problems, again.Patch())
	}
	return golden.Result{Out: patched, Warnings: plan.Warnings}
}

func goldenWorkload(t *testing.T, c *cluster, subject []golden.Object) golden.Result {
	t.Helper()
	kind := subject[0].Kind
	var old []byte
	if len(subject) > 1 {
		old = subject[0].JSON
	}
	sent := subject[len(subject)-1].JSON
	plan := c.planWorkload(t, kind, old, sent)
	if len(plan.Problems) > 0 {
		if ops := plan.Patch(); len(ops) > 0 {
			t.Errorf("refused, yet patched: %v", ops)
		}
		return golden.Result{Denied: plan.Problems.Error(), Warnings: plan.Warnings}
	}
	patched := apply(t, sent, plan.Patch())
	for pass, before := range map[string][]byte{"second pass": old, "update that changes nothing": patched} {
		again := c.planWorkload(t, kind, before, patched)
		if len(again.Problems) > 0 || len(again.Patch()) > 0 {
			t.Errorf("%s: problems %v, patch %v", pass, again.Problems, again.Patch())
		}
	}
	return golden.Result{Out: patched, Warnings: plan.Warnings}
}

// apply applies operations with another library than the one that wrote them.
func apply(tb testing.TB, object []byte, ops []jsonpatch.Operation) []byte {
	tb.Helper()
	if len(ops) == 0 {
		return object
	}
	raw, err := json.Marshal(ops)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := applypatch.DecodePatch(raw)
	if err != nil {
		tb.Fatal(err)
	}
	patched, err := p.Apply(object)
	if err != nil {
		tb.Fatalf("apply %s: %v", raw, err)
	}
	return patched
}

// cluster is what surrounds the object of a case.
type cluster struct {
	namespace dependency.Namespace
	accounts  map[string]*dependency.ServiceAccount
	classes   map[string]string
	fallback  dependency.Fallback
}

// newCluster answers the cluster that stands in testdata/shop.
func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{accounts: map[string]*dependency.ServiceAccount{}, classes: map[string]string{}}
	for _, o := range golden.Read(tb, filepath.Join("testdata", "shop", "cluster.yaml")) {
		if !c.add(tb, o) {
			tb.Fatalf("a %s does not belong there", o.Kind)
		}
	}
	return c
}

// add takes up an object that is a circumstance, and not the subject, of a case.
func (c *cluster) add(tb testing.TB, o golden.Object) bool {
	tb.Helper()
	switch o.Kind {
	case "Namespace":
		n := decode[corev1.Namespace](tb, o)
		c.namespace = dependency.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
	case "ServiceAccount":
		a := decode[corev1.ServiceAccount](tb, o)
		account := &dependency.ServiceAccount{Name: a.Name, Annotations: a.Annotations, Automount: a.AutomountServiceAccountToken}
		for _, s := range a.ImagePullSecrets {
			account.ImagePullSecrets = append(account.ImagePullSecrets, s.Name)
		}
		c.accounts[a.Name] = account
	case "SecretProviderClass":
		class := decode[secretsstore.SecretProviderClass](tb, o)
		c.classes[class.Name] = class.Spec.Provider
	default:
		return false
	}
	return true
}

func decode[T any](tb testing.TB, o golden.Object) *T {
	tb.Helper()
	object := new(T)
	if err := json.Unmarshal(o.JSON, object); err != nil {
		tb.Fatal(err)
	}
	return object
}

func (c *cluster) account(name string) (*dependency.ServiceAccount, bool) {
	a, found := c.accounts[name]
	return a, found
}

func (c *cluster) class(name string) (string, bool) {
	provider, found := c.classes[name]
	return provider, found
}

func (c *cluster) plan(tb testing.TB, raw []byte) Plan {
	tb.Helper()
	pod, err := decodePod(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return NewPlan(Input{Pod: pod, Namespace: c.namespace, Accounts: c.account, Classes: c.class, Fallback: c.fallback})
}

func (c *cluster) planWorkload(tb testing.TB, kind string, old, sent []byte) WorkloadPlan {
	tb.Helper()
	in := WorkloadInput{Kind: kind, Namespace: c.namespace, Accounts: c.account, Classes: c.class, Fallback: c.fallback}
	in.New = decodeWorkload(tb, kind, sent)
	if old != nil {
		in.Old = decodeWorkload(tb, kind, old)
	}
	return NewWorkloadPlan(in)
}

func decodeWorkload(tb testing.TB, kind string, raw []byte) *Workload {
	tb.Helper()
	w, err := DecodeWorkload(kind, raw)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// TestEveryReasonHasACase keeps the goldens as wide as the decisions.
func TestEveryReasonHasACase(t *testing.T) {
	want := []Reason{
		MirrorPod, NamespaceNotEnabled, NotAsked, NoContainers, OptedOut, AlreadyInjected, OwnedByController, BeingDeleted,
		TemplateImmutable, UpToDate, Injected, AnnotationsCopied, StampRestored, CauseRemoved, BadAnnotations,
		BadNamespace, Unresolved, PodConflict,
	}
	var got []Reason
	for _, name := range golden.Cases(t, "testdata") {
		c := newCluster(t)
		var subject []golden.Object
		for _, o := range golden.Read(t, filepath.Join("testdata", name+".in.yaml")) {
			if !c.add(t, o) {
				subject = append(subject, o)
			}
		}
		last := subject[len(subject)-1]
		switch {
		case last.Kind == "Pod":
			got = append(got, c.plan(t, last.JSON).Reason)
		case len(subject) == 1:
			got = append(got, c.planWorkload(t, last.Kind, nil, last.JSON).Reason)
		default:
			got = append(got, c.planWorkload(t, last.Kind, subject[0].JSON, last.JSON).Reason)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}
