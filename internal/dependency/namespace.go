package dependency

import "keyroll.dev/internal/annotation"

// Namespace is what Keyroll needs to know of a namespace.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
}

// Enabled reports whether the namespace opted in.
func (n Namespace) Enabled() bool {
	return n.Labels[annotation.InjectionLabel] == annotation.InjectionEnabled
}
