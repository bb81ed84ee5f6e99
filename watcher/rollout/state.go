package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// State is all that [Decide] knows of one workload at one moment. Three clocks
// meet in it: the API server's (Created, Changed, Rolled), the node's (Started)
// and the watcher's (Since, and the now that Decide is given).
type State struct {
	Workload Workload
	Pods     []Pod
	// Classes by name: every SecretProviderClass that a pod of the workload
	// mounts, and every one that writes one of Secrets.
	Classes map[string]Class
	// Secrets by name: every driver-managed Secret that the newest template consumes.
	Secrets  map[string]Secret
	Driver   Driver
	Underway int      // other workloads whose last Decision said Underway, or Roll and was done
	Patched  string   // stamp of the last Roll that was done; "" after a start of the watcher
	Writer   string   // who else writes the pod template, for people; "" where it is not known
	Baseline Baseline // what the ledger holds for this UID; zero: none
	Memory   Memory   // what the last Decision returned; zero after a start of the watcher
}

// Workload is the owner whose pod template is stamped.
type Workload struct {
	UID                types.UID
	Kind               string
	Namespace          string
	Name               string
	Generation         int64
	ObservedGeneration int64
	Revision           string // tells the newest template from those before it, as far as it is known; "" where nothing tells
	Fixed              bool   // nothing to stamp: a bare pod, a stand-alone ReplicaSet, a Job
	Deleting           bool
	Paused             bool
	OnDelete           bool      // updateStrategy OnDelete: a stamp would replace no pod
	InPlace            bool      // its controller may change pods in place, so that they bear a stamp that did not replace them
	Partition          int32     // StatefulSet: ordinals below it keep the old revision
	Replicas           int32     // desired; for a DaemonSet desiredNumberScheduled
	Never              bool      // keyroll.dev/restart: never
	Complete           bool      // every pod that is wanted is there, of the newest revision, and available; pods on dead nodes do not count
	Stamp              string    // keyroll.dev/content of the pod template
	Rolled             time.Time // when the watcher last stamped it (its managedFields entry), zero for never
}

// Pod is one pod of the workload, of whatever revision.
type Pod struct {
	Name    string
	UID     types.UID
	Created time.Time
	// Current: of the workload's newest revision as its controller reports it.
	// A pod whose Stamp is not the template's is never taken for current, whatever is said here.
	Current  bool
	Finished bool // being deleted, Succeeded or Failed
	Ordinal  int32
	Stamp    string // keyroll.dev/content of the pod
	// Started is when the longest-running of the containers now running began,
	// by the node's clock; native sidecars count, other init containers do not.
	// Where init containers alone take content, when they did. Zero while none runs:
	// what starts next reads what is there then.
	Started time.Time
	Mounts  []Mount
}

// Mount is one CSI volume of a pod. A class that is mounted twice stands here
// twice: its two volumes share one status.
type Mount struct {
	Class  string
	Status *Status // nil: the driver has written none yet
}

// Status is what a SecretProviderClassPodStatus tells.
type Status struct {
	Generation int64 // 0 where it tells nothing: the CRD has a status subresource
	Created    time.Time
	Changed    time.Time // the driver's own managedFields entry
	Owner      types.UID // of the pod in its ownerReference
	Target     types.UID // of the pod in status.targetPath, "" where it cannot be read
	Versions   map[string]string
}

// Class tells which Secrets a SecretProviderClass feeds and from which objects.
type Class struct {
	Vault string // for people; "" where it is not known
	// Synced maps each synced Secret to the object ids whose content it holds; nil ids: unknown, take all.
	Synced map[string][]string
	// Feeds are the live statuses of the class in the namespace, of all
	// workloads, whose pod is not finished.
	Feeds []Status
}

// Secret is what is known of a driver-managed Secret.
type Secret struct {
	// Digest of the data, keyed; "" when the Secret does not exist.
	Digest string
	// Since is when this watcher saw the digest become this one. Zero: it was so at first
	// sight. It stays when the Secret is deleted and comes back with the same digest.
	Since time.Time
	// Changed is the latest time in its managedFields: the data is at least as old. Zero: unknown.
	Changed time.Time
	// Hidden: the watcher may not read Secrets, so Digest says nothing.
	Hidden bool
	// Env: consumed through the environment, so a change needs new containers. Files alone do not.
	Env bool
	// Trigger: a change of the digest alone makes the workload due.
	Trigger bool
}

// Driver is the generation of the CSI driver, told by CSIDriver.spec.requiresRepublish.
type Driver int

// Polling (at most v1.5.6) writes a Secret once per rotation; Republishing
// (v1.6.0 on) has every pod write it from its own files. Unknown counts as Republishing.
const (
	Republishing Driver = iota
	Polling
)

// Options pace the rollouts.
type Options struct {
	Settle      time.Duration // how long changes that come together are gathered
	SettleMax   time.Duration // how long unsettled content is waited for, by rewrittenAfter longer where it is about to settle
	MinInterval time.Duration // between two rollouts of one workload
	ClockSkew   time.Duration // by which a node's clock may differ from the API server's
	StuckAfter  time.Duration // without progress for so long a rollout is stuck; 0: never
	MaxParallel int           // rollouts under way at once; 0: no limit
}

// Action is what the shell is to do.
type Action int

// None leaves the workload as it is, Wait asks to come back after Decision.After,
// Roll asks for the patch of Decision.Stamp and Decision.Cause.
const (
	None Action = iota
	Wait
	Roll
)

// Decision is the answer of [Decide].
type Decision struct {
	Action  Action
	Reason  Reason // see [Reasons]
	Message string // for people
	// After asks for another look after this time. Never 0 for Wait, may be set for None, 0 for Roll.
	After  time.Duration
	Stamp  string // Roll: the value of keyroll.dev/content
	Cause  string // Roll: the value of kubernetes.io/change-cause and the text of the Event
	Counts Counts
	// Rotated is when the content that pods lack changed, as early as is known; zero where nothing is stale.
	Rotated time.Time
	// Underway: a rollout of ours holds a place under Options.MaxParallel. One that Roll
	// asks for is none yet, but the one before it may be.
	Underway bool
	// Done: the newest stamp is ours and every pod runs on its content.
	Done bool
	// Stuck: a rollout of the workload, whosever it is, is under way and has made no progress for Options.StuckAfter.
	Stuck bool
	// Memory is to be handed to the next Decide of this workload, whatever becomes of this one. It may be lost.
	Memory Memory
	// Baseline is to be kept in the ledger where [Baseline.Same] tells that it differs
	// from the State's; after a Roll only once the patch succeeded.
	Baseline Baseline
}

// Counts are the workload's pods by what is known of them. Pods that are
// finished or of older revisions are in none but Older; stale ones that a
// partition keeps on an older revision are in Stale, too.
type Counts struct {
	Fresh, Stale, Unknown int
	Older                 int // live, of older revisions
}
