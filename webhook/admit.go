package webhook

import (
	"context"
	"errors"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/jsonread"
	"keyroll.dev/webhook/inject"
)

// Cluster is what is known of the cluster, from caches alone.
type Cluster interface {
	// Namespace answers a namespace, and whether there is one.
	Namespace(name string) (dependency.Namespace, bool)
	// Accounts finds the ServiceAccounts of a namespace.
	Accounts(namespace string) dependency.Accounts
	// Classes finds the SecretProviderClasses of a namespace; nil where they are not known.
	Classes(namespace string) inject.Classes
}

// podSubject is a pod. It is read on the way through the review: nothing of it
// is looked at twice.
type podSubject struct {
	pod inject.Pod
	err error // why it could not be read
}

func newPodSubject() subject { return &podSubject{err: errors.New("the request holds no object")} }

func (s *podSubject) read(r *jsonread.Reader)    { s.pod, s.err = inject.ReadPod(r) }
func (s *podSubject) readOld(r *jsonread.Reader) { r.Skip() }

// admit decides about the pod.
func (s *podSubject) admit(ctx context.Context, h *Handler, q *question) answer {
	switch {
	case q.Group != "" || q.Resource != "pods" || q.SubResource != "":
		return wrongResource(q, "pods")
	case q.Operation != admissionv1.Create:
		return answer{outcome: Unchanged, reason: OperationNotHandled}
	case s.err != nil:
		return failed(MalformedObject, http.StatusBadRequest, "%v", s.err)
	}
	if !q.share.take(ctx, s.pod.MostAdditions(s.pod.Metadata.Annotations)/commonAdditions) {
		return unreadable(errBusy)
	}
	return h.patiently(ctx, func() (answer, bool) {
		// The name in the object may be empty: the request's counts.
		namespace, known := h.cluster.Namespace(q.Namespace)
		if !known {
			return namespaceUnknown(q.Namespace), false
		}
		p := inject.NewPlan(inject.Input{
			Pod: s.pod, Namespace: namespace, Fallback: h.fallback,
			Accounts: h.cluster.Accounts(q.Namespace), Classes: h.cluster.Classes(q.Namespace),
		})
		if p.Reason == inject.NamespaceNotEnabled {
			return namespaceNotEnabled(q.Namespace), false
		}
		return answerOf(p.Reason, p.Problems.Err(), p.Patch(), p.Warnings), !p.Unsettled
	})
}

// namespaceUnknown answers for a namespace that no cache has heard of. Letting
// the object in would let it in without its secrets.
func namespaceUnknown(name string) answer {
	return failed(NamespaceUnknown, http.StatusServiceUnavailable, "namespace %q is not known here yet; try again", name)
}

// namespaceNotEnabled answers for a pod of a namespace whose label is not known
// here. The API server knows of it, or it would not have asked.
func namespaceNotEnabled(name string) answer {
	return failed(inject.NamespaceNotEnabled, http.StatusServiceUnavailable,
		"the webhook's configuration selects namespace %q, but no label %s=%s is known here (yet); try again, then look at the label and at the configuration",
		name, annotation.InjectionLabel, annotation.InjectionEnabled)
}

func wrongResource(q *question, want string) answer {
	return failed(WrongResource, http.StatusBadRequest, "this webhook is for %s, not for %q of group %q, subresource %q",
		want, q.Resource, q.Group, q.SubResource)
}

// patiently asks again, as long as Patience and the request's time allow, for
// an answer that is settled.
func (h *Handler) patiently(ctx context.Context, decide func() (a answer, settled bool)) answer {
	const pause = 20 * time.Millisecond
	a, settled := decide()
	for waited := time.Duration(0); !settled && waited < h.patience; waited += pause {
		select {
		case <-ctx.Done():
			return a
		case <-time.After(pause):
		}
		a, settled = decide()
	}
	return a
}
