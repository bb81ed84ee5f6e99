package stories

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/vault"
	"keyroll.dev/e2e/world"
	"keyroll.dev/internal/annotation"
)

const (
	tenantID = "11111111-2222-3333-4444-555555555555"
	clientID = "99999999-8888-7777-6666-555555555555"
	account  = "web"
	patience = 90 * time.Second
)

// story is one test in a namespace and with a vault of its own.
type story struct {
	*world.World
	t     *testing.T
	ns    string
	vault string
}

// begin makes a namespace that is labelled for injection, with a vault that the
// ServiceAccount web may read. The vault holds db-username and db-password.
func begin(t *testing.T, ns string) *story {
	t.Helper()
	s := &story{World: shared, t: t, ns: ns, vault: "kv-" + strings.TrimSuffix(fmt.Sprintf("%.20s", ns), "-")}
	s.Keyroll.ShowLogs(t)
	s.kubectl("create", "namespace", ns)
	s.kubectl("label", "namespace", ns, annotation.InjectionLabel+"="+annotation.InjectionEnabled)
	s.kubectl("annotate", "namespace", ns, annotation.Vault+"="+s.vault, annotation.TenantID+"="+tenantID)
	s.kubectl("create", "serviceaccount", account, "--namespace="+ns)
	s.kubectl("annotate", "serviceaccount", account, "--namespace="+ns, annotation.IdentityClientID+"="+clientID)
	s.allow()
	s.rotate("db-username")
	s.rotate("db-password")
	return s
}

// allow federates the one identity with the accounts of every story so far.
func (s *story) allow() {
	s.Vault.Allow(vault.Identity{TenantID: tenantID, ClientID: clientID})
}

// rotate gives a secret a new version and returns it.
func (s *story) rotate(name string) (version string) {
	return s.Vault.Set(s.vault, vault.Secret, name, fmt.Sprintf("%s of %s at %d", name, s.ns, time.Now().UnixNano()))
}

func (s *story) kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.Kubectl(s.t.Context(), args...)
	if err != nil {
		s.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// deployment is one as a user writes it, with nothing of ours on it but annotations.
func (s *story) deployment(name string, replicas int32, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns, Annotations: annotations},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop/app:1"}}},
			},
		},
	}
}

// pod is a bare one.
func (s *story) pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop/app:1"}}},
	}
}

func (s *story) create(d *appsv1.Deployment) {
	s.t.Helper()
	if _, err := s.Client().AppsV1().Deployments(s.ns).Create(s.t.Context(), d, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// rollouts counts a Deployment's: how often its spec changed, and how many
// ReplicaSets it made.
type rollouts struct {
	Generation  int64
	ReplicaSets int
}

func (s *story) rollouts(name string) rollouts {
	s.t.Helper()
	ctx := s.t.Context()
	d, err := s.Client().AppsV1().Deployments(s.ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	sets, err := s.Client().AppsV1().ReplicaSets(s.ns).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		s.t.Fatal(err)
	}
	return rollouts{d.Generation, len(sets.Items)}
}

// and is what is to be seen after n more rollouts.
func (r rollouts) and(n int) rollouts {
	return rollouts{r.Generation + int64(n), r.ReplicaSets + n}
}

// complete tells what a Deployment's rollout still lacks, "" if nothing.
func (s *story) complete(ctx context.Context, name string) string {
	d, err := s.Client().AppsV1().Deployments(s.ns).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err != nil:
		return err.Error()
	case d.Status.ObservedGeneration < d.Generation:
		return "its controller has not seen the newest generation"
	case d.Status.UpdatedReplicas < *d.Spec.Replicas, d.Status.Replicas != d.Status.UpdatedReplicas, d.Status.AvailableReplicas < *d.Spec.Replicas:
		return fmt.Sprintf("%d of %d pods updated, %d in all, %d available",
			d.Status.UpdatedReplicas, *d.Spec.Replicas, d.Status.Replicas, d.Status.AvailableReplicas)
	}
	return ""
}

// outdated tells which live containers started without the newest content of
// the vault, in files and in the environment variables, which hold secrets by
// the name; "" if none did. At least one container must have started.
func (s *story) outdated(env map[string]string) string {
	holdings := s.Driver.Current(s.ns)
	if len(holdings) == 0 {
		return "no container runs"
	}
	for _, h := range holdings {
		for id, version := range h.Start.Versions() {
			kind, name, _ := strings.Cut(id, "/")
			newest, _ := s.Vault.Newest(s.vault, vault.Type(kind), name)
			if version != newest.Version {
				return fmt.Sprintf("container %s of %s started with %s of %s, the vault has %s", h.Container, h.Pod, version, id, newest.Version)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(env)) {
			newest, _ := s.Vault.Newest(s.vault, vault.Secret, env[name])
			if h.Env[name] != newest.Value {
				return fmt.Sprintf("container %s of %s started with $%s = %q, the vault has %q", h.Container, h.Pod, name, h.Env[name], newest.Value)
			}
		}
	}
	return ""
}

// long leaves a story out of make test that takes minutes: make soak plays it.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("KEYROLL_SOAK") == "" {
		t.Skip("takes minutes: make soak")
	}
}

// eventually waits until what is lacking is "", and says what it was if that
// takes too long.
func eventually(t *testing.T, what string, lacking func(ctx context.Context) string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		still := lacking(ctx)
		if still == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s: %s", what, patience, still)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// quiet lets time pass in which a needless rollout would show: several turns of
// the driver's loop, and every window of the watcher's.
func quiet(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(6 * time.Second):
	}
}
