package annotation

// Settings is what one workload's annotations ask for, parsed, with nothing
// defaulted: an absent annotation leaves its field at the zero value.
type Settings struct {
	Objects             []Object
	Vault               string
	TenantID            string
	ClientID            string
	ServiceAccount      string
	MountPath           string
	Containers          []string // nil: all
	Env                 []EnvVar
	Secret              string
	SecretType          string
	SecretProviderClass string
	NoWorkloadIdentity  bool
	RestartNever        bool
	RestartOn           Triggers
	InjectFalse         bool
}

// Asked reports whether the annotations ask for injection.
func (s Settings) Asked() bool {
	return !s.InjectFalse && (len(s.Objects) > 0 || s.SecretProviderClass != "")
}

// EnvVar asks for an environment variable that holds an object's content.
type EnvVar struct {
	Name   string
	Object Object // one of Settings.Objects
}

// Triggers names the driver-managed Secrets whose change rolls the workload.
type Triggers struct {
	Auto    bool     // all that the template references
	Secrets []string // by name
}

// Defaults is what a namespace's annotations say for its workloads.
type Defaults struct {
	Vault          string
	TenantID       string
	ClientID       string
	ServiceAccount string
	AllowedVaults  []string // nil: every vault
}
