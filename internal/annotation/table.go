package annotation

import "strings"

// Where an annotation is read.
type Where string

// The places.
const (
	OnWorkload  Where = "workload"
	OnBoth      Where = "workload, namespace"
	OnNamespace Where = "namespace"
)

// Row describes one annotation to people.
type Row struct {
	Key     string // with prefix
	Where   Where
	Value   string
	Default string
	Meaning string
}

// Table is the contract, in the order in which it is documented and in which
// problems are told.
var Table = []Row{
	{Objects, OnWorkload, "`[secret/|key/|cert/]NAME[@VERSION][=FILENAME]`, separated by commas or newlines", "none",
		"Key Vault objects to mount as files. This or `secret-provider-class` asks for injection."},
	{Vault, OnBoth, "Key Vault name", "namespace",
		"The vault that holds the objects."},
	{TenantID, OnBoth, "directory id", "ServiceAccount `azure.workload.identity/tenant-id`, namespace, the webhook's `--tenant-id`",
		"The Entra ID directory of the identity."},
	{ClientID, OnBoth, "client id of a managed identity", "ServiceAccount `azure.workload.identity/client-id`, namespace",
		"The identity that reads the vault."},
	{ServiceAccount, OnBoth, "ServiceAccount name", "namespace, else what the pod says",
		"The ServiceAccount to run as. A namespace's applies where the pod's is unset or `default`."},
	{MountPath, OnWorkload, "absolute directory", "`/mnt/secrets`",
		"Where the files are. Nothing else can be mounted in it, but over one of them."},
	{Containers, OnWorkload, "container names, separated by commas", "all, init containers too",
		"The containers that get the files and the environment."},
	{Env, OnWorkload, "`NAME=[secret/|key/|cert/]OBJECT`, separated by commas or newlines", "none",
		"Environment variables, through a Secret that the driver fills."},
	{Secret, OnWorkload, "Secret name", "a generated one where `env` asks",
		"A Secret that the driver keeps filled with the objects."},
	{SecretType, OnWorkload, "`Opaque` or `kubernetes.io/tls`", "`Opaque`",
		"The type of `secret`. `kubernetes.io/tls` takes certificate and key from the one object of type secret."},
	{SecretProviderClass, OnWorkload, "SecretProviderClass name", "generated",
		"An existing class to mount instead of a generated one; `objects`, `vault`, `env`, `secret` and `secret-type` are then the class's business."},
	{WorkloadIdentity, OnWorkload, "`true` or `false`", "`true`",
		"`false` leaves the label `azure.workload.identity/use` off the pod."},
	{Restart, OnWorkload, "`rolling` or `never`", "`rolling`",
		"Whether a rotation rolls the workload."},
	{RestartOn, OnWorkload, "`auto` or `secret/NAME`, separated by commas", "none",
		"Roll when these Secrets change that the driver fills; `auto`: all that the template refers to. Works without injection."},
	{Inject, OnWorkload, "`true` or `false`", "`true`",
		"`false` opts the workload out of injection."},
	{AllowedVaults, OnNamespace, "Key Vault names, separated by commas", "every vault",
		"Workloads of the namespace that name another vault are refused."},
}

// rows is Table by key.
var rows = func() map[string]Row {
	m := make(map[string]Row, len(Table))
	for _, r := range Table {
		m[r.Key] = r
	}
	return m
}()

// row finds the Table's row of a key.
func row(key string) (Row, bool) {
	r, known := rows[key]
	return r, known
}

// plain takes the table's code marks out, for messages.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }
