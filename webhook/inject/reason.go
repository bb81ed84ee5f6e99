package inject

// Reason says why a plan is what it is. It serves as metric label, audit
// annotation and log field, so the set is closed.
type Reason string

// Why nothing is changed.
const (
	MirrorPod           Reason = "MirrorPod"           // a static pod's image in the API; it may not mount CSI volumes
	NamespaceNotEnabled Reason = "NamespaceNotEnabled" // without the label keyroll.dev/injection=enabled
	NotAsked            Reason = "NotAsked"            // neither objects nor a class are asked for
	NoContainers        Reason = "NoContainers"        // not a pod that the API server will take
	OptedOut            Reason = "OptedOut"            // keyroll.dev/inject: "false"
	AlreadyInjected     Reason = "AlreadyInjected"     // nothing is missing: a second pass
	OwnedByController   Reason = "OwnedByController"   // its controller's template is what counts
	BeingDeleted        Reason = "BeingDeleted"
	TemplateImmutable   Reason = "TemplateImmutable" // a Job's, once created
	UpToDate            Reason = "UpToDate"          // the workload's template says what it should
)

// Why something is changed.
const (
	Injected          Reason = "Injected"          // a pod
	AnnotationsCopied Reason = "AnnotationsCopied" // a template follows its workload's annotations
	StampRestored     Reason = "StampRestored"     // an update dropped the watcher's stamp and nothing else
	CauseRemoved      Reason = "CauseRemoved"      // the watcher's change-cause does not explain this change
)

// Why an object is refused.
const (
	BadAnnotations Reason = "BadAnnotations" // what the object's own annotations say cannot be understood
	BadNamespace   Reason = "BadNamespace"   // the namespace's annotations are wrong
	Unresolved     Reason = "Unresolved"     // vault, tenant, client or account missing or not allowed
	PodConflict    Reason = "PodConflict"    // containers, mount path or env do not fit the pod
)

// The Reasons by what they are given for, for metrics that are shown before they
// are counted.
var (
	KeepReasons = []Reason{
		MirrorPod, NamespaceNotEnabled, NotAsked, NoContainers, OptedOut, AlreadyInjected, OwnedByController, BeingDeleted, TemplateImmutable, UpToDate,
	}
	ChangeReasons = []Reason{Injected, AnnotationsCopied, StampRestored, CauseRemoved}
	RefuseReasons = []Reason{BadAnnotations, BadNamespace, Unresolved, PodConflict}
)
