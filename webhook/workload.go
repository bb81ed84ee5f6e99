package webhook

import (
	"context"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/jsonread"
	"keyroll.dev/webhook/inject"
)

// workloads are the resources with a pod template that are handled.
var workloads = map[string]bool{
	"apps/deployments":  true,
	"apps/statefulsets": true,
	"apps/daemonsets":   true,
	"apps/replicasets":  true,
	"batch/jobs":        true,
	"batch/cronjobs":    true,
}

// workloadSubject is an object that has a pod template, as it stands in the
// review, and the one before an update. They are read when the kind is known.
type workloadSubject struct {
	object, old []byte
}

func newWorkloadSubject() subject { return &workloadSubject{} }

func (s *workloadSubject) read(r *jsonread.Reader)    { s.object = r.Raw() }
func (s *workloadSubject) readOld(r *jsonread.Reader) { s.old = r.Raw() }

// admit decides about the workload.
func (s *workloadSubject) admit(ctx context.Context, h *Handler, q *question) answer {
	switch {
	case !workloads[q.Group+"/"+q.Resource] || q.SubResource != "":
		return wrongResource(q, "workloads")
	case q.Operation != admissionv1.Create && q.Operation != admissionv1.Update:
		return answer{outcome: Unchanged, reason: OperationNotHandled}
	}
	in := inject.WorkloadInput{Kind: q.Kind, Fallback: h.fallback}
	var err error
	if in.New, err = inject.DecodeWorkload(in.Kind, s.object); err != nil {
		return failed(MalformedObject, http.StatusBadRequest, "%v", err)
	}
	if q.Operation == admissionv1.Update {
		if in.Old, err = inject.DecodeWorkload(in.Kind, s.old); err != nil {
			return failed(MalformedObject, http.StatusBadRequest, "old object: %v", err)
		}
	}
	if !q.share.take(ctx, (in.New.MostAdditions()+in.Old.MostAdditions())/commonAdditions) {
		return unreadable(errBusy)
	}
	return h.patiently(ctx, func() (answer, bool) {
		var known bool
		if in.Namespace, known = h.cluster.Namespace(q.Namespace); !known {
			// Its pods will be looked at: here it is enough to do nothing.
			return answer{outcome: Unchanged, reason: NamespaceUnknown}, false
		}
		in.Accounts, in.Classes = h.cluster.Accounts(q.Namespace), h.cluster.Classes(q.Namespace)
		p := inject.NewWorkloadPlan(in)
		return answerOf(p.Reason, p.Problems.Err(), p.Patch(), p.Warnings), !p.Unsettled
	})
}
