package manifests

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
)

// notOurs are the namespaces that neither webhook sees.
var notOurs = func() []metav1.LabelSelectorRequirement {
	not := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values}
	}
	all := []metav1.LabelSelectorRequirement{not(corev1.LabelMetadataName, "kube-system", namespace)}
	for _, key := range slices.Sorted(maps.Keys(annotation.LeftOut)) {
		all = append(all, not(key, annotation.LeftOut[key]))
	}
	return all
}()

func TestWebhooks(t *testing.T) {
	hook := func(name, path string, policy admissionv1.FailurePolicyType, labels map[string]string, rules ...admissionv1.RuleWithOperations) admissionv1.MutatingWebhook {
		return admissionv1.MutatingWebhook{
			Name:                    name,
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{
				Namespace: namespace, Name: "keyroll-webhook", Path: &path, Port: new(int32(443)),
			}},
			FailurePolicy:      &policy,
			SideEffects:        new(admissionv1.SideEffectClassNone),
			ReinvocationPolicy: new(admissionv1.IfNeededReinvocationPolicy),
			MatchPolicy:        new(admissionv1.Equivalent),
			TimeoutSeconds:     new(int32(5)),
			NamespaceSelector:  &metav1.LabelSelector{MatchLabels: labels, MatchExpressions: notOurs},
			Rules:              rules,
		}
	}
	rule := func(group string, resources []string, operations ...admissionv1.OperationType) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{Operations: operations, Rule: admissionv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources, Scope: new(admissionv1.NamespacedScope),
		}}
	}
	want := []admissionv1.MutatingWebhook{
		hook("pods.keyroll.dev", "/pods", admissionv1.Fail,
			map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled},
			rule("", []string{"pods"}, admissionv1.Create)),
		hook("workloads.keyroll.dev", "/workloads", admissionv1.Ignore, nil,
			rule("apps", []string{"deployments", "statefulsets", "daemonsets", "replicasets"}, admissionv1.Create, admissionv1.Update),
			rule("batch", []string{"cronjobs"}, admissionv1.Create, admissionv1.Update),
			rule("batch", []string{"jobs"}, admissionv1.Create)),
	}
	got := configuration(t, objects(t, Install)).DeepCopy().Webhooks
	for i := range got {
		got[i].MatchConditions = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The API server runs configurations in the order of their names.
func TestConfigurationRunsBeforeWorkloadIdentity(t *testing.T) {
	for name, all := range variants(t) {
		if ours := configuration(t, all).Name; ours >= "azure-wi-webhook-mutating-webhook-configuration" {
			t.Errorf("%s: %s runs after azure-workload-identity", name, ours)
		}
	}
}

// Every replica keeps the caBundle, or cert-manager does; an upgrade that set it
// would blank it.
func TestConfigurationLeavesTheBundleAlone(t *testing.T) {
	for name, all := range variants(t) {
		if name == "files" {
			continue // there it is the installer's to set
		}
		for _, w := range configuration(t, all).Webhooks {
			if w.ClientConfig.CABundle != nil {
				t.Errorf("%s: %s sets the caBundle", name, w.Name)
			}
		}
	}
}

// That the expressions compile, do what they say and stay within the cost limits
// only an API server can tell; here they are held against the contract's keys.
func TestMatchConditionsNameTheContractsKeys(t *testing.T) {
	read, shaping := map[string]bool{}, map[string]bool{}
	watched := map[string]bool{annotation.Restart: true, annotation.RestartOn: true}
	for _, row := range annotation.Table {
		read[row.Key] = true
		if row.ShapesPods() || row.Where == annotation.OnNamespace {
			shaping[row.Key] = true
		}
	}
	written := map[string]bool{}
	for _, key := range []string{annotation.Dependencies, annotation.Content, annotation.FromWorkload, annotation.InjectedLabel} {
		written[key] = true
	}
	lists := regexp.MustCompile(`\['keyroll\.dev/[^]]*]`)
	quiet := maps.Clone(written) // of no concern to a pod
	maps.Copy(quiet, watched)
	for i, w := range configuration(t, objects(t, Install)).Webhooks {
		got := lists.FindAllString(condition(t, w, "asks"), -1)
		want := []string{"read: " + keys(read), "written: " + keys(written)}
		if i == 0 {
			want = []string{"read: " + keys(shaping), "written: " + keys(quiet)}
		}
		if len(got) != 2 {
			t.Fatalf("%s: %d lists of keys, want 2", w.Name, len(got))
		}
		if diff := cmp.Diff(want, []string{"read: " + keys(elements(got[0])), "written: " + keys(elements(got[1]))}); diff != "" {
			t.Errorf("%s (-want +got)\n%s", w.Name, diff)
		}
	}
	for key := range read {
		if !annotation.IsInput(key) {
			t.Errorf("%s is read and counts as written", key)
		}
	}
	for key := range written {
		if annotation.IsInput(key) {
			t.Errorf("%s is written and counts as read", key)
		}
	}
}

func TestMatchConditionsNameTheWatchersTraces(t *testing.T) {
	w := configuration(t, objects(t, Install)).Webhooks[1]
	for name, want := range map[string][]string{
		"asks":    {"'" + annotation.Prefix + "'", "'" + annotation.Content + "' in oldObject", "'" + annotation.CausePrefix + "'"},
		"changed": {"'system:serviceaccount:" + namespace + ":keyroll-watcher'"},
	} {
		for _, part := range want {
			if !strings.Contains(condition(t, w, name), part) {
				t.Errorf("%s does not hold %s", name, part)
			}
		}
	}
}

func condition(t *testing.T, w admissionv1.MutatingWebhook, name string) string {
	t.Helper()
	for _, c := range w.MatchConditions {
		if c.Name == name {
			return c.Expression
		}
	}
	t.Fatalf("%s has no condition %s", w.Name, name)
	return ""
}

// elements are the strings of a CEL list of literals.
func elements(list string) map[string]bool {
	out := map[string]bool{}
	for _, literal := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(list, -1) {
		out[literal[1]] = true
	}
	return out
}

func keys(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), " ")
}
