package annotation

import "strings"

// Prefix begins every annotation and label key that Keyroll owns.
const Prefix = "keyroll.dev/"

// What people write: on the pod template or the workload itself, and, where
// [Table] says so, on the namespace as a default for its workloads.
const (
	Objects             = Prefix + "objects"
	Vault               = Prefix + "vault"
	TenantID            = Prefix + "tenant-id"
	ClientID            = Prefix + "client-id"
	ServiceAccount      = Prefix + "service-account"
	MountPath           = Prefix + "mount-path"
	Containers          = Prefix + "containers"
	Env                 = Prefix + "env"
	Secret              = Prefix + "secret"
	SecretType          = Prefix + "secret-type"
	SecretProviderClass = Prefix + "secret-provider-class"
	WorkloadIdentity    = Prefix + "workload-identity"
	Restart             = Prefix + "restart"
	RestartOn           = Prefix + "restart-on"
	Inject              = Prefix + "inject"
	AllowedVaults       = Prefix + "allowed-vaults" // on a namespace only
)

// What Keyroll writes. None of these asks for anything.
const (
	// Dependencies holds the record of a pod (internal/dependency).
	Dependencies = Prefix + "dependencies"
	// Content is the stamp that the watcher puts on a pod template to roll it.
	Content = Prefix + "content"
	// FromWorkload lists the template's annotations that follow the workload's own metadata.
	FromWorkload = Prefix + "from-workload"
	// InjectedLabel marks an injected pod with "true".
	InjectedLabel = Prefix + "injected"
)

// IsInput reports whether an annotation key is Keyroll's and asks for something
// (or means to: unknown keys count). What Keyroll writes itself does not.
func IsInput(key string) bool {
	switch key {
	case Dependencies, Content, FromWorkload, InjectedLabel:
		return false
	}
	return strings.HasPrefix(key, Prefix)
}

// ChangeCause is what kubectl rollout history prints of a revision, and how each
// of the watcher's begins.
const (
	ChangeCause = "kubernetes.io/change-cause"
	CausePrefix = "keyroll: "
)

// InjectionLabel on a namespace with the value InjectionEnabled opts it in.
const (
	InjectionLabel   = Prefix + "injection"
	InjectionEnabled = "enabled"
)

// LeftOut are the labels of namespaces that the webhook never sees, whether or
// not they opt in, besides kube-system and the one that Keyroll runs in.
var LeftOut = map[string]string{
	"control-plane":                  "true",
	"kubernetes.azure.com/managedby": "aks",
}

// Keys of azure-workload-identity that Keyroll reads from a ServiceAccount or writes on a pod.
const (
	IdentityUseLabel = "azure.workload.identity/use"
	IdentityClientID = "azure.workload.identity/client-id"
	IdentityTenantID = "azure.workload.identity/tenant-id"
)

// Values of annotations that have a choice, and defaults.
const (
	DefaultMountPath = "/mnt/secrets"
	RestartRolling   = "rolling"
	RestartIsNever   = "never"
	RestartOnAuto    = "auto"
	SecretTypeOpaque = "Opaque"
	SecretTypeTLS    = "kubernetes.io/tls"
)
