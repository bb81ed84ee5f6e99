// Package reloader reads the annotations of Stakater's Reloader, so that
// workloads written for it are rolled by the watcher as they stand. It is pure.
//
//	annotations of workload and template ─► Parse ─► Wishes ─► Follows(name, Marks)
//	annotations of Secret or class ───────► MarksOf ─► Marks ──────┘
//
// Whether a workload follows a Secret or a SecretProviderClass is told by the
// first that applies (Reloader v1.4.21, pkg/common ShouldReload):
//
//	the workload or its template says ignore      follows nothing
//	the Secret or class says ignore               Excluded
//	it is in a list of exclusions                 Excluded
//	its name is in the reload list                Named: whether or not the pods take from it
//	the workload says search, it says match       Used: where the pods take from it
//	the workload says auto, generic or by kind    Used
//	otherwise                                     Not
//
// The keys of a kind (its reload list, its auto, the generic auto, search) are
// read from the workload if any of them is there, whatever its value, else from
// the template. Different from Reloader, and each on the safe side:
//
//   - an empty element of a list names nothing; Reloader's is the expression ^$
//   - an element is one expression, a|b is ^(?:a|b)$; Reloader's is ^a or b$
//   - lists and expressions are bounded, and expressions speak of ASCII alone, as names do
//   - exclusions and ignore count on the template too
//   - there is no auto-reload-all: without an annotation nothing is followed
package reloader
