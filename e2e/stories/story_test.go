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
	tenantID = world.TenantID
	clientID = world.ClientID
	account  = "web"
)

// story is one test in a namespace and with a vault of its own.
type story struct {
	*world.World
	t     *testing.T
	name  string
	ns    string
	vault string
}

// begin makes a namespace that is labelled for injection, with a vault that the
// ServiceAccount web may read. The vault holds db-username and db-password.
func begin(t *testing.T, ns string) *story {
	t.Helper()
	s := newStory(t, ns)
	s.kubectl("create", "namespace", s.ns)
	s.kubectl("label", "namespace", s.ns, annotation.InjectionLabel+"="+annotation.InjectionEnabled)
	s.kubectl("annotate", "namespace", s.ns, annotation.Vault+"="+s.vault, annotation.TenantID+"="+s.Identity.TenantID)
	s.kubectl("create", "serviceaccount", account, "--namespace="+s.ns)
	s.kubectl("annotate", "serviceaccount", account, "--namespace="+s.ns, annotation.IdentityClientID+"="+s.Identity.ClientID)
	s.allow()
	s.rotate("db-username")
	s.rotate("db-password")
	s.heard(account, s.Identity.ClientID)
	return s
}

func newStory(t *testing.T, name string) *story {
	t.Helper()
	shared.ShowLogs(t)
	return &story{World: shared, t: t, name: name, ns: shared.NamespaceOf(name), vault: shared.VaultOf(name)}
}

// allow federates the one identity with the account web.
func (s *story) allow() {
	s.t.Helper()
	if err := s.Trust(s.t.Context(), s.ns, account); err != nil {
		s.t.Fatal(err)
	}
}

// rotate gives a secret a new value, and returns its version.
func (s *story) rotate(name string) (version string) {
	s.t.Helper()
	return s.set(name, fmt.Sprintf("%s of %s at %d", name, s.ns, time.Now().UnixNano()))
}

// set gives a secret this value, and returns its version.
func (s *story) set(name, value string) (version string) {
	s.t.Helper()
	version, err := s.Rotate(s.t.Context(), s.vault, s.SecretOf(s.name, name), value)
	if err != nil {
		s.t.Fatal(err)
	}
	return version
}

// newest is what the vault holds of a secret.
func (s *story) newest(name string) world.Secret {
	return s.Newest(s.vault, s.SecretOf(s.name, name))
}

// id is that of a secret in what the driver tells.
func (s *story) id(name string) string { return "secret/" + s.SecretOf(s.name, name) }

// needsModel leaves a story out on a given cluster, for want of a model to steer.
func needsModel(t *testing.T, what string) {
	t.Helper()
	if !shared.Modelled() {
		t.Skip("on a given cluster nothing can " + what)
	}
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
	annotations = s.inVault(annotations)
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns, Annotations: annotations},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       s.podSpec(),
			},
		},
	}
}

// inVault writes the objects that annotations name as the vault calls them, where
// stories share one; the files keep their names.
func (s *story) inVault(annotations map[string]string) map[string]string {
	if s.Modelled() {
		return annotations
	}
	translated := maps.Clone(annotations)
	each := func(key string, write func(string) string) {
		if annotations[key] == "" {
			return
		}
		var items []string
		for item := range strings.SplitSeq(annotations[key], ",") {
			items = append(items, write(item))
		}
		translated[key] = strings.Join(items, ",")
	}
	each(annotation.Objects, func(name string) string { return s.SecretOf(s.name, name) + "=" + name })
	each(annotation.Env, func(item string) string {
		variable, name, _ := strings.Cut(item, "=")
		return variable + "=" + s.SecretOf(s.name, name)
	})
	return translated
}

// podSpec is one container that stays.
func (s *story) podSpec() corev1.PodSpec {
	grace := int64(1)
	return corev1.PodSpec{
		Containers:                    []corev1.Container{{Name: "app", Image: s.Image(), Command: []string{"sleep", "1000000"}}},
		TerminationGracePeriodSeconds: &grace,
	}
}

// pod is a bare one.
func (s *story) pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       s.podSpec(),
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
	// Those of an object of the same name that was there before may not be gone yet.
	ours := slices.DeleteFunc(sets.Items, func(r appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(&r, d) })
	return rollouts{d.Generation, len(ours)}
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
	return s.everyContainer(func(c world.Container) string {
		for id, version := range c.Started {
			if newest := s.newestOf(id); version != newest {
				return fmt.Sprintf("started with %s of %s, the vault has %s", version, id, newest)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if newest := s.newest(env[name]); c.Env[name] != newest.Value {
				return fmt.Sprintf("started with $%s = %q, the vault has %q", name, c.Env[name], newest.Value)
			}
		}
		return ""
	})
}

// newestOf is the version that the vault has of an object, by its id in what the
// driver tells. Only models have others than secrets.
func (s *story) newestOf(id string) string {
	kind, name, _ := strings.Cut(id, "/")
	if kind == string(vault.Secret) {
		return s.Newest(s.vault, name).Version
	}
	newest, _ := s.Vault.Newest(s.vault, vault.Type(kind), name)
	return newest.Version
}

const noneRuns = "no container runs"

// everyContainer tells of the first running container that lacks something, ""
// if none does, and noneRuns if there is none.
func (s *story) everyContainer(lacks func(world.Container) string) string {
	running, err := s.Running(s.t.Context(), s.ns)
	switch {
	case err != nil:
		return err.Error()
	case len(running) == 0:
		return noneRuns
	}
	for _, c := range running {
		if lacking := lacks(c); lacking != "" {
			return fmt.Sprintf("container %s of %s %s", c.Name, c.Pod, lacking)
		}
	}
	return ""
}

// soaking is true in make soak, which plays what takes minutes.
func soaking() bool { return os.Getenv("KEYROLL_SOAK") != "" }

// eventually waits until what is lacking is "", and says what it was if that
// takes too long.
func eventually(t *testing.T, what string, lacking func(ctx context.Context) string) {
	t.Helper()
	eventuallyIn(t, shared.Pace.Patience, what, lacking)
}

// eventuallyIn is eventually for what takes longer than others.
func eventuallyIn(t *testing.T, patience time.Duration, what string, lacking func(ctx context.Context) string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		tend(t)
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
	case <-time.After(shared.Pace.Quiet):
	}
}
