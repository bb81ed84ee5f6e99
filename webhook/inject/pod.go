package inject

import (
	"strconv"

	"keyroll.dev/internal/dependency"
)

// Pod is the part of a pod, or of a pod template, that a plan reads.
type Pod struct {
	Metadata Metadata
	Spec     PodSpec
}

// Metadata is the part of an object's metadata that a plan reads: the labels and
// annotations that are ours to read, but all annotations of a pod template.
type Metadata struct {
	Labels      map[string]string
	Annotations map[string]string

	labelled, annotated bool // there are some, ours or not
}

// PodSpec is the part of a pod's spec that a plan reads.
type PodSpec struct {
	ServiceAccountName string
	DeprecatedAccount  string
	Automount          *bool
	OS                 *PodOS
	ImagePullSecrets   []LocalName
	Volumes            []Volume
	InitContainers     []Container
	Containers         []Container
}

// PodOS names the operating system that a pod is for.
type PodOS struct {
	Name string
}

// LocalName refers to an object of the pod's namespace.
type LocalName struct {
	Name string
}

// Volume is the part of a volume that a plan reads.
type Volume struct {
	Name      string
	CSI       *CSIVolume
	Projected *ProjectedVolume
}

// CSIVolume is an inline CSI volume.
type CSIVolume struct {
	Driver     string
	ReadOnly   *bool
	Attributes map[string]string
}

// ProjectedVolume tells whether a volume holds a ServiceAccount token.
type ProjectedVolume struct {
	Sources []ProjectedSource
}

// ProjectedSource is one of the things that such a volume shows.
type ProjectedSource struct {
	Token *struct{}
}

// Container is the part of a container that a plan reads.
type Container struct {
	Name   string
	Env    []EnvVar // read only where env is asked for
	Mounts []Mount

	env []byte // as it stands in the object, until it is read
}

// EnvVar is the part of an environment variable that a plan reads.
type EnvVar struct {
	Name string
	From *EnvSource
}

// EnvSource is where a variable that has no value of its own takes it from.
type EnvSource struct {
	Secret *SecretKey
}

// SecretKey is one key of a Secret.
type SecretKey struct {
	Name string
	Key  string
}

// Mount is the part of a volume mount that a plan reads.
type Mount struct {
	Name string
	Path string
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
	list  string // JSON pointer
	index int
}

// path is the JSON pointer to the container.
func (c containerAt) path() string { return c.list + "/" + strconv.Itoa(c.index) }

// all lists the init containers, native sidecars among them, and then the
// app containers: every loop over containers goes through here. A container
// without a name is left out: the API server refuses it after admission.
func (s PodSpec) all() []containerAt {
	list := make([]containerAt, 0, len(s.InitContainers)+len(s.Containers))
	add := func(path string, containers []Container) {
		for i, c := range containers {
			if c.Name != "" {
				list = append(list, containerAt{Container: c, list: path, index: i})
			}
		}
	}
	add("/spec/initContainers", s.InitContainers)
	add("/spec/containers", s.Containers)
	return list
}
