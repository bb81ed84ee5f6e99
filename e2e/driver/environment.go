package driver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secretGetter reads a Secret as a kubelet does; its error for a missing one
// is the kubelet's.
type secretGetter func(ctx context.Context, name string) (*corev1.Secret, error)

func (d *Driver) secretsOf(namespace string) secretGetter {
	return func(ctx context.Context, name string) (*corev1.Secret, error) {
		secret, err := d.kubelet.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
		}
		return secret, err
	}
}

// environment is what a container finds at its start: plain values and what
// comes from Secrets. Other sources are left out.
func environment(ctx context.Context, get secretGetter, namespace string, c *corev1.Container) (map[string]string, error) {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.SecretRef == nil {
			continue
		}
		secret, err := get(ctx, from.SecretRef.Name)
		switch {
		case apierrors.IsNotFound(err) && isTrue(from.SecretRef.Optional):
			continue
		case err != nil:
			return nil, err
		}
		for k, v := range secret.Data {
			env[from.Prefix+k] = string(v)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = e.Value
			continue
		}
		if e.ValueFrom.SecretKeyRef == nil {
			continue
		}
		value, found, err := secretKey(ctx, get, namespace, e.ValueFrom.SecretKeyRef)
		if err != nil {
			return nil, err
		}
		if found {
			env[e.Name] = value
		}
	}
	return env, nil
}

func secretKey(ctx context.Context, get secretGetter, namespace string, ref *corev1.SecretKeySelector) (value string, found bool, err error) {
	secret, err := get(ctx, ref.Name)
	switch {
	case apierrors.IsNotFound(err) && isTrue(ref.Optional):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	raw, found := secret.Data[ref.Key]
	if !found && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name)
	}
	return string(raw), found, nil
}

// secretFiles is what a volume shows of Secrets; empty for a volume that shows none.
func secretFiles(ctx context.Context, get secretGetter, v *corev1.Volume) (map[string]File, error) {
	files := map[string]File{}
	if v.Secret != nil {
		return files, addSecret(ctx, get, files, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	}
	if v.Projected == nil {
		return files, nil
	}
	for _, source := range v.Projected.Sources {
		if source.Secret == nil {
			continue
		}
		if err := addSecret(ctx, get, files, source.Secret.Name, source.Secret.Items, source.Secret.Optional); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func addSecret(ctx context.Context, get secretGetter, files map[string]File, name string, items []corev1.KeyToPath, optional *bool) error {
	secret, err := get(ctx, name)
	switch {
	case apierrors.IsNotFound(err) && isTrue(optional):
		return nil
	case err != nil:
		return err
	}
	if len(items) == 0 {
		for k, v := range secret.Data {
			files[k] = File{Secret: name, Value: string(v)}
		}
		return nil
	}
	for _, item := range items {
		raw, found := secret.Data[item.Key]
		switch {
		case found:
			files[item.Path] = File{Secret: name, Value: string(raw)}
		case !isTrue(optional):
			return fmt.Errorf("references non-existent secret key: %s", item.Key)
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }
