package watcher

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// revisionAnnotation numbers a Deployment's ReplicaSets and is copied to the
// Deployment itself (kubernetes pkg/controller/deployment/util).
const revisionAnnotation = "deployment.kubernetes.io/revision"

// revision is the view of what stands between a workload and its pods as a
// state of its template: a ReplicaSet or a ControllerRevision.
type revision struct {
	metav1.ObjectMeta

	owner  owner
	number int64
	hash   string // of a ControllerRevision: what its pods are labelled with
	// alone is a ReplicaSet without a controller that is watched, as a workload. A
	// new template does not replace its pods, so nothing can roll it.
	alone *workload
}

func (l lens) replicaSet(r *appsv1.ReplicaSet) *revision {
	slim := &revision{
		ObjectMeta: identity(&r.ObjectMeta),
		owner:      ownerOf(&r.ObjectMeta),
		number:     parseRevision(r.Annotations[revisionAnnotation]),
	}
	if slim.owner.uid == "" || !l.watched(slim.owner.groupKind()) {
		slim.alone = l.workload(replicaSets, &r.ObjectMeta, &r.Spec.Template)
		slim.alone.fixed = true
		slim.alone.replicas = orOne(r.Spec.Replicas)
	}
	return slim
}

func slimControllerRevision(r *appsv1.ControllerRevision) *revision {
	return &revision{
		ObjectMeta: identity(&r.ObjectMeta),
		owner:      ownerOf(&r.ObjectMeta),
		number:     r.Revision,
		hash:       r.Labels[appsv1.ControllerRevisionHashLabelKey],
	}
}

// parseRevision answers 0, which no revision has, for what is no number.
func parseRevision(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// newest answers the revision with the highest number, nil for none.
func newest(revisions []*revision) *revision {
	var highest *revision
	for _, r := range revisions {
		if highest == nil || r.number > highest.number {
			highest = r
		}
	}
	return highest
}
