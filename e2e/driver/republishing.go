package driver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// republishing is driver v1.6.0: the kubelet publishes a mounted volume again
// and again, and the driver fetches again unless the content is younger than
// the interval (pkg/secrets-store/nodeserver.go). Every look at a status
// rewrites the whole Secret from that pod's files, so that a pod which lags
// puts old data back.
type republishing struct{}

// publish mounts, or fetches again. Whether it is due is asked before whether
// anything is mounted. What goes wrong behind the class is hidden from the
// kubelet once the volume is mounted, files and status then need not agree.
func (republishing) publish(ctx context.Context, p *plugin, r publishRequest) error {
	v, rotates := p.node.volume(r.target()), p.d.rotates()
	if written := v.modified(); rotates && !written.IsZero() && p.node.now().Before(written.Add(p.d.timings.PollInterval)) {
		return nil
	}
	again := v.isMounted()
	hold := p.d.holds.of(r.pod)
	if again && (!rotates || hold == paused) {
		return nil
	}
	class, m, err := p.prepare(r)
	if err != nil {
		return err
	}
	if again && hold == failing {
		p.d.cfg.Log.Debug("Rotation failed", "pod", r.pod.Name, "node", p.node.name, "error", errHeld)
		return nil
	}
	err = p.deliver(ctx, r, class, m)
	switch {
	case err != nil && again:
		p.d.cfg.Log.Debug("Rotation failed", "pod", r.pod.Name, "node", p.node.name, "error", err)
		return nil
	case err != nil:
		v.unmount()
	}
	return err
}

func (republishing) keeps() bool { return false }

// write makes the Secret or replaces it as a whole, whoever made it: data,
// labels, annotations and owners.
func (republishing) write(ctx context.Context, p *plugin, secret *corev1.Secret) error {
	secrets := p.client.CoreV1().Secrets(secret.Namespace)
	_, err := secrets.Create(ctx, secret, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

// run has nothing to do: rotation is the kubelet's initiative.
func (republishing) run(context.Context, *plugin) {}

func (republishing) poll(p *plugin) { p.node.look(func(*worker) bool { return true }) }

func (republishing) pollPod(p *plugin, namespace, pod string) {
	p.node.look(func(w *worker) bool { return w.is(namespace, pod) })
}
