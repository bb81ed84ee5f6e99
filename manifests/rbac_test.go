package manifests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Every right that the roles grant, one a line: scope, group/resource, names, verbs.
// A new line here is a decision.
var rights = map[string][]string{
	"keyroll-webhook": {
		"cluster /namespaces list,watch",
		"cluster /serviceaccounts list,watch",
		"cluster secrets-store.csi.x-k8s.io/secretproviderclasses list,watch",
		"cluster admissionregistration.k8s.io/mutatingwebhookconfigurations list",
		"cluster admissionregistration.k8s.io/mutatingwebhookconfigurations [akv-keyroll] watch,patch",
		"keyroll-system /secrets [keyroll-webhook-ca] list,watch,update",
		"keyroll-system /secrets create",
	},
	"keyroll-watcher": {
		"cluster /namespaces list,watch",
		"cluster /nodes list,watch",
		"cluster /pods list,watch",
		"cluster /serviceaccounts list,watch",
		"cluster apps/daemonsets list,watch,patch",
		"cluster apps/deployments list,watch,patch",
		"cluster apps/statefulsets list,watch,patch",
		"cluster apps/controllerrevisions list,watch",
		"cluster apps/replicasets list,watch,patch",
		"cluster batch/cronjobs list,watch,patch",
		"cluster storage.k8s.io/csidrivers [secrets-store.csi.k8s.io] list,watch",
		"cluster secrets-store.csi.x-k8s.io/secretproviderclasspodstatuses list,watch",
		"cluster secrets-store.csi.x-k8s.io/secretproviderclasses list,watch,create,update,delete",
		"cluster /events list,watch,create,patch",
		"cluster /secrets list,watch",
		"keyroll-system coordination.k8s.io/leases [keyroll-watcher] get,update",
		"keyroll-system coordination.k8s.io/leases create",
		"keyroll-system /configmaps get,list,watch,create,update,delete",
		"keyroll-system /secrets [keyroll-watcher-key] get",
		"keyroll-system /secrets create",
	},
}

// Where a variant grants others: the account, what it lacks, and what it has more.
var differences = map[string]struct {
	account string
	lacks   []string
	has     []string
}{
	"everything": {account: "keyroll-watcher", has: []string{"cluster argoproj.io/rollouts list,watch,patch"}},
	"no-secret-trigger": {account: "keyroll-watcher", lacks: []string{
		"cluster /secrets list,watch",
		"keyroll-system /secrets [keyroll-watcher-key] get",
		"keyroll-system /secrets create",
	}},
	"cert-manager": {
		account: "keyroll-webhook",
		lacks: []string{
			"cluster admissionregistration.k8s.io/mutatingwebhookconfigurations [akv-keyroll] watch,patch",
			"keyroll-system /secrets [keyroll-webhook-ca] list,watch,update",
			"keyroll-system /secrets create",
		},
		has: []string{
			"cluster admissionregistration.k8s.io/mutatingwebhookconfigurations [akv-keyroll] watch",
			"keyroll-system /secrets [keyroll-webhook-tls] list,watch",
		},
	},
	"files": {account: "keyroll-webhook", lacks: []string{
		"cluster admissionregistration.k8s.io/mutatingwebhookconfigurations [akv-keyroll] watch,patch",
		"keyroll-system /secrets [keyroll-webhook-ca] list,watch,update",
		"keyroll-system /secrets create",
	}},
}

func TestRights(t *testing.T) {
	for name, all := range variants(t) {
		for account, want := range rights {
			if d := differences[name]; d.account == account {
				want = differing(t, want, d.lacks, d.has)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(granted(t, all, account)))); diff != "" {
				t.Errorf("%s: %s (-want +got)\n%s", name, account, diff)
			}
		}
	}
}

func differing(t *testing.T, rights, lacks, has []string) []string {
	t.Helper()
	out := slices.DeleteFunc(slices.Clone(rights), func(right string) bool { return slices.Contains(lacks, right) })
	if len(out)+len(lacks) != len(rights) {
		t.Fatalf("not all of these are rights: %s", lacks)
	}
	return append(out, has...)
}

func TestWithoutTheSecretTriggerTheWatcherHasNoRightOnSecrets(t *testing.T) {
	for _, right := range granted(t, objects(t, variant(t, "no-secret-trigger")), "keyroll-watcher") {
		if strings.Contains(right, "secrets ") {
			t.Errorf("grants %s", right)
		}
	}
}

func TestNothingIsGrantedByWildcardOrToOthers(t *testing.T) {
	for name, all := range variants(t) {
		for _, account := range only[*corev1.ServiceAccount](all) {
			if _, listed := rights[account.Name]; !listed {
				t.Errorf("%s: account %s is not listed", name, account.Name)
			}
			if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
				t.Errorf("%s: any pod under %s gets its token", name, account.Name)
			}
			for _, right := range granted(t, all, account.Name) {
				if strings.Contains(right, "*") {
					t.Errorf("%s: %s is granted %s", name, account.Name, right)
				}
			}
		}
		for _, b := range only[*rbacv1.ClusterRoleBinding](all) {
			boundToItsOwn(t, name, b.Name, b.RoleRef, b.Subjects)
		}
		for _, b := range only[*rbacv1.RoleBinding](all) {
			boundToItsOwn(t, name, b.Name, b.RoleRef, b.Subjects)
		}
	}
}

// boundToItsOwn: binding, role and account have one name, and so [granted] sees all.
func boundToItsOwn(t *testing.T, variant, binding string, role rbacv1.RoleRef, subjects []rbacv1.Subject) {
	t.Helper()
	want := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: binding, Namespace: namespace}}
	if diff := cmp.Diff(want, subjects); diff != "" || role.Name != binding {
		t.Errorf("%s: %s binds %s (-want +got)\n%s", variant, binding, role.Name, diff)
	}
}

// granted lists what an account may do. Who needs nothing in the release's
// namespace has neither role nor binding there.
func granted(t *testing.T, all []runtime.Object, account string) []string {
	t.Helper()
	named[*rbacv1.ClusterRoleBinding](t, all, account)
	out := lines("cluster", named[*rbacv1.ClusterRole](t, all, account).Rules)
	isOurs := func(b *rbacv1.RoleBinding) bool { return b.Name == account }
	if slices.ContainsFunc(only[*rbacv1.RoleBinding](all), isOurs) {
		out = append(out, lines(namespace, named[*rbacv1.Role](t, all, account).Rules)...)
	}
	return out
}

func lines(scope string, rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				line := scope + " " + group + "/" + resource
				if len(rule.ResourceNames) > 0 {
					line += " [" + strings.Join(rule.ResourceNames, ",") + "]"
				}
				out = append(out, line+" "+strings.Join(rule.Verbs, ","))
			}
		}
		for _, url := range rule.NonResourceURLs {
			out = append(out, scope+" "+url+" "+strings.Join(rule.Verbs, ","))
		}
	}
	return out
}
