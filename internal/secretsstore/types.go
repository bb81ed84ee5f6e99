package secretsstore

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names that the driver and its Azure provider use.
const (
	// DriverName is the CSI driver's name, in volumes and as CSIDriver object.
	DriverName = "secrets-store.csi.k8s.io"
	// ProviderAzure is the value of spec.provider for Key Vault.
	ProviderAzure = "azure"
	// FieldManager is the driver's manager name in managedFields.
	FieldManager = "csi-secrets-store"
	// ManagedLabel with the value "true" marks a Secret that the driver fills.
	ManagedLabel = "secrets-store.csi.k8s.io/managed"
	// ClassAttribute is the volume attribute that names the class to mount.
	ClassAttribute = "secretProviderClass"
)

// SecretProviderClass tells the driver what to mount.
type SecretProviderClass struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec SecretProviderClassSpec `json:"spec,omitempty"`
}

// SecretProviderClassSpec is what people write in a class.
type SecretProviderClassSpec struct {
	Provider      string            `json:"provider,omitempty"`
	Parameters    map[string]string `json:"parameters,omitempty"`
	SecretObjects []*SecretObject   `json:"secretObjects,omitempty"`
}

// SecretObject asks the driver to fill a Secret from mounted files.
type SecretObject struct {
	SecretName  string              `json:"secretName,omitempty"`
	Type        string              `json:"type,omitempty"`
	Labels      map[string]string   `json:"labels,omitempty"`
	Annotations map[string]string   `json:"annotations,omitempty"`
	Data        []*SecretObjectData `json:"data,omitempty"`
}

// SecretObjectData fills one key of a Secret.
type SecretObjectData struct {
	ObjectName string `json:"objectName,omitempty"` // name of the mounted file
	Key        string `json:"key,omitempty"`
	PlainValue string `json:"plainValue,omitempty"` // instead of a file
}

// SecretProviderClassList is a list of classes.
type SecretProviderClassList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SecretProviderClass `json:"items"`
}

// SecretProviderClassPodStatus tells what one pod's mount of one class holds.
// Its CRD has no status subresource, so metadata.generation counts changes of
// the status, from 1 at the first mount.
type SecretProviderClassPodStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status SecretProviderClassPodStatusStatus `json:"status,omitempty"`
}

// SecretProviderClassPodStatusStatus is the driver's report.
type SecretProviderClassPodStatusStatus struct {
	PodName                 string                      `json:"podName,omitempty"`
	SecretProviderClassName string                      `json:"secretProviderClassName,omitempty"`
	Mounted                 bool                        `json:"mounted,omitempty"`
	TargetPath              string                      `json:"targetPath,omitempty"`
	Objects                 []SecretProviderClassObject `json:"objects,omitempty"`
}

// SecretProviderClassObject is one mounted object and the version it has.
type SecretProviderClassObject struct {
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// SecretProviderClassPodStatusList is a list of statuses.
type SecretProviderClassPodStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SecretProviderClassPodStatus `json:"items"`
}
