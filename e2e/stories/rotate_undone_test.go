package stories

import (
	"context"
	"maps"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
)

// shopOperator is the field manager of an operator that writes its whole pod template.
const shopOperator = "shop-operator"

// undone has an operator take the stamp off its Deployment whenever it finds one.
// The watcher does not fight it, and rolls the workload when the operator is mended.
func undone(t *testing.T, g generation) {
	s := raise(t, "undone"+g.end)
	w := s.operated(t, 2)
	f := fleet{w}
	f.settled(t, "deployed")
	end := s.operate(t, w.name)

	w.rotate("db-password")
	w.toldThat(t, "RolloutUndone", "("+shopOperator+" does)")
	before := w.count(t)
	time.Sleep(10 * time.Second)                                     // of the minute that it waits
	if after := w.count(t); after.Generation > before.Generation+1 { // the operator may have been about to undo one
		t.Errorf("generation %d, and 10 s later %d: the operator is fought", before.Generation, after.Generation)
	}
	end()
	f.settled(t, "mended")
}

// operated makes a Deployment that is controlled by something of its operator's. The
// webhook leaves it alone, so the operator writes the annotations into the template.
func (s *story) operated(t *testing.T, replicas int32) *target {
	t.Helper()
	shop, err := s.Client().CoreV1().ConfigMaps(s.ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := s.deployment(appName, replicas, nil)
	d.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(shop, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
	d.Spec.Template.Annotations = s.inVault(asksForFiles)
	if _, err := s.Client().AppsV1().Deployments(s.ns).Create(t.Context(), d, metav1.CreateOptions{FieldManager: shopOperator}); err != nil {
		t.Fatal(err)
	}
	return s.target("Deployment", appName, nil)
}

// operate is the operator, until it is ended.
func (s *story) operate(t *testing.T, name string) (end func()) {
	t.Helper()
	deployments := s.Client().AppsV1().Deployments(s.ns)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			d, err := deployments.Get(ctx, name, metav1.GetOptions{})
			if err == nil && d.Spec.Template.Annotations[annotation.Content] != "" {
				delete(d.Spec.Template.Annotations, annotation.Content)
				_, _ = deployments.Update(ctx, d, metav1.UpdateOptions{FieldManager: shopOperator}) // on a conflict it comes again
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	end = func() {
		stop()
		<-ended
	}
	t.Cleanup(end)
	return end
}

// stripped has a policy that takes the stamp off in the watcher's own request, of a
// Deployment whose change-cause is its people's, and of a StatefulSet, whose
// change-cause makes no new generation.
func stripped(t *testing.T, g generation) {
	needsModel(t, "be sure to know mutating policies")
	s := raise(t, "stripped"+g.end)
	asks := maps.Clone(asksForFiles)
	asks[annotation.ChangeCause] = "image of the week"
	f := fleet{s.deployed(appName, 2, asks, nil), s.statefulSet("db", 2, asksForFiles)}
	f.settled(t, "deployed")
	f.rolledSoFar(t, "a deployment rolls nothing by itself", 0)
	allow := s.strip(t)

	f.rotate("db-password")
	for _, w := range f {
		w.toldThat(t, "ContentRolloutRefused", "something takes "+annotation.Content+" off the pod template again")
	}
	f.rolled(t, "nothing happens to them", 0)
	allow()
	f.settled(t, "allowed again")
	f.rolled(t, "one rollout", 1)
	for _, w := range f {
		if n, err := w.timesTold(t.Context(), "ContentRollout"); n != 1 || err != nil {
			t.Errorf("%s: %d Events tell of a rollout, want one; error %v", w.name, n, err)
		}
	}
}

// strip makes a policy that takes the stamp off pod templates, waits until it is in
// force, and returns what removes it.
func (s *story) strip(t *testing.T) (allow func()) {
	t.Helper()
	policies, bindings := s.Client().AdmissionregistrationV1().MutatingAdmissionPolicies(), s.Client().AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	policy := &admissionv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "strip-" + s.ns},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "statefulsets"}},
				},
			}}},
			MatchConditions: []admissionv1.MatchCondition{{
				Name:       "stamped",
				Expression: "'" + annotation.Content + "' in object.spec.template.metadata.?annotations.orValue({})",
			}},
			ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			Mutations: []admissionv1.Mutation{{
				PatchType: admissionv1.PatchTypeJSONPatch,
				JSONPatch: &admissionv1.JSONPatch{Expression: `[JSONPatch{op: "remove",
					path: "/spec/template/metadata/annotations/" + jsonpatch.escapeKey("` + annotation.Content + `")}]`},
			}},
		},
	}
	binding := &admissionv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName:     policy.Name,
			MatchResources: s.here(),
		},
	}
	drop := putUp(t, policies, policy)
	unbind := putUp(t, bindings, binding)
	allow = func() { unbind(); drop() }
	eventually(t, "the policy is in force", func(ctx context.Context) string {
		probe := s.deployment("probe", 1, nil)
		probe.Spec.Template.Annotations = map[string]string{annotation.Content: "probe-1"}
		made, err := s.Client().AppsV1().Deployments(s.ns).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err != nil:
			return err.Error()
		case made.Spec.Template.Annotations[annotation.Content] != "":
			return "a stamp would stay"
		}
		return ""
	})
	return allow
}
