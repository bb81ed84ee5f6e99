package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/e2e/asked"
	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/vault"
	"keyroll.dev/e2e/world"
	"keyroll.dev/internal/annotation"
)

// sizes are what the rotation is measured with: workloads and pods of each. The
// one with more pods tells whether they cost requests.
var sizes = []size{{20, 1}, {200, 1}, {200, 3}, {1000, 1}}

type size struct{ workloads, pods int }

func (s size) String() string { return fmt.Sprintf("%d workloads of %d pods", s.workloads, s.pods) }

// unpaced is a watcher that waits for nothing but the API server.
func unpaced() []string {
	args := []string{"--max-parallel=0", "--settle=0s"}
	if *logs != "" {
		args = append(args, "--pprof")
	}
	return args
}

// parallel is how many requests the bench has under way at once.
const parallel = 32

// rotation measures one rotation of a secret that all workloads depend on, with
// everything in place: injected Deployments, their controllers, the model of the
// driver. The same Deployments patched by the bench, as fast as the API server
// takes it and with no watcher there, are what it is held to.
func rotation(ctx context.Context, r *report) error {
	r.say("boot a control plane, the driver's model, webhook and watcher")
	nodes := []string{}
	for i := range 16 {
		nodes = append(nodes, fmt.Sprintf("node-%d", i+1))
	}
	c, err := cluster.Start(ctx, cluster.Options{Nodes: len(nodes), AuditPolicy: true, LogDir: *logs, Out: r.progress})
	if err != nil {
		return err
	}
	defer c.Stop()
	w, err := world.New(ctx, c, nodes, world.Options{Timings: driver.Manual(), Install: install.Options{WatcherArgs: unpaced()}})
	if err != nil {
		return err
	}
	w.Vault.Allow(vault.Identity{TenantID: tenantID, ClientID: clientID})
	for _, s := range sizes {
		s.workloads = scaled(s.workloads)
		f, err := deploy(ctx, r, w, s)
		if err == nil {
			err = f.rotated(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

const (
	tenantID = "11111111-2222-3333-4444-555555555555"
	clientID = "99999999-8888-7777-6666-555555555555"
	account  = "web"
	object   = "db-password"
)

// fleet is the Deployments of one namespace, all on one class.
type fleet struct {
	*world.World
	size
	namespace string
}

// deploy makes a fleet, and returns when all of its pods are ready.
func deploy(ctx context.Context, r *report, w *world.World, s size) (*fleet, error) {
	r.say("deploy %s", s)
	f := &fleet{World: w, size: s, namespace: fmt.Sprintf("bench-%d-%d", s.workloads, s.pods)}
	f.rotate()
	if err := prepare(ctx, w.Cluster, f.namespace); err != nil {
		return nil, err
	}
	err := each(ctx, s.workloads, func(ctx context.Context, i int) error {
		_, err := w.Client().AppsV1().Deployments(f.namespace).Create(ctx, deployment(f.name(i), int32(s.pods), object), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, f.settle(ctx)
}

// prepare makes a namespace that is opted in, and the account of its workloads.
func prepare(ctx context.Context, c *cluster.Cluster, name string) error {
	core := c.Client().CoreV1()
	_, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:        name,
		Labels:      map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled},
		Annotations: map[string]string{annotation.Vault: name, annotation.TenantID: tenantID},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = core.ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: account, Annotations: map[string]string{annotation.IdentityClientID: clientID},
	}}, metav1.CreateOptions{})
	return err
}

// deployment is one that depends on a secret.
func deployment(name string, pods int32, objects string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &pods,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{
					annotation.Objects: objects, annotation.ServiceAccount: account,
				}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: "shop/app:1",
					Env:   []corev1.EnvVar{{Name: "PORT", Value: "8080"}, {Name: "LOG_LEVEL", Value: "info"}},
					Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				}}},
			},
		},
	}
}

func (f *fleet) name(i int) string { return fmt.Sprintf("web-%d", i) }

// rotate gives the secret a new version.
func (f *fleet) rotate() {
	f.Vault.Set(f.namespace, vault.Secret, object, fmt.Sprintf("value at %d", time.Now().UnixNano()))
}

// settle waits until every rollout of the fleet is at its end, and a moment
// longer: Events and leftovers of controllers belong to what was before.
func (f *fleet) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		incomplete, err := f.incomplete(ctx)
		switch {
		case err != nil:
			return err
		case incomplete == 0:
			return sleep(ctx, 5*time.Second)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return fmt.Errorf("%d Deployments are not complete: %w", incomplete, err)
		}
	}
}

// incomplete counts the Deployments whose newest template is not out.
func (f *fleet) incomplete(ctx context.Context) (int, error) {
	all, err := f.Client().AppsV1().Deployments(f.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return 0, err
	}
	count := 0
	for i := range all.Items {
		d := &all.Items[i]
		pods := int32(f.pods)
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != pods || d.Status.Replicas != pods || d.Status.AvailableReplicas != pods {
			count++
		}
	}
	return count, nil
}

// rotated measures the bare patches, and then the rotation.
func (f *fleet) rotated(ctx context.Context, r *report) error {
	r.say("patch %s without a watcher", f.size)
	if err := f.StopWatcher(ctx); err != nil {
		return err
	}
	bare, err := f.patchAll(ctx)
	if err != nil {
		return err
	}
	if err := f.settle(ctx); err != nil {
		return err
	}
	if err := f.StartWatcher(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	r.say("rotate the secret of %s", f.size)
	begin, cpu := time.Now(), f.cpu()
	f.rotate()
	f.Driver.Poll()
	if err := f.settleStamped(ctx); err != nil {
		return err
	}
	if err := f.settle(ctx); err != nil {
		return err
	}
	return f.tell(r, begin, bare, f.cpu()-cpu)
}

// patchAll patches every template, and answers how long that took.
func (f *fleet) patchAll(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"example.com/restarted":"` + begin.Format(time.RFC3339Nano) + `"}}}}}`)
	err := each(ctx, f.workloads, func(ctx context.Context, i int) error {
		_, err := f.Client().AppsV1().Deployments(f.namespace).Patch(ctx, f.name(i), types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	return time.Since(begin), err
}

// settleStamped waits until the watcher has patched every template.
func (f *fleet) settleStamped(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		patched, err := stamped(ctx, f.Client(), f.namespace)
		if err != nil || patched == f.workloads {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return fmt.Errorf("%d of %d templates are patched: %w", patched, f.workloads, err)
		}
	}
}

// stamped counts the Deployments of a namespace whose template the watcher has patched.
func stamped(ctx context.Context, client kubernetes.Interface, namespace string) (int, error) {
	all, err := client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return 0, err
	}
	count := 0
	for i := range all.Items {
		if all.Items[i].Spec.Template.Annotations[annotation.Content] != "" {
			count++
		}
	}
	return count, nil
}

// cpu is what the watcher has used; a process that is gone shows elsewhere.
func (f *fleet) cpu() time.Duration {
	used, _ := cpuOf(f.Watcher.Pid())
	return used
}

// tell makes figures of what the API server was asked since the rotation.
func (f *fleet) tell(r *report, begin time.Time, bare, cpu time.Duration) error {
	seen, err := look(f.Cluster, begin, f.Keyroll.User("watcher"))
	if err != nil {
		return err
	}
	n := f.workloads
	r.add(figure{what: f.String() + ": from the rotation's first status to the last patch", unit: "s", ours: seen.LastPatch.Sub(seen.FirstStatus).Seconds(), bare: bare.Seconds(), held: timesBare(1.5)})
	r.add(figure{what: f.String() + ": from its last status to the last patch", unit: "s", ours: seen.LastPatch.Sub(seen.LastStatus).Seconds(), bare: bare.Seconds()})
	r.add(figure{what: f.String() + ": requests until the last patch", ours: float64(len(seen.UntilPatched)), bare: float64(n), held: atMost(float64(asked.MostUntilPatched(n)))})
	r.add(figure{what: f.String() + ": requests until the rollouts ended", ours: float64(len(seen.Ours)), bare: float64(n), held: atMost(float64(asked.MostUntilDone(n)))})
	r.add(figure{what: f.String() + ": CPU of the watcher for it", unit: "s", ours: cpu.Seconds()})
	r.say("asked: %s", asked.Counted(seen.Ours))
	return nil
}

// look reads from the audit log what happened since begin.
func look(c *cluster.Cluster, begin time.Time, watcher string) (asked.Rotation, error) {
	all, err := c.Requests(begin)
	if err != nil {
		return asked.Rotation{}, err
	}
	return asked.Of(all, watcher)
}
