package stories

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/reloader"
)

// TestReloader moves people over who come from Reloader, with their YAML as it
// is, in namespaces that nobody has labelled.
func TestReloader(t *testing.T) {
	manifests := guide(t)
	synced, files, after := reloads(t, "reload-synced"), reloads(t, "reload-files"), raise(t, "reload-after")
	synced.apply(manifests[0])
	files.apply(manifests[1])
	after.apply(manifests[2])
	untouched := fleet{reloads(t, "reload-not").deployedReloading(mountAndEnv)}
	certificates := reloads(t, "reload-certificates")
	f := fleet{
		synced.target("Deployment", "web", bothInEnv),
		files.target("Deployment", "web", nil),
		after.target("Deployment", "web", bothInEnv),
		reloads(t, "reload-auto").deployedReloading(mountAndEnv, reloader.Auto, "true", reloader.ConfigMapReload, "app-config"),
		reloads(t, "reload-two").deployedReloading(mountTwo, reloader.ClassAuto, "true"),
		reloads(t, "reload-named").deployedReloading(mountAndEnv, reloader.SecretReload, "app-.*", reloader.ClassReload, "nothing"),
		reloads(t, "reload-set").setReloading(),
		reloads(t, "reload-daemon").daemonReloading(),
		certificates.deployedWithCertificate(),
	}
	rotate := func() {
		f.rotate("db-username", "db-password")
		certificates.rotateCertificate()
	}
	all := append(append(fleet{}, f...), untouched...)
	all.settled(t, "deployed")
	all.rolled(t, "a deployment rolls nothing by itself", 0)
	f[3].told(t, "Deployment", appName, "ReloaderAnnotationNotHonored")

	for _, generation := range []driver.Generation{driver.Polling, driver.Republishing} {
		t.Run(generation.String(), func(t *testing.T) {
			if generation != driver.Polling {
				switchDriver(t, generation)
			}
			rotate()
			f.settled(t, "rotated")
			f.rolledSoFar(t, "one rollout", 1)

			rotate()
			f.rolling(t)
			shared.Watcher.Kill()
			startWatcher(t)
			f.settled(t, "rotated, and the watcher killed meanwhile")
			f.rolled(t, "one rollout", 1)
			untouched.rolledSoFar(t, "nobody asked for it", 0)
		})
	}
	certificates.wantPair(t)
	t.Run("Reloader at work beside", func(t *testing.T) {
		f[:1].each(t, "it rolls", func(t *testing.T, w *target) { w.rollAsReloader(t) })
		f[:1].settled(t, "its rollout")
		f[:1].rolled(t, "no second one", 1)
		f[0].told(t, "Deployment", "web", "ReloaderActive")
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

// mountTwo mounts two classes with an object each.
func mountTwo(s *story, d *appsv1.Deployment) (env map[string]string) {
	s.class("of-username", map[string]any{"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-username", ""))})
	s.class("of-password", map[string]any{"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-password", ""))})
	mountPlainly(d, "of-username", "of-password")
	return nil
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

// deployedWithCertificate mounts a certificate as its leaf, its public key, and
// the full chain with the private key, and has a Secret of it for TLS.
func (s *story) deployedWithCertificate() *target {
	s.t.Helper()
	s.rotateCertificate()
	objects := "array:\n"
	for _, kind := range []string{"cert", "key", "secret"} {
		objects += "  - |\n    objectName: site\n    objectType: " + kind + "\n    objectAlias: site." + kind + "\n"
	}
	s.class("site", map[string]any{
		"provider": "azure", "parameters": s.parameters(objects),
		"secretObjects": []any{map[string]any{
			"secretName": "site-tls", "type": "kubernetes.io/tls",
			"data": []any{
				map[string]any{"objectName": "site.secret", "key": "tls.crt"},
				map[string]any{"objectName": "site.secret", "key": "tls.key"},
			},
		}},
	})
	d := s.deployment(appName, 2, map[string]string{reloader.ClassReload: "site", reloader.SecretAuto: "true"})
	mountPlainly(d, "site")
	pod := &d.Spec.Template.Spec
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "site-tls"}}})
	pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: "/etc/tls", ReadOnly: true})
	s.create(d)
	return s.target("Deployment", appName, nil)
}

// rotateCertificate issues the certificate anew, by an authority of its own.
func (s *story) rotateCertificate() {
	s.t.Helper()
	check := func(err error) {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	check(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "site"}, NotAfter: time.Now().Add(time.Hour)}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	check(err)
	chain := encode("CERTIFICATE", leafDER) + encode("CERTIFICATE", caDER)
	s.Vault.SetCertificate(s.vault, "site", encode("CERTIFICATE", leafDER), encode("PUBLIC KEY", public), encode("PRIVATE KEY", private)+chain)
}

// wantPair wants every container to have started with the newest certificate: in
// the file of the chain, and in the Secret that fills its TLS volume.
func (s *story) wantPair(t *testing.T) {
	t.Helper()
	newest, _ := s.Vault.Newest(s.vault, "secret", "site")
	holdings := s.Driver.Current(s.ns)
	if len(holdings) == 0 {
		t.Error("no container runs")
	}
	for _, h := range holdings {
		if got := h.Start.Files["/mnt/site/site.secret"].Value; got != newest.Value {
			t.Errorf("pod %s started with another chain than the vault's", h.Pod)
		}
		crt, key := h.Start.Files["/etc/tls/tls.crt"].Value, h.Start.Files["/etc/tls/tls.key"].Value
		pair, err := tls.X509KeyPair([]byte(crt), []byte(key))
		if err != nil {
			t.Errorf("pod %s: %v", h.Pod, err)
			continue
		}
		leaf, _ := pem.Decode([]byte(newest.Value[strings.Index(newest.Value, "-----BEGIN CERTIFICATE"):]))
		if len(pair.Certificate) != 2 || !bytes.Equal(pair.Certificate[0], leaf.Bytes) {
			t.Errorf("pod %s started with %d certificates in its Secret, want the newest and its authority's", h.Pod, len(pair.Certificate))
		}
	}
}

// rollAsReloader writes into the template what Reloader writes.
func (w *target) rollAsReloader(t *testing.T) {
	t.Helper()
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"STAKATER_APP_SECRETS_SECRET","value":"da39a3ee"}]}]}}}}`
	if _, err := w.Kubectl(t.Context(), "patch", "deployment", w.name, "--namespace="+w.ns, "--field-manager=Reloader", "--patch="+patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its rollout has started", func(ctx context.Context) string { return w.unrolled(t)(ctx) })
}
