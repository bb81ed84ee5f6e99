package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// polling is driver v1.5.6: a loop of the driver's own goes over the node's
// statuses, one after the other (pkg/rotation/reconciler.go). A Secret is made
// once, by whichever pod comes first; later only the loop changes its data.
type polling struct {
	client *client
	events *events
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// rotationEvents is how many events about one pod the loop sends at first. It
// says SecretRotationComplete at every turn, and turns are much closer together
// in tests than in the field, where the limit is 25.
const rotationEvents = 5

func newPolling(n *node) (*polling, error) {
	c, err := newClient(n.d.cfg.REST, pluginAgent("rotation", Polling.String()))
	if err != nil {
		return nil, err
	}
	return &polling{
		client: c, queue: newQueue(),
		events: newEvents(c, corev1.EventSource{Component: "csi-secrets-store-rotation"}, rotationEvents),
	}, nil
}

// publish mounts once; a volume that is mounted is left as it is.
func (*polling) publish(ctx context.Context, p *plugin, r publishRequest) error {
	v := p.node.volume(r.target())
	if v.isMounted() {
		return nil
	}
	class, m, err := p.prepare(r)
	if err != nil {
		return err
	}
	if err := p.deliver(ctx, r, class, m); err != nil {
		v.unmount()
		return err
	}
	return nil
}

func (*polling) keeps() bool { return true }

// write makes the Secret; one that stands there unseen, because it is not
// labelled as managed, is taken for ours.
func (*polling) write(ctx context.Context, p *plugin, secret *corev1.Secret) error {
	_, err := p.client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// run polls at the interval. The drivers of different nodes did not start at
// the same moment: their first turns are spread over one interval.
func (m *polling) run(ctx context.Context, p *plugin) {
	defer m.events.end()
	if !p.d.rotates() {
		return
	}
	var worker sync.WaitGroup
	worker.Go(func() { m.work(ctx, p) })
	defer worker.Wait()
	defer m.queue.ShutDown()
	interval := p.d.timings.PollInterval
	if interval <= 0 {
		<-ctx.Done()
		return
	}
	wait := interval * time.Duration(p.node.index+1) / time.Duration(len(p.d.nodes))
	for sleep(ctx, wait) {
		m.poll(p)
		wait = interval
	}
}

// poll queues every status of the node.
func (m *polling) poll(p *plugin) { m.add(p.statuses()) }

func (m *polling) pollPod(p *plugin, namespace, pod string) { m.add(p.statusesOf(namespace, pod)) }

func (m *polling) add(statuses []*PodStatus) {
	for _, s := range statuses {
		m.queue.Add(keyOf(s))
	}
}

// work is the loop's only worker.
func (m *polling) work(ctx context.Context, p *plugin) {
	for {
		key, shutdown := m.queue.Get()
		if shutdown || ctx.Err() != nil {
			return
		}
		m.turn(ctx, p, key)
		m.queue.Done(key)
	}
}

// turn rotates one status. After a failure it comes again in ten seconds; a
// status that is gone is looked for five times more.
func (m *polling) turn(ctx context.Context, p *plugin, key types.NamespacedName) {
	status := p.status(key)
	if status == nil {
		if m.queue.NumRequeues(key) < 5 {
			m.queue.AddRateLimited(key)
		} else {
			m.queue.Forget(key)
		}
		return
	}
	if err := m.rotate(ctx, p, status); err != nil {
		p.d.cfg.Log.Debug("Rotation failed", "status", key, "node", p.node.name, "error", err)
		m.queue.AddAfter(key, p.d.timings.RotationRetry)
		return
	}
	m.queue.Forget(key)
}

// rotate asks the provider for what the status's volume should hold now:
// files, then status, then Secrets.
func (m *polling) rotate(ctx context.Context, p *plugin, status *PodStatus) error {
	pod, err := p.pod(status.Namespace, status.Status.PodName)
	if err != nil {
		return fmt.Errorf("failed to get pod %s/%s, err: %w", status.Namespace, status.Status.PodName, err)
	}
	hold := p.d.holds.of(pod)
	if finished(pod) || hold == paused {
		return nil
	}
	class, err := p.class(status.Namespace, status.Status.ClassName)
	if err != nil {
		return fmt.Errorf("failed to get secret provider class %s/%s, err: %w", status.Namespace, status.Status.ClassName, err)
	}
	if err := checkTarget(pod, class.Name, status); err != nil {
		return err
	}
	versions, err := m.fetch(ctx, p, pod, class, status, hold)
	if err != nil {
		m.events.Event(pod, corev1.EventTypeWarning, "MountRotationFailed", "provider mount err: "+err.Error())
		return fmt.Errorf("failed to rotate objects for pod %s/%s, err: %w", pod.Namespace, pod.Name, err)
	}
	if differ(status.Status.Objects, versions) {
		if err := m.updateStatus(ctx, pod, class, status, versions); err != nil {
			return err
		}
	}
	return m.rotateSecrets(ctx, p, pod, class, status)
}

// fetch has the provider write the volume anew. Attributes of the pod's volume
// count at the first mount only: here the class's parameters stand alone.
func (m *polling) fetch(ctx context.Context, p *plugin, pod *corev1.Pod, class *Class, status *PodStatus, hold hold) (map[string]string, error) {
	if hold == failing {
		return nil, errHeld
	}
	parameters := maps.Clone(class.Spec.Parameters)
	if parameters == nil {
		parameters = map[string]string{}
	}
	maps.Copy(parameters, podInfo(pod))
	secrets := map[string]string{} // unlike at the mount, never missing as a whole
	if ref := classVolume(pod, class.Name).CSI.NodePublishSecretRef; ref != nil {
		var err error
		if secrets, err = p.d.publishSecret(ctx, pod.Namespace, ref.Name); err != nil {
			return nil, err
		}
	}
	return p.mountContent(class, p.mountRequest(pod, parameters, secrets), p.node.volume(status.Status.TargetPath))
}

// differ compares what the status says with what the provider delivered.
func differ(have []ObjectVersion, versions map[string]string) bool {
	old := map[string]string{}
	for _, o := range have {
		old[o.ID] = o.Version
	}
	return !maps.Equal(old, versions)
}

func (m *polling) updateStatus(ctx context.Context, pod *corev1.Pod, class *Class, status *PodStatus, versions map[string]string) error {
	m.events.Eventf(pod, corev1.EventTypeNormal, "MountRotationComplete", "successfully rotated mounted contents for spc %s/%s", class.Namespace, class.Name)
	status.Status.Objects = sortedVersions(versions)
	err := attempt(ctx, func() error {
		_, err := m.client.podStatuses(status.Namespace).Update(ctx, status, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		m.events.Eventf(pod, corev1.EventTypeWarning, "MountRotationFailed", "failed to update versions in spc pod status %s, err: %v", class.Name, err)
		return fmt.Errorf("failed to update spc pod status, err: %w", err)
	}
	return nil
}

// rotateSecrets patches every Secret of the class whose data differ. One that
// cannot be patched does not count as a failure of the turn.
func (m *polling) rotateSecrets(ctx context.Context, p *plugin, pod *corev1.Pod, class *Class, status *PodStatus) error {
	files, _ := p.node.mountedFiles(status.Status.TargetPath)
	failed := func(format string, args ...any) error {
		err := fmt.Errorf(format, args...)
		m.events.Event(pod, corev1.EventTypeWarning, "SecretRotationFailed", err.Error())
		return err
	}
	var errs []error
	for _, o := range class.Spec.SecretObjects {
		if err := checkSecretObject(o); err != nil {
			errs = append(errs, failed("failed validation for secret object in spc %s/%s, err: %w", class.Namespace, class.Name, err))
			continue
		}
		data, err := secretData(o, files)
		if err != nil {
			errs = append(errs, failed("failed to get data in spc %s/%s for secret %s, err: %w", class.Namespace, class.Name, strings.TrimSpace(o.SecretName), err))
			continue
		}
		if err := attempt(ctx, func() error { return m.patchSecret(ctx, p, pod.Namespace, o.SecretName, data) }); err != nil {
			_ = failed("failed to patch secret %s with new data, err: %w", strings.TrimSpace(o.SecretName), err)
			continue
		}
		m.events.Eventf(pod, corev1.EventTypeNormal, "SecretRotationComplete", "successfully rotated K8s secret %s", strings.TrimSpace(o.SecretName))
	}
	return errors.Join(errs...)
}

// patchSecret changes the data of a Secret that the cache holds, and nothing
// else; where nothing differs it sends nothing. What it sends waits for its
// turn behind the loop's many events, which the client lets through slowly.
func (m *polling) patchSecret(ctx context.Context, p *plugin, namespace, name string, data map[string][]byte) error {
	have := p.secret(namespace, name)
	if have == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "Secret"}, name)
	}
	if digest(have.Data) == digest(data) {
		return nil
	}
	changed := map[string]any{}
	for k := range have.Data {
		if _, stays := data[k]; !stays {
			changed[k] = nil
		}
	}
	for k, v := range data {
		if string(have.Data[k]) != string(v) {
			changed[k] = v
		}
	}
	patch, err := json.Marshal(map[string]any{"data": changed})
	if err != nil {
		return err
	}
	if !sleep(ctx, p.d.timings.SecretSync.draw()) {
		return context.Cause(ctx)
	}
	_, err = m.client.CoreV1().Secrets(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
