package inject

import (
	"encoding/json"

	"keyroll.dev/internal/jsonwrite"
	"keyroll.dev/internal/secretsstore"
)

// What is added to a pod, as JSON: the fields that are set of the API's types.

func text(s string) json.RawMessage { return jsonwrite.String(nil, s) }

// appendName appends a reference to an object of the pod's namespace.
func appendName(b []byte, name string) []byte {
	return append(jsonwrite.String(append(b, `{"name":`...), name), '}')
}

// volumeValue is the CSI volume of a class. The driver refuses one that is not
// read-only.
func volumeValue(name, class string) json.RawMessage {
	b := jsonwrite.String([]byte(`{"name":`), name)
	b = jsonwrite.String(append(b, `,"csi":{"driver":`...), secretsstore.DriverName)
	b = append(b, `,"readOnly":true,"volumeAttributes":`...)
	b = jsonwrite.Strings(b, map[string]string{secretsstore.ClassAttribute: class})
	return append(b, "}}"...)
}

func mountValue(volume, path string) json.RawMessage {
	b := jsonwrite.String([]byte(`{"name":`), volume)
	b = jsonwrite.String(append(b, `,"readOnly":true,"mountPath":`...), path)
	return append(b, '}')
}

// appendVariable appends a variable that is taken from a Secret.
func appendVariable(b []byte, e envVar) []byte {
	b = jsonwrite.String(append(b, `{"name":`...), e.name)
	b = jsonwrite.String(append(b, `,"valueFrom":{"secretKeyRef":{"name":`...), e.from.Name)
	b = jsonwrite.String(append(b, `,"key":`...), e.from.Key)
	return append(b, "}}}"...)
}
