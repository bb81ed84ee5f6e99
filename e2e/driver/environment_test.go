package driver

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

func TestEnvironment(t *testing.T) {
	get := func(_ context.Context, name string) (*corev1.Secret, error) {
		if name != "have" {
			return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
		}
		return &corev1.Secret{Data: map[string][]byte{"a": []byte("1"), "b": []byte("2")}}, nil
	}
	ref := func(name, key string, optional *bool) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional,
		}}}}
	}
	from := func(name string, optional *bool) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: optional}}}
	}
	tests := map[string]struct {
		container corev1.Container
		want      map[string]string
		wantErr   string
	}{
		"a key":                          {container: corev1.Container{Env: ref("have", "a", nil)}, want: map[string]string{"X": "1"}},
		"a missing key":                  {container: corev1.Container{Env: ref("have", "c", nil)}, wantErr: "couldn't find key c in Secret shop/have"},
		"a missing Secret":               {container: corev1.Container{Env: ref("lack", "a", nil)}, wantErr: `secret "lack" not found`},
		"a missing key, optional":        {container: corev1.Container{Env: ref("have", "c", ptr.To(true))}, want: map[string]string{}},
		"a missing Secret, optional":     {container: corev1.Container{Env: ref("lack", "a", ptr.To(true))}, want: map[string]string{}},
		"all of a Secret":                {container: corev1.Container{EnvFrom: from("have", nil)}, want: map[string]string{"a": "1", "b": "2"}},
		"all of a missing one":           {container: corev1.Container{EnvFrom: from("lack", nil)}, wantErr: `secret "lack" not found`},
		"all of a missing one, optional": {container: corev1.Container{EnvFrom: from("lack", ptr.To(true))}, want: map[string]string{}},
		"a variable stands over what came with the Secret": {
			container: corev1.Container{EnvFrom: from("have", nil), Env: []corev1.EnvVar{{Name: "a", Value: "mine"}}},
			want:      map[string]string{"a": "mine", "b": "2"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := environment(t.Context(), get, "shop", &test.container)
			if text := errText(err); text != test.wantErr {
				t.Errorf("error %q, want %q", text, test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
