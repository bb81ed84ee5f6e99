package driver

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hold is what a test does to one pod's rotation.
type hold int

const (
	free hold = iota
	paused
	failing
)

// errHeld is what the provider answers for a pod whose rotation is made to fail.
var errHeld = rpcError{"Unknown", "failed to mount objects, error: failed to get keyvault client: made to fail by the test"}

type holds struct {
	mu   sync.Mutex
	pods map[types.NamespacedName]hold
}

func (h *holds) of(pod *corev1.Pod) hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pods[keyOf(pod)]
}

func (h *holds) set(namespace, pod string, to hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pods == nil {
		h.pods = map[types.NamespacedName]hold{}
	}
	h.pods[types.NamespacedName{Namespace: namespace, Name: pod}] = to
}

// Pause keeps a pod of that name from rotating, as if its turn had not come yet.
// Its first mount is not affected.
func (d *Driver) Pause(namespace, pod string) { d.holds.set(namespace, pod, paused) }

// FailRotation makes each rotation of a pod of that name fail: with events from
// the older driver, unseen from the newer. Its first mount is not affected.
func (d *Driver) FailRotation(namespace, pod string) { d.holds.set(namespace, pod, failing) }

// Release undoes Pause and FailRotation.
func (d *Driver) Release(namespace, pod string) { d.holds.set(namespace, pod, free) }

// publishSecret reads the Secret of a volume's nodePublishSecretRef.
func (d *Driver) publishSecret(ctx context.Context, namespace, name string) (map[string]string, error) {
	secret, err := d.kubelet.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("failed to get node publish secret %s/%s, err: %w", namespace, name, err)
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for k, v := range secret.Data {
		data[k] = string(v)
	}
	return data, nil
}
