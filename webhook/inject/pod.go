package inject

import (
	"fmt"
	"strconv"

	kjson "sigs.k8s.io/json"

	"keyroll.dev/internal/dependency"
)

// Pod is the part of a pod, or of a pod template, that a plan reads.
type Pod struct {
	Metadata Metadata `json:"metadata"`
	Spec     PodSpec  `json:"spec"`
}

// Metadata is the part of an object's metadata that a plan reads.
type Metadata struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// PodSpec is the part of a pod's spec that a plan reads.
type PodSpec struct {
	ServiceAccountName string      `json:"serviceAccountName"`
	DeprecatedAccount  string      `json:"serviceAccount"`
	Automount          *bool       `json:"automountServiceAccountToken"`
	OS                 *PodOS      `json:"os"`
	ImagePullSecrets   []LocalName `json:"imagePullSecrets"`
	Volumes            []Volume    `json:"volumes"`
	InitContainers     []Container `json:"initContainers"`
	Containers         []Container `json:"containers"`
}

// PodOS names the operating system that a pod is for.
type PodOS struct {
	Name string `json:"name"`
}

// LocalName refers to an object of the pod's namespace.
type LocalName struct {
	Name string `json:"name"`
}

// Volume is the part of a volume that a plan reads.
type Volume struct {
	Name      string           `json:"name"`
	CSI       *CSIVolume       `json:"csi"`
	Projected *ProjectedVolume `json:"projected"`
}

// CSIVolume is an inline CSI volume.
type CSIVolume struct {
	Driver     string            `json:"driver"`
	ReadOnly   *bool             `json:"readOnly"`
	Attributes map[string]string `json:"volumeAttributes"`
}

// ProjectedVolume tells whether a volume holds a ServiceAccount token.
type ProjectedVolume struct {
	Sources []struct {
		Token *struct{} `json:"serviceAccountToken"`
	} `json:"sources"`
}

// Container is the part of a container that a plan reads.
type Container struct {
	Name   string   `json:"name"`
	Env    []EnvVar `json:"env"`
	Mounts []Mount  `json:"volumeMounts"`
}

// EnvVar is the part of an environment variable that a plan reads.
type EnvVar struct {
	Name string `json:"name"`
	From *struct {
		Secret *SecretKey `json:"secretKeyRef"`
	} `json:"valueFrom"`
}

// SecretKey is one key of a Secret.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// Mount is the part of a volume mount that a plan reads.
type Mount struct {
	Name string `json:"name"`
	Path string `json:"mountPath"`
}

// DecodePod reads a pod. Field names are told apart by case, as the API server
// does, so "Metadata" is an unknown field and not metadata.
func DecodePod(raw []byte) (Pod, error) {
	var p Pod
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &p); err != nil {
		return Pod{}, fmt.Errorf("decode pod: %w", err)
	}
	return p, nil
}

// account is the ServiceAccount that the pod names, "default" if none.
func (s PodSpec) account() string {
	switch {
	case s.ServiceAccountName != "":
		return s.ServiceAccountName
	case s.DeprecatedAccount != "":
		return s.DeprecatedAccount
	}
	return dependency.DefaultAccount
}

// containerAt is a container and its place in the pod.
type containerAt struct {
	Container
	path string // JSON pointer
}

// all lists the init containers, native sidecars among them, and then the
// app containers: every loop over containers goes through here. A container
// without a name is left out: the API server refuses it after admission.
func (s PodSpec) all() []containerAt {
	list := make([]containerAt, 0, len(s.InitContainers)+len(s.Containers))
	add := func(path string, containers []Container) {
		for i, c := range containers {
			if c.Name != "" {
				list = append(list, containerAt{Container: c, path: path + strconv.Itoa(i)})
			}
		}
	}
	add("/spec/initContainers/", s.InitContainers)
	add("/spec/containers/", s.Containers)
	return list
}
