package inject

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

// volumeName is what our volume is called where the pod leaves the name free.
const volumeName = "keyroll"

// volumeFor answers the name of the pod's volume that holds the class, and
// whether the pod has it already: one class is never mounted by two volumes,
// for the driver keeps one status per pod and class.
func volumeFor(pod PodSpec, class string) (name string, exists bool) {
	for _, v := range pod.Volumes {
		if class != "" && v.class() == class {
			return v.Name, true
		}
	}
	return freeVolumeName(pod), false
}

// outdated answers the place of a volume of ours that came with the pod, from a
// copy of an injected one, and holds another class than the pod is to have; -1:
// there is none.
func outdated(pod PodSpec) int {
	return slices.IndexFunc(pod.Volumes, func(v Volume) bool {
		return (v.Name == volumeName || strings.HasPrefix(v.Name, volumeName+"-")) && annotation.IsGenerated(v.class())
	})
}

// class is the SecretProviderClass of a volume of the driver's, "" of any other.
func (v Volume) class() string {
	if v.CSI == nil || v.CSI.Driver != secretsstore.DriverName {
		return ""
	}
	return v.CSI.Attributes[secretsstore.ClassAttribute]
}

// writable tells of a volume that the driver will refuse to mount.
func (v Volume) writable() bool { return v.CSI != nil && (v.CSI.ReadOnly == nil || !*v.CSI.ReadOnly) }

func freeVolumeName(pod PodSpec) string {
	name := volumeName
	for n := 2; slices.ContainsFunc(pod.Volumes, func(v Volume) bool { return v.Name == name }); n++ {
		name = fmt.Sprintf("%s-%d", volumeName, n)
	}
	return name
}

// samePath tells whether two mount paths are one directory in the container.
func (s PodSpec) samePath(a, b string) bool { return s.clean(a) == s.clean(b) }

// beneath answers where p is in the directory, and whether it is.
func (s PodSpec) beneath(p, directory string) (rest string, ok bool) {
	return strings.CutPrefix(s.clean(p), s.clean(directory)+"/")
}

// clean is the form of a mount path that tells directories apart. On Windows the
// kubelet puts a path without a drive on C: (kubernetes v1.37.2
// pkg/volume/util/util.go, MakeAbsolutePath), and case does not tell paths apart.
func (s PodSpec) clean(p string) string {
	if s.OS != nil && s.OS.Name == "windows" {
		return windowsPath(p)
	}
	return rooted(p)
}

// rooted cleans a path. One that is clean already, as nearly all are, is answered as it is.
func rooted(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return path.Clean(p)
}

func windowsPath(p string) string {
	p = strings.ToLower(strings.ReplaceAll(p, `\`, "/"))
	p = strings.TrimPrefix(p, "c:")
	return path.Clean("/" + p)
}
