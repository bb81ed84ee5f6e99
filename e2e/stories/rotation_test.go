package stories

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

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
	s.guideClass()
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

func (s *story) guideClass() {
	s.t.Helper()
	s.class("akv-app-secrets", map[string]any{
		"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-username", "") + s.object("db-password", "")),
		"secretObjects": []any{map[string]any{
			"secretName": "app-secrets", "type": "Opaque",
			"data": []any{
				map[string]any{"objectName": "db-username", "key": "username"},
				map[string]any{"objectName": "db-password", "key": "password"},
			},
		}},
	})
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
			s := raise(t, fmt.Sprintf("rotation-%s-%d", p.name, replicas))
			p.deploy(s, replicas)
			apps = append(apps, &app{story: s, pattern: p.name, replicas: replicas, env: p.env})
		}
	}
	each := func(t *testing.T, name string, f func(*testing.T, *app)) {
		t.Helper()
		for _, a := range apps {
			t.Run(fmt.Sprintf("%s/%s/%d pods", name, a.pattern, a.replicas), func(t *testing.T) {
				a.t = t
				f(t, a)
			})
			a.t = t
		}
	}
	settled := func(t *testing.T, a *app) { a.settle(t) }
	rotations := 0
	counted := func(t *testing.T, a *app) {
		if got, want := a.rollouts(appName), a.before.and(rotations); got != want {
			t.Errorf("after %d rotations there are %+v, want %+v", rotations, got, want)
		}
		if lacking := a.outdated(a.env); lacking != "" {
			t.Error(lacking)
		}
	}
	rotate := func() {
		for _, a := range apps {
			a.rotate("db-password")
		}
		rotations++
	}

	each(t, "deployed", settled)
	quiet(t)
	each(t, "a deployment rolls nothing by itself", func(t *testing.T, a *app) {
		a.before = a.rollouts(appName)
		if a.before.ReplicaSets != 1 {
			t.Errorf("%d ReplicaSets after the first deployment, want 1", a.before.ReplicaSets)
		}
	})
	everyGeneration(t, func(t *testing.T, g generation) {
		rotate()
		each(t, "rotated", settled)
		quiet(t)
		each(t, "one rotation is one rollout", counted)
		each(t, "told in the rollout history", func(t *testing.T, a *app) {
			a.wantHistory(t, "keyroll: "+a.id("db-password")+" changed in vault "+a.vault)
		})
		if g.of != driver.Polling && !soaking() {
			return
		}

		away(t, func() {})
		quiet(t)
		each(t, "a restart of the watcher rolls nothing", counted)

		before := rotations
		away(t, func() {
			rotate()
			each(t, "polled without a watcher", func(t *testing.T, a *app) {
				eventually(t, "every pod holds the new files", func(context.Context) string { return a.behind("db-password") })
			})
			each(t, "nobody rolled", func(t *testing.T, a *app) {
				if got, want := a.rollouts(appName), a.before.and(before); got != want {
					t.Errorf("without a watcher there are %+v, want %+v", got, want)
				}
			})
		})
		each(t, "caught up", settled)
		quiet(t)
		each(t, "a rotation while the watcher was away is one rollout", counted)
	})
}

// away has no watcher for as long as something else happens.
func away(t *testing.T, while func()) {
	t.Helper()
	tend(t) // one that has just lost its lease would come back
	if err := shared.StopWatcher(t.Context()); err != nil {
		t.Fatal(err)
	}
	while()
	takeOver(t)
}

// wantHistory looks for a cause in what kubectl rollout history prints last.
func (a *app) wantHistory(t *testing.T, cause string) {
	t.Helper()
	history := a.kubectl("rollout", "history", "deployment/"+appName, "--namespace="+a.ns)
	if !containsLine(history, cause) {
		t.Errorf("kubectl rollout history has no %q:\n%s", cause, history)
	}
}
