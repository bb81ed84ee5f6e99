// Package install puts Keyroll into a test cluster as a user would, and proves
// its manifests on the way:
//
//	manifests.Install ─► objects ─► the Deployments are checked by the API server (dry run)
//	                        │       and then set aside: nothing runs images here
//	                        ├─► the webhooks' clientConfig points to a loopback URL:
//	                        │       a balancer before as many replicas as are started
//	                        └─► all else is applied as it is, by kubectl
//
//	cmd/webhook, cmd/watcher ─► go build ─► processes
//	     with the arguments and environment of their Deployments, and
//	     with a kubeconfig of their ServiceAccounts: they can do what the roles allow, and no more
//
// Where Helm has installed, Redirect and Adopt do the same for what it renders and
// for the Deployments that it left.
//
// Processes end with the cluster at the latest.
package install
