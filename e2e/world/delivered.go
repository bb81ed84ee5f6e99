package world

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
)

// delivered reads from the cluster what its driver has delivered:
//
//	files at the start   the versions in the status of the pod's mount, unless the
//	                     driver changed it after the container started
//	files now            the versions in the status
//	environment          env, run in the container; where nothing can be run, what
//	                     the Secret held when the container started
//
// The vault is known by what was rotated through it.
type delivered struct {
	world    *World
	statuses dynamic.NamespaceableResourceInterface
	secrets  *sightings // nil: env is run

	mu     sync.Mutex
	newest map[string]Secret // by vault and name
}

func newDelivered(ctx context.Context, w *World) (*delivered, error) {
	client, err := dynamic.NewForConfig(w.Admin())
	if err != nil {
		return nil, err
	}
	d := &delivered{
		world: w, newest: map[string]Secret{},
		statuses: client.Resource(driver.GroupVersion.WithResource("secretproviderclasspodstatuses")),
	}
	if w.given.NoExec {
		d.secrets, err = watchSecrets(ctx, w.Client())
	}
	return d, err
}

// Trust lets a ServiceAccount be the identity, where a command is needed for it.
func (d *delivered) Trust(ctx context.Context, namespace, account string) error {
	if d.world.given.Federate == "" {
		return nil
	}
	_, err := d.world.given.run(ctx, d.world.given.Federate, "NAMESPACE="+namespace, "SERVICE_ACCOUNT="+account)
	return err
}

// Rotate runs the command that was given for it.
func (d *delivered) Rotate(ctx context.Context, vault, name, value string) (string, error) {
	version, err := d.world.given.rotate(ctx, vault, name, value)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest[vault+"/"+name] = Secret{version, value}
	return version, nil
}

// Newest is what was rotated last.
func (d *delivered) Newest(vault, name string) Secret {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest[vault+"/"+name]
}

// Running reads pods and statuses.
func (d *delivered) Running(ctx context.Context, namespace string) ([]Container, error) {
	pods, err := d.world.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	statuses, err := d.statusesOf(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var all []Container
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp != nil {
			continue
		}
		for _, s := range pod.Status.ContainerStatuses {
			if s.State.Running == nil {
				continue
			}
			c, err := d.container(ctx, pod, s.Name, s.State.Running.StartedAt.Time, statuses[pod.UID])
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(strings.Compare(a.Pod, b.Pod), strings.Compare(a.Name, b.Name))
	})
	return all, nil
}

func (d *delivered) container(ctx context.Context, pod *corev1.Pod, name string, startedAt time.Time, mounts []mount) (Container, error) {
	c := Container{Pod: pod.Name, Name: name, Started: map[string]string{}, Now: map[string]string{}}
	for _, m := range mounts {
		for _, o := range m.status.Objects {
			c.Now[o.ID], c.Started[o.ID] = o.Version, o.Version
			if m.changed.After(startedAt) {
				c.Started[o.ID] = "an earlier one than " + o.Version
			}
		}
	}
	var err error
	if d.secrets != nil {
		c.Env = d.secrets.environment(pod, name, startedAt)
	} else {
		c.Env, err = d.environment(ctx, pod, name)
	}
	return c, err
}

// mount is what a status tells of one.
type mount struct {
	status  driver.PodStatusStatus
	changed time.Time // by the driver, after it was made; zero: never
}

func (d *delivered) statusesOf(ctx context.Context, namespace string) (map[types.UID][]mount, error) {
	list, err := d.statuses.Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byPod := map[types.UID][]mount{}
	for _, item := range list.Items {
		m, err := mountOf(item)
		if err != nil {
			return nil, fmt.Errorf("status %s: %w", item.GetName(), err)
		}
		for _, owner := range item.GetOwnerReferences() {
			byPod[owner.UID] = append(byPod[owner.UID], m)
		}
	}
	return byPod, nil
}

func mountOf(item unstructured.Unstructured) (mount, error) {
	var s driver.PodStatus
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &s); err != nil {
		return mount{}, err
	}
	m := mount{status: s.Status}
	for _, f := range s.ManagedFields {
		if f.Manager == "csi-secrets-store" && f.Time != nil && s.Generation > 1 {
			m.changed = f.Time.Time
		}
	}
	return m, nil
}

// environment runs env in the container.
func (d *delivered) environment(ctx context.Context, pod *corev1.Pod, container string) (map[string]string, error) {
	out, err := d.world.Kubectl(ctx, "exec", "--namespace="+pod.Namespace, pod.Name, "--container="+container, "--", "env")
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			env[name] = value
		}
	}
	return env, nil
}
