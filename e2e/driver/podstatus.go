package driver

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// report writes the pod's status to the API server if it changed, again and
// again until it is written or the pod is not ours any more.
func (w *worker) report(ctx context.Context) {
	status := w.status()
	if reflect.DeepEqual(status, w.last) {
		return
	}
	pod := w.current()
	patch, err := statusPatch(pod, w.last, status)
	if err != nil {
		panic(err) // a PodStatus has nothing that JSON could not say
	}
	w.last = status
	for {
		_, err := w.n.d.kubelet.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil || ctx.Err() != nil {
			return
		}
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another pod of that name
			w.end()
			return
		}
		w.n.d.cfg.Log.Warn("Pod status not written", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		if !sleep(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// statusPatch says what changed, as a kubelet does: what others write into the
// status stays, and what we wrote before and no longer say goes.
func statusPatch(pod *corev1.Pod, before, after corev1.PodStatus) ([]byte, error) {
	old, err := json.Marshal(corev1.Pod{Status: before})
	if err != nil {
		return nil, err
	}
	// A UID that the old one lacks becomes a precondition of the patch.
	changed, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: after})
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(old, changed, corev1.Pod{})
}

// status is the pod's status as a kubelet reports it.
func (w *worker) status() corev1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	status := corev1.PodStatus{
		ObservedGeneration: w.pod.Generation,
		Phase:              w.phase(),
		HostIP:             w.n.hostIP(),
		HostIPs:            []corev1.HostIP{{IP: w.n.hostIP()}},
		StartTime:          w.last.StartTime,
	}
	if status.StartTime == nil {
		now := metav1.NewTime(w.n.now())
		status.StartTime = &now
	}
	if w.sandbox {
		status.PodIP, status.PodIPs = w.podIP, []corev1.PodIP{{IP: w.podIP}}
	}
	for _, s := range w.states {
		cs := w.containerStatus(s)
		if s.init {
			status.InitContainerStatuses = append(status.InitContainerStatuses, cs)
		} else {
			status.ContainerStatuses = append(status.ContainerStatuses, cs)
		}
	}
	status.Conditions = w.conditions(status.Phase)
	return status
}

func (w *worker) phase() corev1.PodPhase {
	running, failed, waiting := false, false, false
	for _, s := range w.states {
		if s.init {
			continue
		}
		switch {
		case s.status.Terminated != nil:
			failed = failed || s.status.Terminated.ExitCode != 0
		case s.status.Running != nil || s.before.Terminated != nil:
			running = true
		default:
			waiting = true
		}
	}
	switch {
	case running:
		return corev1.PodRunning
	case waiting:
		return corev1.PodPending
	case failed:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

func (w *worker) containerStatus(s *state) corev1.ContainerStatus {
	started := s.status.Running != nil
	cs := corev1.ContainerStatus{
		Name: s.spec.Name, Image: s.spec.Image, State: s.status, LastTerminationState: s.before,
		RestartCount: s.count, Ready: s.ready || s.init && s.status.Terminated != nil, Started: &started,
	}
	if s.created {
		cs.ImageID = "model://" + s.spec.Image
		cs.ContainerID = "model://" + string(w.uid) + "-" + s.spec.Name
	}
	return cs
}

// conditions are the kubelet's four, each with the time when it last turned.
func (w *worker) conditions(phase corev1.PodPhase) []corev1.PodCondition {
	var incomplete, unready []string
	for _, s := range w.states {
		switch {
		case s.init && s.status.Terminated == nil && (!isSidecar(s.spec) || s.status.Running == nil):
			incomplete = append(incomplete, s.spec.Name)
		case !s.init && !s.ready:
			unready = append(unready, s.spec.Name)
		}
	}
	notReady := w.condition(corev1.ContainersReady, len(unready) == 0, "ContainersNotReady", "containers with unready status: ["+strings.Join(unready, " ")+"]")
	if phase == corev1.PodSucceeded {
		notReady.Reason, notReady.Message = "PodCompleted", ""
	}
	ready := notReady
	ready.Type = corev1.PodReady
	conditions := []corev1.PodCondition{
		w.condition(corev1.PodReadyToStartContainers, w.sandbox && phase != corev1.PodSucceeded, "", ""),
		w.condition(corev1.PodInitialized, len(incomplete) == 0, "ContainersNotInitialized", "containers with incomplete status: ["+strings.Join(incomplete, " ")+"]"),
		ready,
		notReady,
	}
	for i := range conditions {
		w.turned(&conditions[i])
	}
	return conditions
}

func (w *worker) condition(kind corev1.PodConditionType, met bool, reason, message string) corev1.PodCondition {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, ObservedGeneration: w.pod.Generation}
	if !met {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reason, message
	}
	return c
}

// turned dates a condition: now, unless it was so before.
func (w *worker) turned(c *corev1.PodCondition) {
	c.LastTransitionTime = metav1.NewTime(w.n.now())
	for _, before := range w.last.Conditions {
		if before.Type == c.Type && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
}
