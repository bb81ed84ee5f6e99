package process

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// RESTConfig reads the named kubeconfig file or, if the name is empty, takes
// the configuration of the pod's ServiceAccount. Requests carry the user agent
// "keyroll-NAME/VERSION". A qps of 0 is client-go's default; a negative one
// lifts the limit.
func RESTConfig(kubeconfig string, qps float32, burst int) (*rest.Config, error) {
	cfg, err := loadConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = "keyroll-" + name + "/" + Version()
	cfg.QPS, cfg.Burst = qps, burst
	return cfg, nil
}

func loadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("use the pod's ServiceAccount (outside of a pod, name a kubeconfig): %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return cfg, nil
}
