package watcher

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"keyroll.dev/internal/annotation"
)

// fieldManager is the name under which the watcher changes workloads.
const fieldManager = "keyroll-watcher"

// key identifies a workload in queues and maps.
type key struct {
	kind      schema.GroupKind
	namespace string
	name      string
}

func (k key) String() string { return k.kind.Kind + " " + k.namespace + "/" + k.name }

// The kinds that are always watched.
var (
	deployments  = appsv1.SchemeGroupVersion.WithKind("Deployment")
	statefulSets = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	daemonSets   = appsv1.SchemeGroupVersion.WithKind("DaemonSet")
	cronJobs     = batchv1.SchemeGroupVersion.WithKind("CronJob")
	replicaSets  = appsv1.SchemeGroupVersion.WithKind("ReplicaSet") // a workload where nothing that is watched controls it, else a link
	pods         = corev1.SchemeGroupVersion.WithKind("Pod")        // a workload where nothing that is watched controls it
)

// workload is the view of an object that has a pod template, of whatever kind.
type workload struct {
	metav1.ObjectMeta // with our annotations

	kind     schema.GroupVersionKind
	owner    owner
	fixed    bool              // a new template would replace no pod
	cause    *string           // change-cause; nil when absent
	template map[string]string // our annotations on the pod template
	settings annotation.Settings
	account  string    // ServiceAccount of the pod template
	reloads  *reloads  // what it asks for by Reloader's annotations; nil for nothing, and where they are not honored
	traces   traces    // what Reloader wrote into it
	rolled   time.Time // when the watcher last changed it
	observed int64     // status.observedGeneration
	revision string    // the newest, by kind: a number or a hash; "" when the kind tells none

	paused    bool
	onDelete  bool
	partition int32 // StatefulSet: ordinals below it keep the old revision
	replicas  int32
	complete  bool // its own status says that the newest revision is out
	untold    bool // its own status says nothing of that
}

func (w *workload) key() key {
	return key{kind: w.kind.GroupKind(), namespace: w.Namespace, name: w.Name}
}

func (w *workload) stamp() string { return w.template[annotation.Content] }

// asked answers the annotations that the workload makes its wishes known by:
// the template's, and where that is silent those of the workload itself.
func (w *workload) asked() map[string]string {
	asked := map[string]string{}
	for key, value := range w.Annotations {
		asked[key] = value
	}
	for _, key := range w.unheard() {
		delete(asked, key)
	}
	for key, value := range w.template {
		asked[key] = value
	}
	return asked
}

// lens makes the views of workloads.
type lens struct {
	reloader bool        // with Reloader's annotations
	owners   []OwnerKind // that are watched besides Kubernetes' own
}

// watched reports whether owners of that kind are known, as workloads or as links to them.
func (l lens) watched(kind schema.GroupKind) bool {
	switch kind {
	case deployments.GroupKind(), statefulSets.GroupKind(), daemonSets.GroupKind(), cronJobs.GroupKind(), replicaSets.GroupKind():
		return true
	}
	return slices.ContainsFunc(l.owners, func(o OwnerKind) bool { return o.Kind.GroupKind() == kind })
}

func (l lens) workload(kind schema.GroupVersionKind, m *metav1.ObjectMeta, template *corev1.PodTemplateSpec) *workload {
	w := &workload{
		ObjectMeta: identity(m),
		kind:       kind,
		owner:      ownerOf(m),
		template:   keep(template.Annotations, isOurs),
		account:    template.Spec.ServiceAccountName,
		rolled:     writtenBy(m.ManagedFields, fieldManager),
		traces:     tracesOf(m, template),
	}
	if l.reloader {
		w.reloads = reloadsOf(m, template)
	}
	w.Annotations = keep(m.Annotations, isOurs)
	// What is wrong with them was answered to whoever wrote them, by the webhook.
	w.settings, _ = annotation.Parse(w.asked())
	if cause, present := m.Annotations[annotation.ChangeCause]; present {
		w.cause = &cause
	}
	return w
}

func (l lens) deployment(d *appsv1.Deployment) *workload {
	w := l.workload(deployments, &d.ObjectMeta, &d.Spec.Template)
	w.observed = d.Status.ObservedGeneration
	w.revision = d.Annotations[revisionAnnotation]
	w.paused = d.Spec.Paused
	w.replicas = orOne(d.Spec.Replicas)
	// As kubectl rollout status has it: none of the old left, all of the new available.
	w.complete = w.observed >= w.Generation &&
		d.Status.UpdatedReplicas == w.replicas &&
		d.Status.Replicas == w.replicas &&
		d.Status.AvailableReplicas == w.replicas
	return w
}

func (l lens) statefulSet(s *appsv1.StatefulSet) *workload {
	w := l.workload(statefulSets, &s.ObjectMeta, &s.Spec.Template)
	w.observed = s.Status.ObservedGeneration
	w.revision = s.Status.UpdateRevision
	w.onDelete = s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType
	w.replicas = orOne(s.Spec.Replicas)
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		w.partition = *rolling.Partition
	}
	w.complete = w.observed >= w.Generation &&
		s.Status.UpdatedReplicas >= max(0, w.replicas-w.partition) &&
		s.Status.AvailableReplicas >= w.replicas
	// A partition counts from the first ordinal (kubernetes v1.37
	// pkg/controller/statefulset/stateful_set_utils.go, newVersionedStatefulSetPod).
	if w.partition > 0 && s.Spec.Ordinals != nil {
		w.partition += s.Spec.Ordinals.Start
	}
	return w
}

func (l lens) daemonSet(d *appsv1.DaemonSet) *workload {
	w := l.workload(daemonSets, &d.ObjectMeta, &d.Spec.Template)
	w.observed = d.Status.ObservedGeneration
	w.onDelete = d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	w.replicas = d.Status.DesiredNumberScheduled
	w.complete = w.observed >= w.Generation &&
		d.Status.UpdatedNumberScheduled >= w.replicas &&
		d.Status.NumberAvailable >= w.replicas
	return w
}

// cronJob views a CronJob, whose next Job takes the newest content by
// itself: it is looked after for its class, and for what the webhook missed.
func (l lens) cronJob(j *batchv1.CronJob) *workload {
	w := l.workload(cronJobs, &j.ObjectMeta, &j.Spec.JobTemplate.Spec.Template)
	w.fixed = true
	return w
}

// orOne is the API's own default for replicas.
func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}
