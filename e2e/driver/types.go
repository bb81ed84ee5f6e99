package driver

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// Names that driver v1.5.6 and v1.6.0 use.
const (
	// Name is the CSI driver's name in volumes and the name of its CSIDriver object.
	Name = "secrets-store.csi.k8s.io"
	// NodeLabel on a SecretProviderClassPodStatus holds the node's name.
	NodeLabel = "internal.secrets-store.csi.k8s.io/node-name"
	// ManagedLabel with "true" marks the Secrets that the driver made.
	ManagedLabel = "secrets-store.csi.k8s.io/managed"
	// ClassAttribute of a CSI volume names its SecretProviderClass.
	ClassAttribute = "secretProviderClass"
)

// GroupVersion is that of the driver's two kinds. The types below are the
// model's own, so that a mistake in the product's cannot hide itself.
var GroupVersion = schema.GroupVersion{Group: "secrets-store.csi.x-k8s.io", Version: "v1"}

// Class is a SecretProviderClass.
type Class struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ClassSpec `json:"spec,omitempty"`
}

// ClassSpec says what to fetch and which Secrets to keep from it.
type ClassSpec struct {
	Provider      string            `json:"provider,omitempty"`
	Parameters    map[string]string `json:"parameters,omitempty"`
	SecretObjects []SecretObject    `json:"secretObjects,omitempty"`
}

// SecretObject is one Secret to keep from mounted files.
type SecretObject struct {
	SecretName  string             `json:"secretName,omitempty"`
	Type        string             `json:"type,omitempty"`
	Labels      map[string]string  `json:"labels,omitempty"`
	Annotations map[string]string  `json:"annotations,omitempty"`
	Data        []SecretObjectData `json:"data,omitempty"`
}

// SecretObjectData is one key of a Secret; ObjectName is a file's name.
type SecretObjectData struct {
	ObjectName string `json:"objectName,omitempty"`
	Key        string `json:"key,omitempty"`
}

// ClassList is a list of classes.
type ClassList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Class `json:"items"`
}

// PodStatus is a SecretProviderClassPodStatus.
type PodStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Status            PodStatusStatus `json:"status,omitempty"`
}

// PodStatusStatus tells which versions of which objects a pod's volume holds.
type PodStatusStatus struct {
	PodName    string          `json:"podName,omitempty"`
	ClassName  string          `json:"secretProviderClassName,omitempty"`
	Mounted    bool            `json:"mounted,omitempty"`
	TargetPath string          `json:"targetPath,omitempty"`
	Objects    []ObjectVersion `json:"objects,omitempty"`
}

// ObjectVersion is one object and its version.
type ObjectVersion struct {
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// PodStatusList is a list of pod statuses.
type PodStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PodStatus `json:"items"`
}

// DeepCopyObject copies the class.
func (c *Class) DeepCopyObject() runtime.Object { return deepCopy(c) }

// DeepCopyObject copies the list.
func (l *ClassList) DeepCopyObject() runtime.Object { return deepCopy(l) }

// DeepCopyObject copies the status.
func (s *PodStatus) DeepCopyObject() runtime.Object { return deepCopy(s) }

// DeepCopyObject copies the list.
func (l *PodStatusList) DeepCopyObject() runtime.Object { return deepCopy(l) }

// deepCopy goes by way of JSON: the types hold nothing that it would lose.
func deepCopy[T any](in *T) *T {
	raw, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(raw, out); err != nil {
		panic(err)
	}
	return out
}

var (
	customScheme = newScheme()
	codecs       = serializer.NewCodecFactory(customScheme)
)

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	s.AddKnownTypeWithName(GroupVersion.WithKind("SecretProviderClass"), &Class{})
	s.AddKnownTypeWithName(GroupVersion.WithKind("SecretProviderClassList"), &ClassList{})
	s.AddKnownTypeWithName(GroupVersion.WithKind("SecretProviderClassPodStatus"), &PodStatus{})
	s.AddKnownTypeWithName(GroupVersion.WithKind("SecretProviderClassPodStatusList"), &PodStatusList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return s
}
