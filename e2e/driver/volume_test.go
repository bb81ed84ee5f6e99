package driver

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestTheDirectorysTimeMovesWithItsBytesOnly(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	v := &volume{}
	steps := []struct {
		name string
		file File
		want time.Duration
	}{
		{"the first content", File{Version: "1", Value: "one"}, 0},
		{"the same bytes of another version", File{Version: "2", Value: "one"}, 0},
		{"other bytes", File{Version: "3", Value: "two"}, 2 * time.Minute},
	}
	for i, step := range steps {
		if err := v.write(start.Add(time.Duration(i)*time.Minute), map[string]File{"pw": step.file}); err != nil {
			t.Fatal(err)
		}
		if got := v.modified().Sub(start); got != step.want {
			t.Errorf("%s: written %v after the start, want %v", step.name, got, step.want)
		}
		if diff := cmp.Diff(map[string]File{"pw": step.file}, v.content()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if err := v.write(start, map[string]File{"a": {}, "a/b": {}}); err == nil {
		t.Error("a file is a directory too")
	}
	v.unmount()
	if v.isMounted() || !v.modified().IsZero() || len(v.content()) > 0 {
		t.Error("something is left after the unmount")
	}
}

func TestWhereAContainerSeesFiles(t *testing.T) {
	files := map[string]File{"pw": {Value: "1"}, "old/0": {Value: "2"}}
	tests := map[string]struct {
		mount corev1.VolumeMount
		want  map[string]File
	}{
		"the whole volume":  {corev1.VolumeMount{MountPath: "/mnt"}, map[string]File{"/mnt/pw": {Value: "1"}, "/mnt/old/0": {Value: "2"}}},
		"one file":          {corev1.VolumeMount{MountPath: "/etc/x", SubPath: "pw"}, map[string]File{"/etc/x": {Value: "1"}}},
		"one directory":     {corev1.VolumeMount{MountPath: "/etc/x", SubPath: "old"}, map[string]File{"/etc/x/0": {Value: "2"}}},
		"what is not there": {corev1.VolumeMount{MountPath: "/etc/x", SubPath: "ol"}, map[string]File{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, inContainer(test.mount, files)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargetPathsAreReadBack(t *testing.T) {
	if uid, name := fromTargetPath(targetPath("u-1", "vault")); uid != "u-1" || name != "vault" {
		t.Errorf("%s, %s", uid, name)
	}
	if uid, name := fromTargetPath("/elsewhere"); uid != "" || name != "" {
		t.Errorf("%s, %s", uid, name)
	}
}
