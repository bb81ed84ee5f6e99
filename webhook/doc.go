// Package webhook answers the API server's admission reviews.
//
//	POST /pods       pods, CREATE          what their annotations ask for
//	POST /workloads  Deployments and such  their annotations copied into the template, checked
//
// A request goes
//
//	Handler   bounded body ─► what is read of the review ─► bounded time, panics caught and counted
//	admit     what is read of the object + Cluster (caches) ─► inject.NewPlan or NewWorkloadPlan
//	answer    patch, refusal or nothing ─► AdmissionReview, metrics, log
//
// Deciding is a pure function in webhook/inject. Nothing is written to and
// nothing is asked of the API server while a request is answered: what must be
// known stands in the caches of [Cluster]. Because a cache lags behind the API
// server by milliseconds, an answer that hangs on something missing is held
// back for a moment (Config.Patience) and looked at again, so that
// "kubectl label namespace" followed at once by "kubectl apply" does what it says.
//
// Where a request fails before it is understood, or the handler panics, and
// whatever else fails about a workload, the answer is an HTTP error, so that the
// failurePolicy of the webhook decides: pods are refused, workloads let in.
package webhook
