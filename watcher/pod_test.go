package watcher

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

func TestReferences(t *testing.T) {
	secretVolume := func(name, secret string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}
	}
	projected := func(name string, secrets ...string) corev1.Volume {
		v := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}
		for _, secret := range secrets {
			v.Projected.Sources = append(v.Projected.Sources, corev1.VolumeProjection{
				Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}},
			})
		}
		return v
	}
	mount := func(volume, subPath string) []corev1.VolumeMount {
		return []corev1.VolumeMount{{Name: volume, SubPath: subPath}}
	}
	fromEnv := []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "all"}}}}
	tests := map[string]struct {
		spec corev1.PodSpec
		want references
	}{
		"nothing": {},
		"a class in two volumes is two mounts": {
			spec: corev1.PodSpec{
				Volumes:        []corev1.Volume{csiVolume("one", "files"), csiVolume("two", "files")},
				InitContainers: []corev1.Container{{Name: "init", VolumeMounts: mount("two", "")}},
				Containers:     []corev1.Container{{Name: "app", VolumeMounts: mount("one", "")}, {Name: "other"}},
			},
			want: references{classes: []string{"files", "files"}, consumers: map[string]bool{"app": true, "init": true}},
		},
		"a class in a volume that nobody mounts is left alone, as kubelet does": {
			spec: corev1.PodSpec{
				Volumes:    []corev1.Volume{csiVolume("one", "files"), csiVolume("two", "others")},
				Containers: []corev1.Container{{Name: "app", VolumeMounts: mount("one", "")}},
			},
			want: references{classes: []string{"files"}, consumers: map[string]bool{"app": true}},
		},
		"volumes of other drivers": {
			spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "disk.csi.azure.com"}}}}},
		},
		"a Secret's volume keeps up, unless it is mounted by a subPath": {
			spec: corev1.PodSpec{
				Volumes: []corev1.Volume{secretVolume("a", "kept"), secretVolume("b", "fixed"), projected("c", "kept-too", "fixed-too")},
				Containers: []corev1.Container{
					{Name: "app", VolumeMounts: append(mount("a", ""), mount("b", "")...)},
					{Name: "side", VolumeMounts: append(mount("b", "key"), mount("c", "")...)},
				},
			},
			want: references{
				secrets:   map[string]use{"kept": asFiles, "fixed": atStart, "kept-too": asFiles, "fixed-too": asFiles},
				consumers: map[string]bool{"app": true, "side": true},
			},
		},
		"a volume that nobody mounts is not consumed": {
			spec: corev1.PodSpec{Volumes: []corev1.Volume{secretVolume("a", "unused")}, Containers: []corev1.Container{{Name: "app"}}},
		},
		"the environment of init containers counts": {
			spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "init", EnvFrom: fromEnv}}},
			want: references{secrets: map[string]use{"all": atStart}, consumers: map[string]bool{"init": true}},
		},
		"credentials of the volume's own": {
			spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: secretsstore.DriverName, VolumeAttributes: map[string]string{secretsstore.ClassAttribute: "files"},
				NodePublishSecretRef: &corev1.LocalObjectReference{Name: "principal"},
			}}}}, Containers: []corev1.Container{{Name: "app", VolumeMounts: mount("v", "")}}},
			want: references{classes: []string{"files"}, principal: true, consumers: map[string]bool{"app": true}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := referencesOf(&test.spec)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(references{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestStartedIsThatOfTheLongestRunningConsumer(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	minutesAgo := func(n int) time.Time { return noon.Add(-time.Duration(n) * time.Minute) }
	ended := func(code int32, began time.Time) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "init", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, StartedAt: metav1.NewTime(began)},
		}}
	}
	byInit := func(status corev1.ContainerStatus) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", VolumeMounts: p.Spec.Containers[0].VolumeMounts}}
			p.Spec.Containers[0].VolumeMounts = nil
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{status}
		}
	}
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   time.Time
	}{
		"one container": {func(*corev1.Pod) {}, minutesAgo(60)},
		"a sidecar that takes no secret has run for longer": {func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "proxy"})
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, running("proxy", minutesAgo(600)))
		}, minutesAgo(60)},
		"a native sidecar that takes a secret has run for longer": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "proxy", RestartPolicy: &always, VolumeMounts: p.Spec.Containers[0].VolumeMounts}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{running("proxy", minutesAgo(90))}
		}, minutesAgo(90)},
		"an init container runs": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", VolumeMounts: p.Spec.Containers[0].VolumeMounts}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{running("init", minutesAgo(90))}
			p.Status.ContainerStatuses = nil
		}, time.Time{}},
		"the container waits to be started again": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, time.Time{}},
		"only an init container takes secrets, and has ended": {byInit(ended(0, minutesAgo(90))), minutesAgo(90)},
		"the same, and the application crashes": {func(p *corev1.Pod) {
			byInit(ended(0, minutesAgo(90)))(p)
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, minutesAgo(90)},
		"it has ended, and kubelet has forgotten when it began": {byInit(ended(0, time.Time{})), minutesAgo(60)},
		"it has failed, and will run again": {func(p *corev1.Pod) {
			byInit(ended(1, minutesAgo(90)))(p)
			p.Status.ContainerStatuses = nil
		}, time.Time{}},
		"it still runs": {func(p *corev1.Pod) {
			byInit(running("init", minutesAgo(90)))(p)
			p.Status.ContainerStatuses = nil
		}, time.Time{}},
		"a native sidecar that takes none began before it": {func(p *corev1.Pod) {
			byInit(ended(0, time.Time{}))(p)
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "proxy", RestartPolicy: &always})
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, running("proxy", minutesAgo(95)))
		}, minutesAgo(60)},
		"a native sidecar takes secrets too": {func(p *corev1.Pod) {
			byInit(ended(0, minutesAgo(90)))(p)
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "proxy", RestartPolicy: &always, VolumeMounts: p.Spec.InitContainers[0].VolumeMounts})
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, running("proxy", minutesAgo(80)))
		}, minutesAgo(80)},
		"two consumers": {func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two", VolumeMounts: p.Spec.Containers[0].VolumeMounts})
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, running("two", minutesAgo(61)))
		}, minutesAgo(61)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := slimPod(injectedPod("web", "web-1", "files", test.change)).started; !got.Equal(test.want) {
				t.Errorf("started %s, want %s", got, test.want)
			}
		})
	}
}

func TestMissedInjection(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"injected":                   {func(p *corev1.Pod) { p.Annotations[annotation.Objects] = "a" }, false},
		"asks for nothing":           {func(p *corev1.Pod) { p.Labels = nil }, false},
		"asks and has nothing":       {func(p *corev1.Pod) { p.Labels = nil; p.Annotations[annotation.Objects] = "a" }, true},
		"asks for an existing class": {func(p *corev1.Pod) { p.Labels = nil; p.Annotations[annotation.SecretProviderClass] = "a" }, true},
		"opted out": {func(p *corev1.Pod) {
			p.Labels, p.Annotations = nil, map[string]string{annotation.Objects: "a", annotation.Inject: "false"}
		}, false},
		"has ended": {func(p *corev1.Pod) {
			p.Labels, p.Annotations, p.Status.Phase = nil, map[string]string{annotation.Objects: "a"}, corev1.PodFailed
		}, false},
		"only wants to be rolled": {func(p *corev1.Pod) { p.Labels = nil; p.Annotations[annotation.RestartOn] = "auto" }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := slimPod(injectedPod("web", "web-1", "files", test.change)).missed(); got != test.want {
				t.Errorf("missed %t, want %t", got, test.want)
			}
		})
	}
}
