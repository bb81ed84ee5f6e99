package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/e2e/driver"
)

// lot is workloads that are written as controllers, kubelets and the driver
// would leave them: rolled out, running, mounted. Several share a class.
type lot struct {
	name      string
	workloads int
	pods      int // of each
	classSize int // workloads that share a class

	kube   kubernetes.Interface
	driver dynamic.Interface

	mu    sync.Mutex
	first []mount // of the first class
}

// mount is the status of a workload's pod.
type mount struct {
	types.NamespacedName
	workload int
}

// perNamespace is how many workloads stand in one namespace, at least a class's.
const perNamespace = 100

func (l *lot) namespace(i int) string {
	return fmt.Sprintf("%s-%d", l.name, i/max(perNamespace, l.classSize))
}

func (l *lot) workload(i int) string { return fmt.Sprintf("web-%d", i) }

// object is what the workloads of one class depend on.
func (l *lot) object(i int) string { return fmt.Sprintf("db-%d", i/l.classSize) }

// writeAll writes every workload of the lot, but no class: the watcher's work.
func (l *lot) writeAll(ctx context.Context) error { return each(ctx, l.workloads, l.write) }

func (l *lot) write(ctx context.Context, i int) error {
	d, err := l.writeDeployment(ctx, i)
	if err != nil {
		return err
	}
	set, err := l.writeReplicaSet(ctx, d)
	if err != nil {
		return err
	}
	for n := range l.pods {
		if err := l.writePod(ctx, i, n, set); err != nil {
			return err
		}
	}
	return nil
}

const revision = "deployment.kubernetes.io/revision"

func (l *lot) writeDeployment(ctx context.Context, i int) (*appsv1.Deployment, error) {
	client := l.kube.AppsV1().Deployments(l.namespace(i))
	d := deployment(l.workload(i), int32(l.pods), l.object(i))
	d.Annotations = map[string]string{revision: "1"}
	d, err := client.Create(ctx, d, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	pods := int32(l.pods)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: pods, UpdatedReplicas: pods, ReadyReplicas: pods, AvailableReplicas: pods,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable", Message: "Deployment has minimum availability."},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", Message: "ReplicaSet has successfully progressed."},
		},
	}
	return client.UpdateStatus(ctx, d, metav1.UpdateOptions{})
}

func (l *lot) writeReplicaSet(ctx context.Context, d *appsv1.Deployment) (*appsv1.ReplicaSet, error) {
	const hash = "5d8f7c9b6d"
	template := d.Spec.Template.DeepCopy()
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return l.kube.AppsV1().ReplicaSets(d.Namespace).Create(ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + hash, Labels: template.Labels, Annotations: map[string]string{revision: "1"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: *template},
	}, metav1.CreateOptions{})
}

// writePod writes a pod, which the webhook injects, as bound and running, and
// the driver's status of its mount.
func (l *lot) writePod(ctx context.Context, i, n int, set *appsv1.ReplicaSet) error {
	client := l.kube.CoreV1().Pods(set.Namespace)
	p := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	p.Name = fmt.Sprintf("%s-%05d", set.Name, n)
	p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	p.Spec.NodeName = fmt.Sprintf("node-%d", (i*l.pods+n)/100)
	p, err := client.Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := l.writeStatus(ctx, i, p); err != nil {
		return err
	}
	p.Status = running(p)
	_, err = client.UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}

// running is what a kubelet says of a pod that runs.
func running(p *corev1.Pod) corev1.PodStatus {
	now, started := metav1.Now(), true
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &now,
		HostIP: "10.1.0.1", HostIPs: []corev1.HostIP{{IP: "10.1.0.1"}}, PodIP: "10.64.0.1", PodIPs: []corev1.PodIP{{IP: "10.64.0.1"}},
	}
	for _, condition := range []corev1.PodConditionType{
		corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, Started: &started, ContainerID: "containerd://" + string(p.UID),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return status
}

var statuses = schema.GroupVersionResource{Group: driver.GroupVersion.Group, Version: driver.GroupVersion.Version, Resource: "secretproviderclasspodstatuses"}

func (l *lot) writeStatus(ctx context.Context, i int, p *corev1.Pod) error {
	class := classOf(p)
	if class == "" {
		return fmt.Errorf("pod %s/%s was not injected", p.Namespace, p.Name)
	}
	name := types.NamespacedName{Namespace: p.Namespace, Name: p.Name + "-" + p.Namespace + "-" + class}
	status := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": driver.GroupVersion.String(),
		"kind":       "SecretProviderClassPodStatus",
		"metadata": map[string]any{
			"name":            name.Name,
			"labels":          map[string]any{driver.NodeLabel: p.Spec.NodeName},
			"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Pod", "name": p.Name, "uid": string(p.UID)}},
		},
		"status": map[string]any{
			"podName": p.Name, "secretProviderClassName": class, "mounted": true,
			"targetPath": "/var/lib/kubelet/pods/" + string(p.UID) + "/volumes/kubernetes.io~csi/secrets-store/mount",
			"objects":    l.versions(i, "first"),
		},
	}}
	if _, err := l.driver.Resource(statuses).Namespace(p.Namespace).Create(ctx, status, metav1.CreateOptions{}); err != nil {
		return err
	}
	if i < l.classSize {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.first = append(l.first, mount{name, i})
	}
	return nil
}

func (l *lot) versions(i int, version string) []any {
	return []any{map[string]any{"id": "secret/" + l.object(i), "version": version}}
}

func classOf(p *corev1.Pod) string {
	for i := range p.Spec.Volumes {
		if csi := p.Spec.Volumes[i].CSI; csi != nil && csi.Driver == driver.Name {
			return csi.VolumeAttributes[driver.ClassAttribute]
		}
	}
	return ""
}

// deliver writes another version into every status of the first class, as the
// driver does when a secret has rotated.
func (l *lot) deliver(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"objects": l.versions(0, fmt.Sprint("rotated-", time.Now().UnixNano()))}})
	if err != nil {
		return err
	}
	return each(ctx, len(l.first), func(ctx context.Context, i int) error {
		_, err := l.driver.Resource(statuses).Namespace(l.first[i].Namespace).Patch(ctx, l.first[i].Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// touch patches something of every workload of the first class, as fast as it
// goes, and answers how long that took. It is a label, because an annotation
// counts up the generation of a Deployment, which no controller is there to observe.
func (l *lot) touch(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	err := each(ctx, l.classSize, l.touchOne)
	return time.Since(begin), err
}

func (l *lot) touchOne(ctx context.Context, i int) error {
	_, err := l.kube.AppsV1().Deployments(l.namespace(i)).Patch(ctx, l.workload(i), types.MergePatchType, touched(), metav1.PatchOptions{})
	return err
}

func touched() []byte {
	return fmt.Appendf(nil, `{"metadata":{"labels":{"example.com/touched":"%d"}}}`, time.Now().UnixNano())
}

// deliverBare is the least that a rotation takes: each status of the first class
// is patched, and its workload right after the first of them. Nothing rotates.
func (l *lot) deliverBare(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	touching := make([]atomic.Bool, l.classSize)
	err := each(ctx, len(l.first), func(ctx context.Context, i int) error {
		s := l.first[i]
		notTheDriver := metav1.PatchOptions{FieldManager: "bench"}
		_, err := l.driver.Resource(statuses).Namespace(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, touched(), notTheDriver)
		if err != nil || touching[s.workload].Swap(true) {
			return err
		}
		return l.touchOne(ctx, s.workload)
	})
	return time.Since(begin), err
}
