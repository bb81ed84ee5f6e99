package webhook

import (
	"context"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/dependency"
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

// admitPod decides about a pod.
func (h *Handler) admitPod(ctx context.Context, r *question) answer {
	switch {
	case r.Group != "" || r.Resource != "pods" || r.SubResource != "":
		return wrongResource(r, "pods")
	case r.Operation != admissionv1.Create:
		return answer{outcome: Unchanged, reason: OperationNotHandled}
	}
	pod, err := inject.DecodePod(r.Object)
	if err != nil {
		return failed(MalformedObject, http.StatusBadRequest, "%v", err)
	}
	return h.patiently(ctx, func() (answer, bool) {
		// The name in the object may be empty: the request's counts.
		namespace, known := h.cluster.Namespace(r.Namespace)
		if !known {
			return namespaceUnknown(r.Namespace), false
		}
		p := inject.NewPlan(inject.Input{
			Pod: pod, Namespace: namespace, Fallback: h.fallback,
			Accounts: h.cluster.Accounts(r.Namespace), Classes: h.cluster.Classes(r.Namespace),
		})
		return answerOf(p.Reason, p.Problems.Err(), p.Patch(), p.Warnings), !p.Unsettled
	})
}

// namespaceUnknown answers for a namespace that no cache has heard of. Letting
// the object in would let it in without its secrets.
func namespaceUnknown(name string) answer {
	return failed(NamespaceUnknown, http.StatusServiceUnavailable, "namespace %q is not known here yet; try again", name)
}

func wrongResource(r *question, want string) answer {
	return failed(WrongResource, http.StatusBadRequest, "this webhook is for %s, not for %q of group %q, subresource %q",
		want, r.Resource, r.Group, r.SubResource)
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
