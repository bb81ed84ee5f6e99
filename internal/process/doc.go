// Package process is what both binaries need of a process: signals and exit
// status, one log stream, a client configuration, a version, and the small
// HTTP server that probes and metrics are read from.
//
//	main ─► Main(name, run) ─► run(ctx, args, stdout, stderr) error
//	                             ├─ NewLogger    slog, klog and logr as one JSON stream
//	                             ├─ RESTConfig   in-cluster or kubeconfig, with our user agent
//	                             ├─ NewRegistry  what both binaries show of themselves
//	                             └─ NewObserver  /healthz /readyz /metrics
//
// The first SIGINT or SIGTERM ends the context that run was given; the second
// one kills the process. Only [Main] exits.
package process
