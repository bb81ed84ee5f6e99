package driver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestOwns(t *testing.T) {
	secretEnv := corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}}}}
	volume := func(v corev1.VolumeSource) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: v}}}
	}
	tests := map[string]struct {
		spec corev1.PodSpec
		want bool
	}{
		"nothing of the kind":            {spec: volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}})},
		"a token, as every pod has":      {spec: volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}})},
		"a volume of another driver":     {spec: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "disk.csi.azure.com"}})},
		"a volume of the driver":         {spec: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: Name}}), want: true},
		"a Secret as a volume":           {spec: volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}), want: true},
		"a Secret in a projected volume": {spec: volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{}}}}}), want: true},
		"env of a container":             {spec: corev1.PodSpec{Containers: []corev1.Container{{}, secretEnv}}, want: true},
		"env of an init container":       {spec: corev1.PodSpec{InitContainers: []corev1.Container{secretEnv}}, want: true},
		"envFrom":                        {spec: corev1.PodSpec{Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}}}}}, want: true},
		"envFrom a ConfigMap":            {spec: corev1.PodSpec{Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}}}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Owns(&corev1.Pod{Spec: test.spec}); got != test.want {
				t.Errorf("%v", got)
			}
		})
	}
}
