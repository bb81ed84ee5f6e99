package stories

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/internal/annotation"
)

// app is one Deployment that depends on db-username and db-password.
type app struct {
	*story
	pattern  string
	replicas int32
	env      map[string]string // variable to secret
	before   rollouts
}

const appName = "web"

// patterns are the ways in which people ask for secrets.
var patterns = []struct {
	name   string
	env    map[string]string
	deploy func(*story, int32)
}{
	{"files", nil, deployFiles},
	{"env", map[string]string{"DB_PASSWORD": "db-password"}, deployEnv},
	{"guide", map[string]string{"DB_USERNAME": "db-username", "DB_PASSWORD": "db-password"}, deployGuide},
}

func deployFiles(s *story, replicas int32) {
	s.create(s.deployment(appName, replicas, map[string]string{
		annotation.Objects: "db-username,db-password", annotation.ServiceAccount: account,
	}))
}

func deployEnv(s *story, replicas int32) {
	s.create(s.deployment(appName, replicas, map[string]string{
		annotation.Objects: "db-username,db-password", annotation.ServiceAccount: account,
		annotation.Env: "DB_PASSWORD=db-password",
	}))
}

// deployGuide is the class and the Deployment of the published guide for Azure
// Key Vault and the CSI driver, with one annotation of ours.
func deployGuide(s *story, replicas int32) {
	s.t.Helper()
	class := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": driver.GroupVersion.String(),
		"kind":       "SecretProviderClass",
		"metadata":   map[string]any{"name": "akv-app-secrets", "namespace": s.ns},
		"spec": map[string]any{
			"provider": "azure",
			"parameters": map[string]any{
				"keyvaultName": s.vault, "tenantId": tenantID, "clientID": clientID,
				"objects": "array:\n  - |\n    objectName: db-username\n    objectType: secret\n  - |\n    objectName: db-password\n    objectType: secret\n",
			},
			"secretObjects": []any{map[string]any{
				"secretName": "app-secrets", "type": "Opaque",
				"data": []any{
					map[string]any{"objectName": "db-username", "key": "username"},
					map[string]any{"objectName": "db-password", "key": "password"},
				},
			}},
		},
	}}
	client, err := dynamic.NewForConfig(s.Admin())
	if err != nil {
		s.t.Fatal(err)
	}
	resource := driver.GroupVersion.WithResource("secretproviderclasses")
	if _, err := client.Resource(resource).Namespace(s.ns).Create(s.t.Context(), class, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}

	d := s.deployment(appName, replicas, nil)
	d.Spec.Template.Annotations = map[string]string{annotation.SecretProviderClass: "akv-app-secrets"}
	pod := &d.Spec.Template.Spec
	pod.ServiceAccountName = account
	readOnly := true
	pod.Volumes = []corev1.Volume{{Name: "secrets-store", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: driver.Name, ReadOnly: &readOnly, VolumeAttributes: map[string]string{driver.ClassAttribute: "akv-app-secrets"},
	}}}}
	container := &pod.Containers[0]
	container.VolumeMounts = []corev1.VolumeMount{{Name: "secrets-store", MountPath: "/mnt/secrets-store", ReadOnly: true}}
	for variable, key := range map[string]string{"DB_USERNAME": "username", "DB_PASSWORD": "password"} {
		container.Env = append(container.Env, corev1.EnvVar{Name: variable, ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "app-secrets"}, Key: key},
		}})
	}
	s.create(d)
}

// settle waits until the rollout is complete and every pod runs on the newest content.
func (a *app) settle(t *testing.T) {
	t.Helper()
	eventually(t, a.ns+" is up to date", func(ctx context.Context) string {
		if lacking := a.complete(ctx, appName); lacking != "" {
			return lacking
		}
		return a.outdated(a.env)
	})
}

// TestRotation plays one rotation after the other with every pattern in every
// size at the same time.
func TestRotation(t *testing.T) {
	var apps []*app
	for _, p := range patterns {
		for _, replicas := range []int32{1, 3, 30} {
			s := begin(t, fmt.Sprintf("rotation-%s-%d", p.name, replicas))
			p.deploy(s, replicas)
			apps = append(apps, &app{story: s, pattern: p.name, replicas: replicas, env: p.env})
		}
	}
	each := func(name string, f func(*testing.T, *app)) {
		t.Helper()
		for _, a := range apps {
			t.Run(fmt.Sprintf("%s/%s/%d pods", name, a.pattern, a.replicas), func(t *testing.T) {
				a.t = t
				f(t, a)
			})
		}
	}
	settled := func(t *testing.T, a *app) { a.settle(t) }
	counted := func(n int) func(*testing.T, *app) {
		return func(t *testing.T, a *app) {
			if got, want := a.rollouts(appName), a.before.and(n); got != want {
				t.Errorf("after %d rotations there are %+v, want %+v", n, got, want)
			}
			if lacking := a.outdated(a.env); lacking != "" {
				t.Error(lacking)
			}
		}
	}
	rotate := func() {
		for _, a := range apps {
			a.rotate("db-password")
		}
	}

	each("deployed", settled)
	quiet(t)
	each("a deployment rolls nothing by itself", func(t *testing.T, a *app) {
		a.before = a.rollouts(appName)
		if a.before.ReplicaSets != 1 {
			t.Errorf("%d ReplicaSets after the first deployment, want 1", a.before.ReplicaSets)
		}
	})

	rotate()
	each("rotated", settled)
	quiet(t)
	each("one rotation is one rollout", counted(1))
	each("told in the rollout history", func(t *testing.T, a *app) { a.wantHistory(t, "keyroll: secret/db-password changed in vault "+a.vault) })

	if err := shared.StopWatcher(); err != nil {
		t.Fatal(err)
	}
	if err := shared.StartWatcher(t.Context()); err != nil {
		t.Fatal(err)
	}
	quiet(t)
	each("a restart of the watcher rolls nothing", counted(1))

	if err := shared.StopWatcher(); err != nil {
		t.Fatal(err)
	}
	rotate()
	each("polled without a watcher", func(t *testing.T, a *app) {
		eventually(t, "every pod holds the new files", func(context.Context) string { return a.lagging() })
	})
	each("nobody rolled", func(t *testing.T, a *app) {
		if got, want := a.rollouts(appName), a.before.and(1); got != want {
			t.Errorf("without a watcher there are %+v, want %+v", got, want)
		}
	})
	if err := shared.StartWatcher(t.Context()); err != nil {
		t.Fatal(err)
	}
	each("caught up", settled)
	quiet(t)
	each("a rotation while the watcher was away is one rollout", counted(2))
}

// lagging tells which live pod's files are behind the vault, "" if none.
func (a *app) lagging() string {
	newest, _ := a.Vault.Newest(a.vault, "secret", "db-password")
	for _, h := range a.Driver.Current(a.ns) {
		if got := h.Versions()[newest.ID()]; got != newest.Version {
			return fmt.Sprintf("pod %s holds %s, the vault has %s", h.Pod, got, newest.Version)
		}
	}
	return ""
}

// wantHistory looks for a cause in what kubectl rollout history prints last.
func (a *app) wantHistory(t *testing.T, cause string) {
	t.Helper()
	history := a.kubectl("rollout", "history", "deployment/"+appName, "--namespace="+a.ns)
	if !containsLine(history, cause) {
		t.Errorf("kubectl rollout history has no %q:\n%s", cause, history)
	}
}
