package cluster

import (
	"fmt"
	"os"
	"os/exec"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Adopt answers a cluster that somebody else runs, by a kubeconfig of its
// administrator. Nothing is started, and Stop ends nothing of it; kubectl is the
// one in PATH.
func Adopt(kubeconfig string) (*Cluster, error) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		return nil, err
	}
	admin, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	admin.QPS = -1 // as with our own: stories that are told at the same time would wait for each other
	admin.UserAgent = userAgent
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	return &Cluster{
		options: Options{}.withDefaults(), admin: admin, client: client, ended: make(chan struct{}),
		adopted: &adopted{kubeconfig: kubeconfig, kubectl: kubectl},
	}, nil
}

// adopted is how a cluster is reached that is not ours.
type adopted struct{ kubeconfig, kubectl string }

// environment is that of kubectl, with all that people have in their environment: how they
// log in may depend on it.
func (a *adopted) environment() []string { return append(os.Environ(), "KUBECONFIG="+a.kubeconfig) }
