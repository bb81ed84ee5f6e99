// Package dependency settles what a workload depends on, and holds it in a
// record that both binaries understand.
//
//	Settings  (workload) ─┐
//	Defaults  (namespace) ├─ Resolve ─► Record ─ Encode ─► pod annotation keyroll.dev/dependencies
//	ServiceAccount       ─┘                │                    │
//	                                       │                  Decode, Verify  (watcher)
//	                                       └──── Class ◄────────┘
//
// A Record alone says which SecretProviderClass a pod mounts and, where
// Keyroll makes it, what stands in it: same record, same class, byte for byte,
// under a name that is a hash of its content. So a class is never changed, only
// made and collected, and a record that somebody made up names either a class
// that its maker could have asked for by annotations, or fails Decode or Verify.
//
// The package is pure.
package dependency
