package stories

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/reloader"
)

// TestReloader moves people over who come from Reloader, with their YAML as it
// is, in namespaces that nobody has labelled.
func TestReloader(t *testing.T) {
	needsModel(t, "issue certificates")
	manifests := guide(t)
	synced, files, after := reloads(t, "reload-synced"), reloads(t, "reload-files"), raise(t, "reload-after")
	synced.apply(manifests[0])
	files.apply(manifests[1])
	after.apply(manifests[2])
	auto := reloads(t, "reload-auto").deployedReloading(mountAndEnv, reloader.Auto, "true", reloader.ConfigMapReload, "app-config")
	named := reloads(t, "reload-named").deployedReloading(mountAndEnv, reloader.SecretReload, "app-.*,by-hand,*-tls", reloader.ClassReload, "nothing")
	untouched := fleet{reloads(t, "reload-not").deployedReloading(mountAndEnv)}
	certificates := reloads(t, "reload-certificates")
	guided := fleet{synced.target("Deployment", "web", bothInEnv), files.target("Deployment", "web", nil)}
	f := append(guided[:2:2],
		after.target("Deployment", "web", bothInEnv),
		auto,
		named,
		reloads(t, "reload-two").deployedReloading(mountTwo, reloader.Auto, "true"),
		reloads(t, "reload-injected").injectedByOthers(),
		reloads(t, "reload-set").setReloading(),
		reloads(t, "reload-daemon").daemonReloading(),
		certificates.deployedWithCertificate(),
	)
	rotate := func() {
		f.rotate("db-username", "db-password")
		certificates.rotateCertificate()
	}
	all := append(untouched[:1:1], f...)
	all.settled(t, "deployed")
	all.rolled(t, "a deployment rolls nothing by itself", 0)

	everyGeneration(t, func(t *testing.T, _ generation) {
		rotate()
		f.settled(t, "rotated")
		f.rolledSoFar(t, "one rollout", 1)

		rotate()
		f.rolling(t)
		killWatcher(t)
		takeOver(t)
		f.settled(t, "rotated, and the watcher killed meanwhile")
		f.rolled(t, "one rollout", 1)
		untouched.rolledSoFar(t, "nobody asked for it", 0)
	})
	untouched[0].written(t, "keyroll-watcher", false)
	auto.written(t, "keyroll-watcher", true) // so that the check above means something
	certificates.wantPair(t)
	t.Run("what is not honored is told", func(t *testing.T) {
		auto.toldThat(t, "ReloaderAnnotationNotHonored", reloader.ConfigMapReload+": ConfigMaps are not followed")
		named.toldThat(t, "ReloaderAnnotationNotHonored", `"*-tls" is no regular expression`, "by-hand is no Secret that the driver fills",
			"the pods take from no SecretProviderClass nothing")
	})
	t.Run("Reloader at work beside", func(t *testing.T) {
		guided[0].rollAsReloader(t, byVariable)
		guided[1].rollAsReloader(t, byAnnotation)
		guided.settled(t, "its rollout")
		guided.rolled(t, "no second one", 1)
		for _, w := range guided {
			w.told(t, w.kind, w.name, "ReloaderActive")
		}
	})
}

// guide reads the manifests that the documentation shows: the guide's two
// patterns, and what takes their place.
func guide(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/migrate-from-reloader.md")
	if err != nil {
		t.Fatal(err)
	}
	var manifests []string
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		manifests = append(manifests, block[1])
	}
	if len(manifests) != 3 {
		t.Fatalf("the documentation shows %d manifests, want 3", len(manifests))
	}
	return manifests
}

// reloads is raise for a namespace that is not labelled for injection.
func reloads(t *testing.T, ns string) *story {
	t.Helper()
	s := raise(t, ns)
	s.kubectl("label", "namespace", ns, annotation.InjectionLabel+"-")
	return s
}

// apply is kubectl apply of a manifest of the documentation.
func (s *story) apply(manifest string) {
	s.t.Helper()
	manifest = strings.NewReplacer("<client-id>", clientID, "<tenant-id>", tenantID, "<key-vault>", s.vault).Replace(manifest)
	cmd := s.KubectlCommand(s.t.Context(), "apply", "--server-side", "--force-conflicts", "--namespace="+s.ns, "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

func mountPlainly(d *appsv1.Deployment, classes ...string) {
	mount(d, classes...)
	d.Spec.Template.Annotations = nil
}

func readSecret(d *appsv1.Deployment, secret, variable, key string) {
	container := &d.Spec.Template.Spec.Containers[0]
	container.Env = append(container.Env, corev1.EnvVar{Name: variable, ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key},
	}})
}

// mountAndEnv mounts a class and reads the Secret that it fills.
func mountAndEnv(s *story, d *appsv1.Deployment) (env map[string]string) {
	s.class("app", map[string]any{
		"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-username", "") + s.object("db-password", "")),
		"secretObjects": []any{map[string]any{
			"secretName": "app-secrets", "type": "Opaque",
			"data": []any{map[string]any{"objectName": "db-password", "key": "password"}},
		}},
	})
	mountPlainly(d, "app")
	readSecret(d, "app-secrets", "DB_PASSWORD", "password")
	return map[string]string{"DB_PASSWORD": "db-password"}
}

// mountTwo mounts two classes, and reads the Secret that each fills.
func mountTwo(s *story, d *appsv1.Deployment) (env map[string]string) {
	env = map[string]string{"DB_USERNAME": "db-username", "DB_PASSWORD": "db-password"}
	mountPlainly(d, "db-username", "db-password")
	for variable, object := range env {
		s.class(object, map[string]any{
			"provider": "azure", "parameters": s.parameters("array:\n" + s.object(object, "")),
			"secretObjects": []any{map[string]any{
				"secretName": "of-" + object, "type": "Opaque",
				"data": []any{map[string]any{"objectName": object, "key": "value"}},
			}},
		})
		readSecret(d, "of-"+object, variable, "value")
	}
	return env
}

// reloading is a Deployment with annotations of Reloader's, as key, value, ...
func (s *story) reloading(shape func(*story, *appsv1.Deployment) map[string]string, annotations ...string) (*appsv1.Deployment, map[string]string) {
	s.t.Helper()
	d := s.deployment(appName, 3, map[string]string{})
	for i := 0; i < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d, shape(s, d)
}

func (s *story) deployedReloading(shape func(*story, *appsv1.Deployment) map[string]string, annotations ...string) *target {
	s.t.Helper()
	d, env := s.reloading(shape, annotations...)
	s.create(d)
	return s.target("Deployment", appName, env)
}

// setReloading is a StatefulSet whose template has the annotation.
func (s *story) setReloading() *target {
	s.t.Helper()
	d, env := s.reloading(mountAndEnv)
	set := s.statefulSet(appName, 2, nil, func(set *appsv1.StatefulSet) {
		set.Spec.Template.Spec = d.Spec.Template.Spec
		set.Spec.Template.Annotations = map[string]string{reloader.Auto: "true"}
	})
	set.env = env
	return set
}

// daemonReloading is a DaemonSet that has the annotation on itself.
func (s *story) daemonReloading() *target {
	s.t.Helper()
	d, env := s.reloading(mountAndEnv)
	w := s.daemonSet(appName, map[string]string{reloader.SecretAuto: "true"}, func(set *appsv1.DaemonSet) {
		set.Spec.Template.Spec = d.Spec.Template.Spec
	})
	w.env = env
	return w
}

// injectedByOthers follows the classes that its pods mount. The template mounts
// none: a policy of others adds the volume to the pods, where Reloader never looks.
func (s *story) injectedByOthers() *target {
	s.t.Helper()
	s.class("app", map[string]any{"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-password", ""))})
	s.mountAtAdmission("app")
	d := s.deployment(appName, 2, map[string]string{reloader.ClassAuto: "true"})
	d.Spec.Template.Spec.ServiceAccountName = account
	s.create(d)
	return s.target("Deployment", appName, nil)
}

// mountAtAdmission makes a policy that has all pods of the namespace mount the
// class, and waits until it is in force.
func (s *story) mountAtAdmission(class string) {
	s.t.Helper()
	policies, bindings := s.Client().AdmissionregistrationV1().MutatingAdmissionPolicies(), s.Client().AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	policy := &admissionv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "mount-" + s.ns},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				},
			}}},
			ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			Mutations: []admissionv1.Mutation{{
				PatchType: admissionv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: fmt.Sprintf(`Object{spec: Object.spec{
					volumes: [Object.spec.volumes{name: "files", csi: Object.spec.volumes.csi{
						driver: %q, readOnly: true, volumeAttributes: {%q: %q}}}],
					containers: [Object.spec.containers{name: "app", volumeMounts: [
						Object.spec.containers.volumeMounts{name: "files", mountPath: "/mnt/files", readOnly: true}]}]}}`,
					driver.Name, driver.ClassAttribute, class)},
			}},
		},
	}
	binding := &admissionv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName:     policy.Name,
			MatchResources: s.here(),
		},
	}
	putUp(s.t, policies, policy)
	putUp(s.t, bindings, binding)
	eventually(s.t, "the policy is in force", func(ctx context.Context) string {
		made, err := s.Client().CoreV1().Pods(s.ns).Create(ctx, s.pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err != nil:
			return err.Error()
		case !slices.ContainsFunc(made.Spec.Volumes, func(v corev1.Volume) bool { return v.CSI != nil }):
			return "a pod would have no such volume"
		}
		return ""
	})
}

// toldThat waits until Events of a reason on the workload have said all of that.
func (w *target) toldThat(t *testing.T, reason string, texts ...string) {
	t.Helper()
	eventually(t, w.ns+" is told", func(ctx context.Context) string {
		events, err := w.eventsOn(ctx, w.kind, w.name)
		if err != nil {
			return err.Error()
		}
		var told strings.Builder
		for _, e := range events {
			if e.Reason == reason {
				told.WriteString(e.Message + "\n")
			}
		}
		for _, text := range texts {
			if !strings.Contains(told.String(), text) {
				return fmt.Sprintf("not of %q, but of %q", text, told.String())
			}
		}
		return ""
	})
}

// written wants the workload to have, or not to have, anything that a field manager wrote.
func (w *target) written(t *testing.T, manager string, want bool) {
	t.Helper()
	object, err := w.object(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := slices.ContainsFunc(object.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
	if got != want {
		t.Errorf("%s is written by %s: %t, want %t", w.ns, manager, got, want)
	}
}
