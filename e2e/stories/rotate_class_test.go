package stories

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/world"
	"keyroll.dev/internal/annotation"
)

// classEdited pins versions in a class and edits it: from A to B, and back to A.
// The class fills a Secret, from which the pods take a variable.
func classEdited(t *testing.T, g generation) {
	s := raise(t, "edited"+g.end)
	a := s.rotate("db-password")
	b := s.rotate("db-password")
	s.pin(t, a, "")
	d := s.deployment(appName, 3, nil)
	mount(d, "pinned")
	d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "DB_PASSWORD", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "pinned"}, Key: "password"},
	}}}
	s.create(d)
	w := s.target("Deployment", appName, nil)
	f := fleet{w}
	settled := func(version string) {
		t.Helper()
		eventually(t, "every pod started with the pinned version", func(ctx context.Context) string {
			if lacking := w.unfinished(ctx); lacking != "" {
				return lacking
			}
			return s.pinned(version, started)
		})
	}
	settled(a)
	f.rolled(t, "a deployment rolls nothing by itself", 0)

	s.pin(t, a, "# edited\n")
	f.rolled(t, "an edit that delivers the same", 0)

	s.pin(t, b, "")
	settled(b)
	f.rolled(t, "an edit that delivers another version", 1)
	s.pin(t, a, "")
	settled(a)
	f.rolled(t, "back again after a rollout", 1)

	// Nothing may roll when B comes and goes, because its people have paused it,
	holds := func(version string) {
		t.Helper()
		eventually(t, "the files follow", func(context.Context) string {
			return s.pinned(version, func(c world.Container) map[string]string { return c.Now })
		})
	}
	f.unmoved(t, "back again before a rollout", func() {
		s.kubectl("rollout", "pause", "deployment/"+appName, "--namespace="+s.ns)
		s.pin(t, b, "")
		holds(b)
		w.told(t, w.kind, w.name, "Paused")
		s.pin(t, a, "")
		holds(a)
		s.kubectl("rollout", "resume", "deployment/"+appName, "--namespace="+s.ns)
		w.counted.Generation += 2 // theirs
	})

	// or because one pod lags, which may put the old values back into the Secret.
	if g.of != driver.Republishing {
		return
	}
	f.unmoved(t, "none while the statuses disagree, and back again before a rollout", func() {
		lagging := w.podNames()[0]
		s.Driver.Pause(s.ns, lagging)
		defer s.Driver.Release(s.ns, lagging)
		others := func(version string) {
			t.Helper()
			eventually(t, "the other pods' files follow", func(context.Context) string {
				return s.pinned(version, func(c world.Container) map[string]string {
					if c.Pod == lagging {
						return map[string]string{s.id("db-password"): version}
					}
					return c.Now
				})
			})
		}
		s.pin(t, b, "")
		others(b)
		quiet(t)
		s.pin(t, a, "")
		others(a)
	})
	if lacking := s.pinned(a, started); lacking != "" {
		t.Error(lacking)
	}
}

// unmoved plays how content comes and goes, for which none is rolled. A watcher that
// takes over meanwhile may roll for it: of pods that are younger than a minute it
// cannot tell that they have what they started with.
func (f fleet) unmoved(t *testing.T, step string, comesAndGoes func()) {
	t.Helper()
	byOneWatcher(t, func() {
		comesAndGoes()
		quiet(t)
	}, func() { f.calm(t) })
	f.rolledSoFar(t, step, 0)
}

// calm waits until a watcher that has taken over has done what it found to do, and
// counts anew.
func (f fleet) calm(t *testing.T) {
	t.Helper()
	awaitLeader(t)
	for range 3 {
		quiet(t)
	}
	for _, w := range f {
		eventually(t, w.ns+"/"+w.name+" is rolled out", w.unfinished)
		w.counted = w.count(t)
	}
}

// pin writes the class with one version of db-password.
func (s *story) pin(t *testing.T, version, comment string) {
	t.Helper()
	s.t = t
	s.class("pinned", map[string]any{
		"provider": "azure", "parameters": s.parameters("array:\n" + comment + s.object("db-password", version)),
		"secretObjects": []any{map[string]any{
			"secretName": "pinned", "type": "Opaque",
			"data": []any{map[string]any{"objectName": "db-password", "key": "password"}},
		}},
	})
}

// started are the versions of a container's files when it started.
func started(c world.Container) map[string]string { return c.Started }

// pinned tells which live container does not have the version, "" if all have.
func (s *story) pinned(version string, has func(world.Container) map[string]string) string {
	return s.everyContainer(func(c world.Container) string {
		if got := has(c)[s.id("db-password")]; got != version {
			return fmt.Sprintf("has %s, want %s", got, version)
		}
		return ""
	})
}

// class makes a SecretProviderClass as people write it.
func (s *story) class(name string, object map[string]any) {
	s.t.Helper()
	if err := s.applyClass(s.t.Context(), name, object); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) applyClass(ctx context.Context, name string, spec map[string]any) error {
	client, err := dynamic.NewForConfig(s.Admin())
	if err != nil {
		return err
	}
	class := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": driver.GroupVersion.String(), "kind": "SecretProviderClass",
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
	_, err = client.Resource(driver.GroupVersion.WithResource("secretproviderclasses")).Namespace(s.ns).
		Apply(ctx, name, class, metav1.ApplyOptions{FieldManager: "people", Force: true})
	return err
}

// parameters are those of a class with the given objects.
func (s *story) parameters(objects string) map[string]any {
	return map[string]any{"keyvaultName": s.vault, "tenantId": s.Identity.TenantID, "clientID": s.Identity.ClientID, "objects": objects}
}

// object is one entry of a class's objects, of the newest version for "".
func (s *story) object(name, version string) string {
	entry := fmt.Sprintf("  - |\n    objectName: %s\n    objectType: secret\n", s.SecretOf(s.name, name))
	if version != "" {
		entry += fmt.Sprintf("    objectVersion: %q\n", version)
	}
	if !s.Modelled() {
		entry += "    objectAlias: " + name + "\n"
	}
	return entry
}

// mount has a Deployment's pods mount classes as people write it.
func mount(d *appsv1.Deployment, classes ...string) {
	d.Spec.Template.Annotations = map[string]string{annotation.SecretProviderClass: classes[0]}
	pod, readOnly := &d.Spec.Template.Spec, true
	pod.ServiceAccountName = account
	for _, class := range classes {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: class, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
			Driver: driver.Name, ReadOnly: &readOnly, VolumeAttributes: map[string]string{driver.ClassAttribute: class},
		}}})
		pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: class, MountPath: "/mnt/" + class, ReadOnly: true})
	}
}

// deployedWithTwoClasses annotates one of two classes only; both count.
func (s *story) deployedWithTwoClasses() *target {
	s.t.Helper()
	s.class("of-username", map[string]any{"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-username", ""))})
	s.class("of-password", map[string]any{"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-password", ""))})
	d := s.deployment(appName, 3, nil)
	mount(d, "of-username", "of-password")
	s.create(d)
	return s.target("Deployment", appName, nil)
}
