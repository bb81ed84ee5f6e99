package annotation

import "strings"

// ShapesPods reports whether the annotation, written on a workload, is copied
// into its template. The others are read where they stand, by the watcher, so
// that setting them rolls nothing.
func (r Row) ShapesPods() bool {
	return r.Where != OnNamespace && r.Key != Restart && r.Key != RestartOn
}

// Copied are the keys that a template's FromWorkload lists as copied from its
// workload.
func Copied(template map[string]string) []string {
	value := template[FromWorkload]
	if value == "" {
		return nil
	}
	keys := strings.Split(value, ",")
	for i, name := range keys {
		keys[i] = Prefix + strings.TrimSpace(name)
	}
	return keys
}

// CopiedList is the value of FromWorkload that lists keys.
func CopiedList(keys []string) string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = strings.TrimPrefix(key, Prefix)
	}
	return strings.Join(names, ",")
}
