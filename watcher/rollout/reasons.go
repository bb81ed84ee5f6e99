package rollout

import "slices"

// Reason says why: of a [Decision] or of a [Verdict]. It serves as log field,
// metric label and Event reason alike, so the set is small and fixed.
type Reason string

// Reasons to roll.
const (
	// ContentChanged: the content of a mounted class changed after a pod started.
	ContentChanged Reason = "ContentChanged"
	// SecretChanged: a synced Secret differs from the one that a pod started with.
	SecretChanged Reason = "SecretChanged"
)

// Reasons to wait.
const (
	// NotObserved: the workload's controller has not yet seen its newest generation, so its newest pods are not known.
	NotObserved Reason = "NotObserved"
	// RolledRecently: the last rollout of ours is younger than Options.MinInterval.
	RolledRecently Reason = "RolledRecently"
	// RolloutUndone: somebody else took the stamps of the last rollouts away, each before its end.
	RolloutUndone Reason = "RolloutUndone"
	// Gathering: content has just changed; what changes together is rolled together.
	Gathering Reason = "Gathering"
	// SecretSettling: a synced Secret does not certainly hold the new content yet.
	SecretSettling Reason = "SecretSettling"
	// StatusesDisagree: pods that feed a synced Secret hold different versions, so it may flip back.
	StatusesDisagree Reason = "StatusesDisagree"
	// SecretMissing: a synced Secret that new pods need does not exist.
	SecretMissing Reason = "SecretMissing"
	// SecretFlips: a synced Secret went back to content that was answered already, while the
	// versions that feed it stayed: two writers fight over it.
	SecretFlips Reason = "SecretFlips"
	// SecretEdited: a synced Secret changed although the objects that feed it did not; the driver
	// will put it back, or else the change has to last.
	SecretEdited Reason = "SecretEdited"
	// TooManyRollouts: Options.MaxParallel rollouts are under way.
	TooManyRollouts Reason = "TooManyRollouts"
)

// Reasons to leave a workload alone whose pods are stale.
const (
	// RestartNever: the workload asks never to be rolled.
	RestartNever Reason = "RestartNever"
	// Paused: the workload's rollouts are paused.
	Paused Reason = "Paused"
	// OnDelete: the update strategy replaces pods only when somebody deletes them.
	OnDelete Reason = "OnDelete"
	// NotReplaced: the stale pods bear the newest stamp and are older than it, so their controller
	// changes pods in place, and no stamp starts their containers again.
	NotReplaced Reason = "NotReplaced"
	// BelowPartition: every stale pod is below the StatefulSet's partition.
	BelowPartition Reason = "BelowPartition"
	// RolloutStuck: a rollout of the workload has made no progress for Options.StuckAfter.
	RolloutStuck Reason = "RolloutStuck"
	// NotRestartable: a bare pod, a stand-alone ReplicaSet or a Job has no template to stamp,
	// nor have other owners that take theirs from elsewhere or are not watched.
	NotRestartable Reason = "NotRestartable"
)

// Reasons to leave a workload alone, nothing being stale.
const (
	// UpToDate: every pod runs on the newest content that is known.
	UpToDate Reason = "UpToDate"
	// Deleting: the workload is being deleted.
	Deleting Reason = "Deleting"
	// ScaledToZero: no pods are wanted; those that come later start on the newest content.
	ScaledToZero Reason = "ScaledToZero"
	// NoPods: no pod of the newest revision is there yet.
	NoPods Reason = "NoPods"
)

// Reasons of a verdict on a pod; the unknown ones also of a decision.
const (
	// Starting: no container runs; what starts next reads what is there then.
	Starting Reason = "Starting"
	// Finished: the pod is being deleted or has ended.
	Finished Reason = "Finished"
	// Unchanged: the content is what the pod's first mount brought.
	Unchanged Reason = "Unchanged"
	// StartedSince: the containers started after the last change.
	StartedSince Reason = "StartedSince"
	// SameAgain: the content changed, and is again what the pod started with.
	SameAgain Reason = "SameAgain"
	// StatusMissing: the driver has written no status for a running pod.
	StatusMissing Reason = "StatusMissing"
	// StatusForeign: the status belongs to another pod of the same name.
	StatusForeign Reason = "StatusForeign"
	// StatusInherited: the status is older than the pod, and nothing is known to compare it with.
	StatusInherited Reason = "StatusInherited"
	// StatusRecreated: the status is younger than the containers, and nothing is known to compare it with.
	StatusRecreated Reason = "StatusRecreated"
	// MountedTwice: one class in two volumes of the pod makes its status change for ever,
	// and nothing is known to compare it with.
	MountedTwice Reason = "MountedTwice"
	// StatusUntold: the status carries no time of its last change, and nothing is known to compare it with.
	StatusUntold Reason = "StatusUntold"
)

// The Reasons by what they are given for, for metrics that are shown before they
// are counted and for the documents.
var (
	RollReasons    = []Reason{ContentChanged, SecretChanged}
	WaitReasons    = []Reason{NotObserved, RolledRecently, RolloutUndone, Gathering, SecretSettling, StatusesDisagree, SecretMissing, SecretFlips, SecretEdited, TooManyRollouts}
	LeaveReasons   = []Reason{RestartNever, Paused, OnDelete, NotReplaced, BelowPartition, RolloutStuck, NotRestartable}
	RestReasons    = []Reason{UpToDate, Deleting, ScaledToZero, NoPods}
	FreshReasons   = []Reason{Starting, Finished, Unchanged, StartedSince, SameAgain}
	UnknownReasons = []Reason{StatusMissing, StatusForeign, StatusInherited, StatusRecreated, MountedTwice, StatusUntold}
)

// Reasons lists every Reason.
var Reasons = slices.Concat(RollReasons, WaitReasons, LeaveReasons, RestReasons, FreshReasons, UnknownReasons)
