package dependency

import (
	"fmt"
	"strings"

	"keyroll.dev/internal/annotation"
)

// DefaultAccount is what a pod runs as that names no ServiceAccount.
const DefaultAccount = "default"

// ServiceAccount is what Keyroll needs to know of a ServiceAccount.
type ServiceAccount struct {
	Name             string
	Annotations      map[string]string
	ImagePullSecrets []string
	Automount        *bool
}

// Accounts finds a ServiceAccount of the namespace; false: there is none.
type Accounts func(name string) (*ServiceAccount, bool)

// String names the account in messages.
func (a *ServiceAccount) String() string {
	if a == nil {
		return "the ServiceAccount"
	}
	return "ServiceAccount " + a.Name
}

func (a *ServiceAccount) annotation(key string) string {
	if a == nil {
		return ""
	}
	return strings.TrimSpace(a.Annotations[key])
}

// AccountName returns the ServiceAccount that a workload is to run as, given
// what its pod says: an admission request cannot tell "default" from nothing,
// so only another name counts as said. The workload's own annotation conflicts
// with that; a namespace's default gives way.
func AccountName(s annotation.Settings, ns annotation.Defaults, pod string) (string, annotation.Problems) {
	said := pod != "" && pod != DefaultAccount
	switch {
	case s.ServiceAccount != "" && said && s.ServiceAccount != pod:
		return pod, annotation.Problems{annotation.NewProblem(annotation.ServiceAccount, s.ServiceAccount,
			fmt.Sprintf("is not the pod's serviceAccountName %q; remove one of the two", pod))}
	case s.ServiceAccount != "":
		return s.ServiceAccount, nil
	case said:
		return pod, nil
	}
	return first(ns.ServiceAccount, DefaultAccount), nil
}
