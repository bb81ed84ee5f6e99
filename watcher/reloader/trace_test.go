package reloader

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestTraces(t *testing.T) {
	last := func(text string) *corev1.PodTemplateSpec {
		template := &corev1.PodTemplateSpec{}
		template.Annotations = map[string]string{LastReloadedFrom: text}
		return template
	}
	secret := Variable(KindSecret, "app-secrets")
	tests := map[string]struct {
		template *corev1.PodTemplateSpec
		want     map[string]string
	}{
		"none": {template: &corev1.PodTemplateSpec{}},
		"variables, and none of others": {
			template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "app", Env: []corev1.EnvVar{{Name: "STAKATER_APP_SECRETS_SECRET", Value: "1"}, {Name: "LEVEL", Value: "2"}}},
				{Name: "proxy", Env: []corev1.EnvVar{{Name: "STAKATER_APP_CONFIG_CONFIGMAP", Value: "3"}}},
			}}},
			want: map[string]string{secret: "app=1", "STAKATER_APP_CONFIG_CONFIGMAP": "proxy=3"},
		},
		"the annotation":                 {last(`{"type":"SECRET","name":"app-secrets"}`), map[string]string{secret: `{"type":"SECRET","name":"app-secrets"}`}},
		"of a version that writes _":     {last(`{"type":"_SECRET","name":"app-secrets"}`), map[string]string{secret: `{"type":"_SECRET","name":"app-secrets"}`}},
		"of a version that writes kinds": {last(`{"kind":"secret","name":"app-secrets"}`), map[string]string{secret: `{"kind":"secret","name":"app-secrets"}`}},
		"which cannot be read":           {last(`{`), map[string]string{"STAKATER__": `{`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got map[string]string
			Traces(test.template, func(variable, written string) {
				if got == nil {
					got = map[string]string{}
				}
				got[variable] = written
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestVariable(t *testing.T) {
	for name, want := range map[string]string{
		"app-secrets":       "STAKATER_APP_SECRETS_SECRET",
		"shop.example--com": "STAKATER_SHOP_EXAMPLE_COM_SECRET",
		"7-of-9":            "STAKATER_7_OF_9_SECRET",
	} {
		if got := Variable(KindSecret, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
