package stories

import (
	"context"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// refused has a policy that refuses every change of one workload's template, the
// watcher's too.
func refused(t *testing.T, g generation) {
	s := raise(t, "refused"+g.end)
	frozen := s.deployed("frozen", 2, asksForEnv(), bothInEnv)
	others := fleet{s.deployed("free", 2, asksForEnv(), bothInEnv), raise(t, "refused-not"+g.end).deployed(appName, 2, asksForFiles, nil)}
	all := append(fleet{frozen}, others...)
	all.settled(t, "deployed")
	thaw := s.freeze(t, frozen.name)

	all.rotate("db-password")
	for _, w := range others {
		eventually(t, w.ns+"/"+w.name+" is rolled", w.unrolled(t))
		eventually(t, "and the rollout is complete", w.unfinished)
	}
	frozen.told(t, "Deployment", frozen.name, "ContentRolloutRefused")
	others.rolled(t, "others are not delayed", 1)
	fleet{frozen}.rolled(t, "what is refused does not happen", 0)

	thaw()
	all.settled(t, "allowed again")
	fleet{frozen}.rolled(t, "one rollout", 1)
	others.rolled(t, "no other", 0)
}

// freeze makes a policy against changes of a Deployment's template, waits until
// it is in force, and returns what removes it.
func (s *story) freeze(t *testing.T, name string) (thaw func()) {
	t.Helper()
	policies, bindings := s.Client().AdmissionregistrationV1().ValidatingAdmissionPolicies(), s.Client().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	fail := admissionv1.Fail
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "freeze-" + s.ns},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				ResourceNames: []string{name},
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "object.spec.template == oldObject.spec.template", Message: "frozen for the season"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy.Name,
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			MatchResources:    s.here(),
		},
	}
	drop := putUp(t, policies, policy)
	unbind := putUp(t, bindings, binding)
	thaw = func() { unbind(); drop() }
	eventually(t, "the policy is in force", func(ctx context.Context) string {
		_, err := s.Kubectl(ctx, "set", "image", "deployment/"+name, "app=shop/app:2", "--namespace="+s.ns, "--dry-run=server")
		if err == nil || !strings.Contains(err.Error(), "frozen for the season") {
			return "another image would be accepted"
		}
		return ""
	})
	return thaw
}
