// Package rollout decides whether a workload must be rolled so that its pods run
// on the content that the vault now holds. It is pure: plain data in, plain data
// out, no client, no clock.
//
//	State ─► judge every pod ─► observe (baseline, memory) ─► checks in order ─► Decision
//
// Whether a pod is stale is told by the driver's own object wherever it can be,
// so that a watcher which was down, is new, or lost its leadership answers the
// same (see [Judge]). Two kinds of knowledge refine that:
//
//   - [Memory]: what each pod started with, as far as this process saw it. It may be lost.
//   - [Baseline]: what all pods of the workload ran on at some time. It is kept in a
//     ledger, and repairs itself from the stamp when a write of it was lost.
//
// Then the list of checks in decide.go is the specification: the first one that
// speaks ends the matter, and what no check holds back rolls.
//
//	nobody stale ─────────────► None  UpToDate, or why it cannot be known
//	may not or cannot roll ───► None  RestartNever, Paused, OnDelete, BelowPartition, RolloutStuck, ...
//	may not roll yet ─────────► Wait  RolledRecently, RolloutUndone, SecretSettling, TooManyRollouts, ...
//	otherwise ────────────────► Roll  ContentChanged, SecretChanged
package rollout
