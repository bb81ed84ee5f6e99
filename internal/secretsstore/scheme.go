package secretsstore

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the driver's storage version.
var GroupVersion = schema.GroupVersion{Group: "secrets-store.csi.x-k8s.io", Version: "v1"}

// The two resources, and their kinds.
var (
	ClassResource     = GroupVersion.WithResource("secretproviderclasses")
	ClassKind         = GroupVersion.WithKind("SecretProviderClass")
	PodStatusResource = GroupVersion.WithResource("secretproviderclasspodstatuses")
	PodStatusKind     = GroupVersion.WithKind("SecretProviderClassPodStatus")
)

// AddToScheme registers the types.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&SecretProviderClass{}, &SecretProviderClassList{},
		&SecretProviderClassPodStatus{}, &SecretProviderClassPodStatusList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
