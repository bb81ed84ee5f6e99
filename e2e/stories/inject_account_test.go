package stories

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
)

// belongings are what a pod has of its ServiceAccount, by its own fields and by
// what the API server's ServiceAccount plugin added.
type belongings struct {
	Account, Deprecated string
	PullSecrets         []string
	Tokens              int // volumes with a token
	Mounts              int // of them
}

func belongingsOf(p *corev1.Pod) belongings {
	b := belongings{Account: p.Spec.ServiceAccountName, Deprecated: p.Spec.DeprecatedServiceAccount}
	for _, s := range p.Spec.ImagePullSecrets {
		b.PullSecrets = append(b.PullSecrets, s.Name)
	}
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil || !strings.HasPrefix(v.Name, "kube-api-access-") {
			continue
		}
		b.Tokens++
		for _, c := range p.Spec.Containers {
			for _, m := range c.VolumeMounts {
				if m.Name == v.Name {
					b.Mounts++
				}
			}
		}
	}
	return b
}

// TestInjectAccount creates pods without an account of their own, which the
// API server gives to the account default before we change it to web.
func TestInjectAccount(t *testing.T) {
	yes, no := true, false
	with := func(automount *bool, pullSecrets ...string) corev1.ServiceAccount {
		a := corev1.ServiceAccount{AutomountServiceAccountToken: automount}
		for _, name := range pullSecrets {
			a.ImagePullSecrets = append(a.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
		}
		return a
	}
	for ns, c := range map[string]struct {
		about    string
		from, to corev1.ServiceAccount // default, and web
		pod      func(*corev1.Pod)
		want     belongings
	}{
		"account-token": {
			about: "both mount a token: there is one",
			from:  with(nil), to: with(nil),
			want: belongings{Tokens: 1, Mounts: 1},
		},
		"account-token-new": {
			about: "only the new one mounts a token: it is mounted",
			from:  with(&no), to: with(&yes),
			want: belongings{Tokens: 1, Mounts: 1},
		},
		"account-token-gone": {
			about: "the new one forbids a token: it is gone",
			from:  with(nil), to: with(&no),
			want: belongings{},
		},
		"account-token-own": {
			about: "the pod asks for a token by itself: it stays",
			from:  with(nil), to: with(&no),
			pod:  func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &yes },
			want: belongings{Tokens: 1, Mounts: 1},
		},
		"account-pull-new": {
			about: "only the new one has pull secrets: the pod has them",
			from:  with(nil), to: with(nil, "registry"),
			want: belongings{Tokens: 1, Mounts: 1, PullSecrets: []string{"registry"}},
		},
		"account-pull-other": {
			about: "each has pull secrets: the pod has the new one's",
			from:  with(nil, "old"), to: with(nil, "registry", "mirror"),
			want: belongings{Tokens: 1, Mounts: 1, PullSecrets: []string{"registry", "mirror"}},
		},
		"account-pull-gone": {
			about: "only the old one has pull secrets: the pod has none",
			from:  with(nil, "old"), to: with(nil),
			want: belongings{Tokens: 1, Mounts: 1},
		},
		"account-pull-own": {
			about: "the pod has pull secrets of its own: they stay",
			from:  with(nil, "old"), to: with(nil, "registry"),
			pod:  func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}} },
			want: belongings{Tokens: 1, Mounts: 1, PullSecrets: []string{"own"}},
		},
	} {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, ns)
			s.setAccount("default", c.from)
			s.setAccount(account, c.to)
			pod := s.pod(appName)
			pod.Annotations = asks
			if c.pod != nil {
				c.pod(pod)
			}
			c.want.Account, c.want.Deprecated = account, account
			// The caches of the API server and of the webhook may not have the accounts as they are now.
			eventually(t, "a pod has what its account gives", func(ctx context.Context) string {
				got, err := s.Client().CoreV1().Pods(s.ns).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err != nil {
					return err.Error()
				}
				return cmp.Diff(c.want, belongingsOf(got))
			})
		})
	}
}

// TestInjectMountableSecrets has an account that may use only the Secrets that
// it lists, which the API server checks after us.
func TestInjectMountableSecrets(t *testing.T) {
	t.Parallel()
	s := prepare(t, "account-mountable")
	const strict = "strict"
	s.account(&corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: strict, Annotations: map[string]string{
			annotation.IdentityClientID: clientID, "kubernetes.io/enforce-mountable-secrets": "true",
		}},
		Secrets: []corev1.ObjectReference{{Name: "listed"}},
	})
	s.heard(strict, clientID)
	create := func(more map[string]string) error {
		pod := s.pod(appName)
		pod.Annotations = merge(map[string]string{annotation.Objects: "db-password", annotation.ServiceAccount: strict}, more)
		_, err := s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	if err := create(nil); err != nil {
		t.Errorf("files alone: %v", err)
	}
	variable := map[string]string{annotation.Env: "DB_PASSWORD=db-password"}
	wantRefused(t, "Pod with a generated Secret", create(variable), []string{"service account strict does not reference that secret"})
	if err := create(merge(variable, map[string]string{annotation.Secret: "listed"})); err != nil {
		t.Errorf("a Secret that the account lists: %v", err)
	}
}

// TestInjectAccountBeforeIsStrict has pods whose account before the change
// allows only the Secrets that it lists: the API server asks that account
// before it asks the webhook.
func TestInjectAccountBeforeIsStrict(t *testing.T) {
	t.Parallel()
	s := prepare(t, "account-before-strict")
	s.kubectl("annotate", "serviceaccount", "default", "--namespace="+s.ns, "kubernetes.io/enforce-mountable-secrets=true")
	create := func(ctx context.Context, env ...corev1.EnvVar) error {
		pod := s.pod(appName)
		pod.Annotations = map[string]string{annotation.Objects: "db-password", annotation.ServiceAccount: account}
		pod.Spec.Containers[0].Env = env
		_, err := s.Client().CoreV1().Pods(s.ns).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	own := corev1.EnvVar{Name: "OWN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "own"}, Key: "key",
	}}}
	const refusal = "service account default does not reference that secret"
	eventually(t, "the account before is asked", func(ctx context.Context) string {
		if err := create(ctx, own); err == nil || !strings.Contains(err.Error(), refusal) {
			return fmt.Sprintf("answer %v, want %q", err, refusal)
		}
		return ""
	})
	if err := create(t.Context()); err != nil {
		t.Errorf("files alone: %v", err)
	}
}

// setAccount gives a ServiceAccount that exists what another has.
func (s *story) setAccount(name string, like corev1.ServiceAccount) {
	s.t.Helper()
	eventually(s.t, "ServiceAccount "+name+" is changed", func(ctx context.Context) string {
		accounts := s.Client().CoreV1().ServiceAccounts(s.ns)
		a, err := accounts.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		a.AutomountServiceAccountToken, a.ImagePullSecrets = like.AutomountServiceAccountToken, like.ImagePullSecrets
		_, err = accounts.Update(ctx, a, metav1.UpdateOptions{})
		return text(err)
	})
}

// TestInjectExplicitAccount has pods that name their account themselves.
func TestInjectExplicitAccount(t *testing.T) {
	t.Parallel()
	s := prepare(t, "account-explicit", func(n *corev1.Namespace) {
		n.Annotations[annotation.ServiceAccount] = account
		n.Annotations[annotation.ClientID] = clientID
	})
	const otherClient = "aaaaaaaa-8888-7777-6666-555555555555"
	s.account(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: "other", Annotations: map[string]string{annotation.IdentityClientID: otherClient},
	}})
	s.heard("other", otherClient)
	create := func(accountName string, annotations map[string]string) (*corev1.Pod, error) {
		pod := s.pod(appName)
		pod.Annotations, pod.Spec.ServiceAccountName = annotations, accountName
		return s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	onlyObjects := map[string]string{annotation.Objects: "db-password"}

	t.Run("the namespace's is a default", func(t *testing.T) {
		for given, want := range map[string]string{"": account, "default": account, account: account, "other": "other"} {
			pod, err := create(given, onlyObjects)
			if err != nil {
				t.Errorf("%q: %v", given, err)
				continue
			}
			record, err := dependency.Decode(pod.Annotations[annotation.Dependencies])
			if err != nil {
				t.Errorf("%q: %v", given, err)
			}
			wantClient := clientID
			if want == "other" {
				wantClient = otherClient
			}
			if got := pod.Spec.ServiceAccountName; got != want || record.ClientID != wantClient {
				t.Errorf("%q: the pod runs as %q with client id %s, want %q with %s", given, got, record.ClientID, want, wantClient)
			}
		}
	})
	t.Run("the workload's own is not overruled in silence", func(t *testing.T) {
		_, err := create("other", asks)
		wantRefused(t, "Pod", err, []string{annotation.ServiceAccount, `"web"`, `"other"`})

		d := s.deployment(appName, 1, asks)
		d.Spec.Template.Spec.ServiceAccountName = "other"
		_, err = s.Client().AppsV1().Deployments(s.ns).Create(t.Context(), d, metav1.CreateOptions{})
		wantRefused(t, "Deployment", err, []string{annotation.ServiceAccount, `"web"`, `"other"`})
	})
	t.Run("one that is missing is the API server's business", func(t *testing.T) {
		missing := map[string]string{annotation.Objects: "db-password", annotation.ServiceAccount: "ghost"}
		_, err := create("", missing)
		want := fmt.Sprintf(`pods "web" is forbidden: error looking up service account %s/ghost: serviceaccount "ghost" not found`, s.ns)
		if err == nil || err.Error() != want {
			t.Errorf("pod: %v\nwant: %s", err, want)
		}
		warned := s.do(deployment.object(missing, nil), "apply", "--dry-run=server", "-f", "-").errs
		if want := `Warning: ServiceAccount "ghost" does not exist`; !containsLine(warned, want) {
			t.Errorf("kubectl apply lacks %q:\n%s", want, warned)
		}
	})
	t.Run("what the account will lack is a warning before, a refusal then", func(t *testing.T) {
		s.account(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Name: "mistaken", Annotations: map[string]string{annotation.IdentityClientID: "web"},
		}})
		mistaken := map[string]string{annotation.Objects: "db-password", annotation.ServiceAccount: "mistaken"}
		eventually(t, "kubectl warns of the account", func(context.Context) string {
			warned := s.do(deployment.object(mistaken, nil), "apply", "--dry-run=server", "-f", "-").errs
			if !containsLine(warned, "Warning: "+annotation.IdentityClientID) {
				return "kubectl printed: " + warned
			}
			return ""
		})
		_, err := create("", mistaken)
		wantRefused(t, "Pod", err, []string{annotation.IdentityClientID, "mistaken"})
	})
	if pods, err := s.livePods(t.Context()); err != nil || len(pods) > 0 {
		t.Errorf("%d pods were left, error %v", len(pods), err)
	}
}
