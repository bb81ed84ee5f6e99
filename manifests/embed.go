// Package manifests holds what is installed on a cluster: a Helm chart, which is
// the one source, and install.yaml, rendered from it for `kubectl apply`.
//
//	chart/ ── make manifests ──► install.yaml            as it comes
//	   │                         testdata/NAME.yaml      with testdata/NAME.values.yaml
//	   └──── helm install
//
// The tests hold the rendered files against the code: keys, names, ports, flags
// and the exact rights that the roles grant. `make check` renders them anew and
// fails where they differ. The end-to-end suite applies install.yaml.
package manifests

import _ "embed"

// Install is install.yaml: all objects of an installation in the namespace
// keyroll-system, the driver and its CustomResourceDefinitions aside.
//
//go:embed install.yaml
var Install []byte
