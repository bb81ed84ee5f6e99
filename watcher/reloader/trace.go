package reloader

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The kinds of objects that Reloader rolls for, as its traces spell them.
const (
	KindSecret = "SECRET"
	KindClass  = "SECRETPROVIDERCLASS"
)

// variablePrefix begins the variables that Reloader adds to containers.
const variablePrefix = "STAKATER_"

// Variable is what Reloader calls the variable that it adds for an object.
func Variable(kind, name string) string {
	runs := strings.FieldsFunc(strings.ToUpper(name), func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	return variablePrefix + strings.Join(runs, "_") + "_" + kind
}

// Traces answers what Reloader has left in a pod template by either of its
// strategies: to each object that it rolled for, by its variable's name, what it
// wrote. Variables hold hashes of secrets without a key: keep them nowhere.
func Traces(template *corev1.PodTemplateSpec, each func(variable, written string)) {
	for i := range template.Spec.Containers {
		for _, env := range template.Spec.Containers[i].Env {
			if strings.HasPrefix(env.Name, variablePrefix) {
				each(env.Name, template.Spec.Containers[i].Name+"="+env.Value)
			}
		}
	}
	if last, there := template.Annotations[LastReloadedFrom]; there {
		var from struct{ Type, Kind, Name string } // Kind: in its next version
		_ = json.Unmarshal([]byte(last), &from)    // what cannot be read is a trace of no object
		each(Variable(strings.ToUpper(strings.Trim(from.Type+from.Kind, "_")), from.Name), last)
	}
}
