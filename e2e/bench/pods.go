package main

import (
	"encoding/json"
	"fmt"
	"maps"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/internal/annotation"
)

// asks are the annotations of a pod that is to be injected.
var asks = map[string]string{
	annotation.Objects: "db-username,db-password,cert/tls,key/signing", annotation.ServiceAccount: account,
}

// withEnv asks for variables, too, so that those that the containers have matter.
func withEnv() map[string]string {
	a := maps.Clone(asks)
	a[annotation.Env] = "DB_USERNAME=db-username,DB_PASSWORD=db-password"
	return a
}

// template is a pod as people write it: app and init containers, each with this
// many variables, and with probes, resources and a security context.
func template(apps, inits, variables int, annotations map[string]string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "web-6d4cf56db6-",
			Labels:       map[string]string{"app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop"},
			Annotations:  annotations,
		},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", // a pod that is not bound disturbs no measurement
			Volumes:       []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
	for i := range inits {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, container(fmt.Sprintf("init-%d", i), variables))
	}
	for i := range apps {
		c := container(fmt.Sprintf("app-%d", i), variables)
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/ready", "--within=5s"}}}, PeriodSeconds: 5}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

func container(name string, variables int) corev1.Container {
	no := false
	c := corev1.Container{
		Name: name, Image: "registry.example.com/shop/" + name + ":1.2.3", Args: []string{"serve", "--port=8080", "--verbose=false"},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		},
		VolumeMounts:    []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/data"}},
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
	}
	for i := range variables {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%03d", i), Value: fmt.Sprintf("value %d of a setting", i)})
	}
	return c
}

// reviewOf is a review as the API server sends one of a pod that is created.
func reviewOf(pod *corev1.Pod) ([]byte, error) {
	object := pod.DeepCopy()
	object.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	kind, resource := metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	no := false
	r := &admissionv1.AdmissionRequest{
		UID: "0f5c8a6e-6a52-4c43-9c3a-5b5f3a8f1b11", Kind: kind, RequestKind: &kind, Resource: resource, RequestResource: &resource,
		Namespace: pod.Namespace, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw}, DryRun: &no,
		Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`)},
	}
	r.UserInfo.Username = "system:serviceaccount:kube-system:replicaset-controller"
	r.UserInfo.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}
	return json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r})
}
