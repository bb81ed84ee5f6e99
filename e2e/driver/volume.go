package driver

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// volume is one mounted directory on a node. It outlives the driver's process.
type volume struct {
	mu      sync.Mutex
	mounted bool
	mtime   time.Time // of the directory: moves only when content changed
	files   map[string]File
}

func (v *volume) isMounted() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mounted
}

func (v *volume) modified() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mtime
}

// content returns the files by path in the volume.
func (v *volume) content() map[string]File {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.files)
}

// write replaces the content as the driver's atomic writer does: a payload of
// the same bytes leaves the directory untouched.
func (v *volume) write(now time.Time, files map[string]File) error {
	if err := checkPaths(files); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.mounted || !sameBytes(v.files, files) {
		v.mtime = now
	}
	v.mounted, v.files = true, files
	return nil
}

func (v *volume) unmount() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mounted, v.files, v.mtime = false, nil, time.Time{}
}

func sameBytes(a, b map[string]File) bool {
	return maps.EqualFunc(a, b, func(x, y File) bool { return x.Value == y.Value })
}

// checkPaths refuses a file that is also a directory.
func checkPaths(files map[string]File) error {
	for name := range files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, clash := files[dir]; clash {
				return fmt.Errorf("open %s: not a directory", name)
			}
		}
	}
	return nil
}

const podsDir = "/var/lib/kubelet/pods"

// targetPath is where a kubelet has a CSI volume of a pod.
func targetPath(uid types.UID, volume string) string {
	return path.Join(podsDir, string(uid), "volumes", "kubernetes.io~csi", volume, "mount")
}

var targetPathForm = regexp.MustCompile(`/pods/(.*?)/volumes/.*?~csi/(.*?)/mount$`)

// fromTargetPath returns pod UID and volume name.
func fromTargetPath(target string) (uid types.UID, name string) {
	match := targetPathForm.FindStringSubmatch(target)
	if match == nil {
		return "", ""
	}
	return types.UID(match[1]), match[2]
}

// classVolume returns the first volume of a class in the pod, or nil: the
// driver looks no further when a pod has two.
func classVolume(pod *corev1.Pod, class string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if isOurs(*v) && v.CSI.VolumeAttributes[ClassAttribute] == class {
			return v
		}
	}
	return nil
}

// inContainer places a volume's files where a container sees them. A subPath
// picks one file, or the files below a directory.
func inContainer(m corev1.VolumeMount, files map[string]File) map[string]File {
	seen := map[string]File{}
	for name, f := range files {
		switch {
		case m.SubPath == "":
			seen[path.Join(m.MountPath, name)] = f
		case name == m.SubPath:
			seen[m.MountPath] = f
		case strings.HasPrefix(name, m.SubPath+"/"):
			seen[path.Join(m.MountPath, strings.TrimPrefix(name, m.SubPath+"/"))] = f
		}
	}
	return seen
}
