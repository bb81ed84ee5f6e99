package webhook

import (
	"context"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"

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

// admitWorkload decides about an object that has a pod template.
func (h *Handler) admitWorkload(ctx context.Context, r *question) answer {
	switch {
	case !workloads[r.Group+"/"+r.Resource] || r.SubResource != "":
		return wrongResource(r, "workloads")
	case r.Operation != admissionv1.Create && r.Operation != admissionv1.Update:
		return answer{outcome: Unchanged, reason: OperationNotHandled}
	}
	in := inject.WorkloadInput{Kind: r.Kind, Fallback: h.fallback}
	var err error
	if in.New, err = inject.DecodeWorkload(in.Kind, r.Object); err != nil {
		return failed(MalformedObject, http.StatusBadRequest, "%v", err)
	}
	if r.Operation == admissionv1.Update {
		if in.Old, err = inject.DecodeWorkload(in.Kind, r.OldObject); err != nil {
			return failed(MalformedObject, http.StatusBadRequest, "old object: %v", err)
		}
	}
	return h.patiently(ctx, func() (answer, bool) {
		var known bool
		if in.Namespace, known = h.cluster.Namespace(r.Namespace); !known {
			// Its pods will be looked at: here it is enough to do nothing.
			return answer{outcome: Unchanged, reason: NamespaceUnknown}, false
		}
		in.Accounts, in.Classes = h.cluster.Accounts(r.Namespace), h.cluster.Classes(r.Namespace)
		p := inject.NewWorkloadPlan(in)
		return answerOf(p.Reason, p.Problems.Err(), p.Patch(), p.Warnings), !p.Unsettled
	})
}
