package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
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
// driver. It stands beside two things that the bench does to the same Deployments
// with no watcher there: patching them as fast as the API server takes it, and
// rotating the secret and patching each as soon as a status of its pods tells of
// that, which is the least that any watcher has to do.
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
	r.say("rotate the secret of %s without a watcher", f.size)
	least, err := f.rotateBare(ctx)
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
	profiled := saveCPU(ctx, f.Watcher, f.String(), 30)
	begin, cpu := time.Now(), f.cpu()
	f.rotate()
	f.Driver.Poll()
	if err := f.settleStamped(ctx); err != nil {
		return err
	}
	if err := errors.Join(f.settle(ctx), profiled()); err != nil {
		return err
	}
	return f.tell(r, begin, bare, least, f.cpu()-cpu)
}

// patchAll patches every template, and answers how long that took.
func (f *fleet) patchAll(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	err := each(ctx, f.workloads, func(ctx context.Context, i int) error { return f.restart(ctx, f.name(i)) })
	return time.Since(begin), err
}

func (f *fleet) restart(ctx context.Context, name string) error {
	patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"example.com/restarted":"` + time.Now().Format(time.RFC3339Nano) + `"}}}}}`)
	_, err := f.Client().AppsV1().Deployments(f.namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// rotateBare rotates the secret and patches each template as soon as the first
// status of its pods tells of that.
func (f *fleet) rotateBare(ctx context.Context) (asked.Rotation, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	client, err := dynamic.NewForConfig(f.Admin())
	if err != nil {
		return asked.Rotation{}, err
	}
	all, err := client.Resource(statuses).Namespace(f.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return asked.Rotation{}, err
	}
	told, err := client.Resource(statuses).Namespace(f.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: all.GetResourceVersion()})
	if err != nil {
		return asked.Rotation{}, err
	}
	defer told.Stop()
	stale := make(chan string, f.workloads)
	go tellStale(told, stale)
	begin := time.Now()
	f.rotate()
	f.Driver.Poll()
	err = each(ctx, f.workloads, func(ctx context.Context, _ int) error {
		select {
		case name := <-stale:
			return f.restart(ctx, name)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return asked.Rotation{}, fmt.Errorf("patch what is told of: %w", err)
	}
	if err := sleep(ctx, 2*time.Second); err != nil { // the audit log comes after the answer
		return asked.Rotation{}, err
	}
	return look(f.Cluster, begin, cluster.AdminUser)
}

// tellStale names each Deployment at the first change of a status of its pods,
// until the watch ends.
func tellStale(statuses watch.Interface, stale chan<- string) {
	told := map[string]bool{}
	for event := range statuses.ResultChan() {
		status, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type != watch.Modified {
			continue
		}
		pod, _, _ := unstructured.NestedString(status.Object, "status", "podName")
		parts := strings.Split(pod, "-") // of the Deployment's name, the ReplicaSet's hash, its own
		name := strings.Join(parts[:max(0, len(parts)-2)], "-")
		if !told[name] {
			told[name] = true
			stale <- name
		}
	}
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
func (f *fleet) tell(r *report, begin time.Time, bare time.Duration, least asked.Rotation, cpu time.Duration) error {
	seen, err := look(f.Cluster, begin, f.Keyroll.User("watcher"))
	if err != nil {
		return err
	}
	n := f.workloads
	r.add(figure{what: f.String() + ": bare patches, without a rotation", unit: "s", ours: bare.Seconds()})
	r.add(figure{what: f.String() + ": from a rotation's first status to the last patch", unit: "s", ours: seen.Took().Seconds(), bare: least.Took().Seconds(), held: timesBare(1.5)})
	r.add(figure{what: f.String() + ": from its last status to the last patch", unit: "s", ours: seen.Lagged().Seconds(), bare: least.Lagged().Seconds()})
	r.add(figure{what: f.String() + ": requests until the last patch", ours: float64(len(seen.UntilPatched)), bare: float64(n), held: atMost(float64(asked.MostUntilPatched(n)))})
	r.add(figure{what: f.String() + ": requests until the rollouts ended", ours: float64(len(seen.Ours)), bare: float64(n), held: atMost(float64(asked.MostUntilDone(n)))})
	r.add(figure{what: f.String() + ": CPU of the watcher for it", unit: "s", ours: cpu.Seconds()})
	r.say("asked: %s", asked.Counted(seen.Ours))
	return nil
}

// look reads from the audit log what happened since begin. The user is the one who patches.
func look(c *cluster.Cluster, begin time.Time, user string) (asked.Rotation, error) {
	all, err := c.Requests(begin)
	if err != nil {
		return asked.Rotation{}, err
	}
	return asked.Of(all, user)
}
