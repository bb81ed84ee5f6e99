package cluster

import (
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/e2e/driver"
)

var (
	secretName = corev1.LocalObjectReference{Name: "db"}
	readOnly   = true
	optional   = true
)

// podsByNeed each differ from a plain pod by what the name says.
var podsByNeed = map[string]func(*corev1.PodSpec){
	"nothing":             func(*corev1.PodSpec) {},
	"a-volume-of-nothing": func(p *corev1.PodSpec) { volume(p, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}) },
	"a-pull-secret":       func(p *corev1.PodSpec) { p.ImagePullSecrets = []corev1.LocalObjectReference{secretName} },
	"a-projected-config-map": func(p *corev1.PodSpec) {
		project(p, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: secretName, Optional: &optional}})
	},
	"env-of-a-config-map": func(p *corev1.PodSpec) {
		p.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: secretName, Key: "a", Optional: &optional}}}}
	},
	"env-from-a-config-map": func(p *corev1.PodSpec) {
		p.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: secretName, Optional: &optional}}}
	},
	"another-csi-driver": func(p *corev1.PodSpec) {
		volume(p, corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "other.example"}})
	},
	"literal-env": func(p *corev1.PodSpec) { p.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "1"}} },
	"the-csi-volume": func(p *corev1.PodSpec) {
		volume(p, corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver.Name, ReadOnly: &readOnly}})
	},
	"a-secret-volume": func(p *corev1.PodSpec) {
		volume(p, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db"}})
	},
	"a-projected-secret": func(p *corev1.PodSpec) {
		project(p, corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: secretName}})
	},
	"env-of-a-secret":        func(p *corev1.PodSpec) { p.Containers[1].Env = secretEnv() },
	"env-from-a-secret":      func(p *corev1.PodSpec) { p.Containers[1].EnvFrom = secretEnvFrom() },
	"init-env-of-a-secret":   func(p *corev1.PodSpec) { p.InitContainers[0].Env = secretEnv() },
	"init-env-from-a-secret": func(p *corev1.PodSpec) { p.InitContainers[0].EnvFrom = secretEnvFrom() },
	"the-second-of-two-volumes": func(p *corev1.PodSpec) {
		volume(p, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
		volume(p, corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver.Name, ReadOnly: &readOnly}})
	},
	"the-second-of-two-env": func(p *corev1.PodSpec) {
		p.Containers[0].Env = append([]corev1.EnvVar{{Name: "B", Value: "1"}}, secretEnv()...)
	},
}

func volume(p *corev1.PodSpec, source corev1.VolumeSource) {
	p.Volumes = append(p.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", len(p.Volumes)), VolumeSource: source})
}

func project(p *corev1.PodSpec, sources ...corev1.VolumeProjection) {
	volume(p, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}})
}

func secretEnv() []corev1.EnvVar {
	return []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: secretName, Key: "a"},
	}}}
}

func secretEnvFrom() []corev1.EnvFromSource {
	return []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: secretName}}}
}

func podWith(name string, need func(*corev1.PodSpec)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "init", Image: "init"}},
			Containers:     []corev1.Container{{Name: "app", Image: "app"}, {Name: "side", Image: "side"}},
		},
	}
	need(&pod.Spec)
	return pod
}

// Every pod is started by kwok or by the driver's model, none by both and none
// by neither: kwok is asked, with the model's own rule as the expectation.
func TestKwokStartsExactlyThePodsThatTheDriverModelDoesNotOwn(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	pods := shared.Client().CoreV1().Pods(ns)
	for name, need := range podsByNeed {
		if _, err := pods.Create(ctx, podWith(name, need), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// kwok handles pods in the order of their binding: once a pod that is bound
	// after all others runs, it has passed by those that it left alone.
	eventually(t, "all pods bound", func() (bool, string) {
		list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName="})
		return err == nil && len(list.Items) == 0, fmt.Sprint(err)
	})
	if _, err := pods.Create(ctx, podWith("last", func(*corev1.PodSpec) {}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	phase := func(name string) corev1.PodPhase {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return pod.Status.Phase
	}
	eventually(t, "last pod runs", func() (bool, string) { return phase("last") == corev1.PodRunning, string(phase("last")) })

	for name, need := range podsByNeed {
		owned := driver.Owns(podWith(name, need))
		want := map[bool]corev1.PodPhase{true: corev1.PodPending, false: corev1.PodRunning}[owned]
		if want == corev1.PodRunning {
			eventually(t, name+" runs", func() (bool, string) { return phase(name) == want, string(phase(name)) })
		} else if got := phase(name); got != want {
			t.Errorf("a pod with %s is %s, want %s", name, got, want)
		}
	}

	// kwok ends all that are deleted, the model's too.
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all pods deleted", func() (bool, string) {
		list, err := pods.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, fmt.Sprint(len(list.Items), err)
	})
}

func TestKwokDoesNotCompleteAJobsPodThatTheDriverModelRuns(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	job := func(name string, need func(*corev1.PodSpec)) {
		template := corev1.PodTemplateSpec{Spec: podWith("", need).Spec}
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: template}}
		if _, err := shared.Client().BatchV1().Jobs(ns).Create(ctx, job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	podOf := func(job string) corev1.Pod {
		list, err := shared.Client().CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
		if err != nil || len(list.Items) == 0 {
			return corev1.Pod{}
		}
		return list.Items[0]
	}

	job("owned", podsByNeed["env-of-a-secret"])
	eventually(t, "the model's pod is bound", func() (bool, string) { return podOf("owned").Spec.NodeName != "", "" })
	running := []byte(`{"status":{"phase":"Running"}}`)
	if _, err := shared.Client().CoreV1().Pods(ns).Patch(ctx, podOf("owned").Name, types.MergePatchType, running, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	job("plain", podsByNeed["nothing"])
	eventually(t, "the other pod is done", func() (bool, string) {
		phase := podOf("plain").Status.Phase
		return phase == corev1.PodSucceeded, string(phase)
	})
	if phase := podOf("owned").Status.Phase; phase != corev1.PodRunning {
		t.Fatalf("the model's pod is %s", phase)
	}
}
