// Package annotation is the contract with the people who annotate workloads
// and namespaces: its keys, what their values may be, and what is answered
// when they are wrong.
//
//	annotations of a workload or pod template ── Parse ──────────► Settings, Problems
//	annotations of a namespace ───────────────── ParseNamespace ─► Defaults, Problems
//
// Both collect every problem of one object, in the order of [Table] and with
// unknown keys last, so that one answer is enough to mend all of it. Settings
// and Defaults hold only what is right: an annotation that is absent or wrong
// leaves its field zero, and a list has its valid entries. So where there are
// Problems they are not to be acted upon, but a namespace's allowed vaults are
// a restriction even then.
//
// The package is pure. What the settings come to together with a namespace and
// a ServiceAccount is decided in internal/dependency.
package annotation
