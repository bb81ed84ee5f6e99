// Package fake makes a [kube.Client] of client-go's clientset, which has a fake
// that serves objects from memory. It is for tests: the clientset is what package
// kube is there to do without.
package fake

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/internal/kube"
)

// New returns a client over the clientset.
func New(set kubernetes.Interface) *kube.Client {
	core, apps := set.CoreV1(), set.AppsV1()
	return &kube.Client{
		ConfigMaps:          kindOf(core.ConfigMaps),
		Events:              kindOf(core.Events),
		Namespaces:          kindOf(everywhere(core.Namespaces)),
		Nodes:               kindOf(everywhere(core.Nodes)),
		Pods:                kindOf(core.Pods),
		Secrets:             kindOf(core.Secrets),
		ServiceAccounts:     kindOf(core.ServiceAccounts),
		ControllerRevisions: kindOf(apps.ControllerRevisions),
		DaemonSets:          kindOf(apps.DaemonSets),
		Deployments:         kindOf(apps.Deployments),
		ReplicaSets:         kindOf(apps.ReplicaSets),
		StatefulSets:        kindOf(apps.StatefulSets),
		CronJobs:            kindOf(set.BatchV1().CronJobs),
		Leases:              kindOf(set.CoordinationV1().Leases),
		CSIDrivers:          kindOf(everywhere(set.StorageV1().CSIDrivers)),
		Served: func(_ context.Context, version schema.GroupVersion) (*metav1.APIResourceList, error) {
			return set.Discovery().ServerResourcesForGroupVersion(version.String())
		},
		Unstreamed: true,
	}
}

func kindOf[O, L runtime.Object, R kube.Resource[O, L]](of func(namespace string) R) kube.Kind[O, L] {
	return func(namespace string) kube.Resource[O, L] { return of(namespace) }
}

// everywhere is for kinds whose objects are in no namespace.
func everywhere[R any](of func() R) func(string) R {
	return func(string) R { return of() }
}
