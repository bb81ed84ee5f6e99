// Package inject decides what the webhook changes in a pod or a workload. It
// is pure: data in, a plan out, and no client, clock, log or environment.
//
//	raw JSON ─► ReadPod ────────► NewPlan ─────────► Plan.Patch
//	raw JSON ─► DecodeWorkload ─► NewWorkloadPlan ─► WorkloadPlan.Patch
//
// Objects are decoded once, into views that know only the fields that a
// decision reads. They are never encoded again: a patch is a list of targeted
// JSON patch operations, so a field that these types have never heard of
// survives.
//
// For a pod:
//
//	mirror pod, namespace not enabled, not asked, opted out   nothing
//	something wrong                                           Plan.Problems, all of them
//	else                                                      volume, mounts, env, label, account, record
//
// A second pass over an injected pod is empty: whatever is there already is
// not added again. A volume of an older pass, under other defaults, is changed
// where it stands.
//
// For a workload, whose pods are not there yet, the same checks run on its
// template; and the annotations that stand on the workload itself are copied
// into the template (see [NewWorkloadPlan]).
package inject
