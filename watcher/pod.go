package watcher

import (
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
)

// pod is the view of a Pod.
type pod struct {
	object

	owner     owner
	revision  string // label controller-revision-hash
	record    string // annotation keyroll.dev/dependencies
	stamp     string // annotation keyroll.dev/content
	injected  bool
	asked     map[string]string // annotations that ask Keyroll for something, where they are read: see wishes
	account   string            // ServiceAccount
	principal bool              // reads the vault with credentials of its own
	classes   []string
	secrets   map[string]use
	finished  bool
	ready     bool
	ordinal   int32
	node      string
	// started is when the longest-running of the running containers that take
	// secret content began; zero while none runs. See startedOf for init containers.
	started time.Time
	trouble string // why it is not running, in the API's own words
}

// owner names the controller of an object. The zero value means none.
type owner struct {
	apiVersion string
	kind       string
	name       string
	uid        types.UID
}

func (o owner) groupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(o.apiVersion, o.kind).GroupKind()
}

func ownerOf(m *metav1.ObjectMeta) owner {
	ref := metav1.GetControllerOfNoCopy(m)
	if ref == nil {
		return owner{}
	}
	return owner{apiVersion: shared(ref.APIVersion), kind: shared(ref.Kind), name: shared(ref.Name), uid: shared(ref.UID)}
}

// loose reports whether no template that could be stamped stands behind the
// pod: it is bare, or of a Job or another owner that is not watched. For what
// such an owner has by way of a ReplicaSet, that one stands.
func (p *pod) loose(c *caches) bool {
	return p.owner.uid == "" || !c.see.watched(p.owner.groupKind())
}

// alone is the pod seen as a workload that nobody can roll.
func (p *pod) alone() *workload {
	w := &workload{ObjectMeta: p.meta(), kind: pods, owner: p.owner, fixed: true, template: p.asked, account: p.account, replicas: 1}
	w.settings, _ = annotation.Parse(p.asked)
	return w
}

// missed reports whether the pod asks for an injection that it did not get.
func (p *pod) missed() bool {
	_, objects := p.asked[annotation.Objects]
	_, class := p.asked[annotation.SecretProviderClass]
	return !p.injected && !p.finished && (objects || class) && strings.TrimSpace(p.asked[annotation.Inject]) != "false"
}

func slimPod(p *corev1.Pod) *pod {
	uses := referencesOf(&p.Spec)
	slim := &pod{
		object:    objectOf(&p.ObjectMeta),
		owner:     ownerOf(&p.ObjectMeta),
		revision:  shared(p.Labels[appsv1.ControllerRevisionHashLabelKey]),
		record:    shared(p.Annotations[annotation.Dependencies]),
		stamp:     shared(p.Annotations[annotation.Content]),
		injected:  p.Labels[annotation.InjectedLabel] == "true",
		account:   shared(p.Spec.ServiceAccountName),
		principal: uses.principal,
		classes:   uses.classes,
		secrets:   uses.secrets,
		finished:  p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		ready:     isReady(p),
		ordinal:   ordinalOf(p),
		node:      shared(p.Spec.NodeName),
		started:   startedOf(p, uses.consumers),
		trouble:   troubleOf(p),
	}
	slim.asked = slim.wishes(p)
	return slim
}

// wishes are the annotations of a pod that speaks for itself: one that was not
// injected, or that no template stands behind. Of all others, which are most,
// the template's are read.
func (p *pod) wishes(full *corev1.Pod) map[string]string {
	if p.injected {
		switch p.owner.groupKind() {
		case replicaSets.GroupKind(), statefulSets.GroupKind(), daemonSets.GroupKind():
			return nil
		}
	}
	return keep(full.Annotations, annotation.IsInput)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ordinalOf answers the place of a StatefulSet's pod, which ends its name.
func ordinalOf(p *corev1.Pod) int32 {
	text, labelled := p.Labels[appsv1.PodIndexLabel]
	if !labelled {
		text = p.Name[strings.LastIndex(p.Name, "-")+1:]
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// startedOf leaves out containers that take no secret content: a side-car that
// has run for months says nothing about what the application started with.
// Where init containers alone take any, the application has it from them.
func startedOf(p *corev1.Pod, consumers map[string]bool) time.Time {
	takes := func(name string) bool { return len(consumers) == 0 || consumers[name] }
	sidecars, lasting := map[string]bool{}, false
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		sidecars[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		lasting = lasting || sidecars[c.Name] && takes(c.Name)
	}
	for i := range p.Spec.Containers {
		lasting = lasting || takes(p.Spec.Containers[i].Name)
	}
	if !lasting {
		return readByInit(p, consumers)
	}
	started := startOf(p.Status.ContainerStatuses, takes)
	return earlier(started, startOf(p.Status.InitContainerStatuses, func(name string) bool { return sidecars[name] && takes(name) }))
}

// readByInit is when init containers began to read what the application runs on.
// They do not run again when that crashes. If kubelet tells no more, it was
// before the application started.
func readByInit(p *corev1.Pod, consumers map[string]bool) time.Time {
	var first time.Time
	for i := range p.Status.InitContainerStatuses {
		status := &p.Status.InitContainerStatuses[i]
		if ended := status.State.Terminated; ended != nil && ended.ExitCode == 0 && consumers[status.Name] {
			first = earlier(first, ended.StartedAt.Time)
		}
	}
	if !first.IsZero() {
		return first
	}
	return startOf(p.Status.ContainerStatuses, func(string) bool { return true })
}

// startOf is when the longest-running of some containers began, zero while none runs.
func startOf(statuses []corev1.ContainerStatus, counts func(name string) bool) time.Time {
	var first time.Time
	for i := range statuses {
		if running := statuses[i].State.Running; running != nil && counts(statuses[i].Name) {
			first = earlier(first, running.StartedAt.Time)
		}
	}
	return first
}

// earlier is the earlier of two times; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// troubleOf answers the first reason that the API gives for a pod that does not
// run: names only, never a message, which may quote anything.
func troubleOf(p *corev1.Pod) string {
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			waiting := statuses[i].State.Waiting
			if waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing" {
				return waiting.Reason + " (container " + statuses[i].Name + ")"
			}
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason
		}
	}
	return ""
}
