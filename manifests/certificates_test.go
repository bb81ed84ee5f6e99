package manifests

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The arguments of the webhook that say where its certificate comes from.
func TestEachModeHasItsSource(t *testing.T) {
	tests := map[string][]string{
		"install":      {"--ca-secret=keyroll-webhook-ca"},
		"everything":   {"--ca-secret=keyroll-webhook-ca", "--ca-duration=4380h", "--leaf-duration=24h"},
		"cert-manager": {"--cert-secret=keyroll-webhook-tls"},
		"files":        {"--cert-file=/etc/keyroll/tls/tls.crt", "--key-file=/etc/keyroll/tls/tls.key"},
	}
	all := variants(t)
	for name, want := range tests {
		isSource := func(arg string) bool {
			return slices.ContainsFunc([]string{"--ca-", "--leaf-", "--cert-", "--key-"}, func(flag string) bool { return strings.HasPrefix(arg, flag) })
		}
		got := slices.DeleteFunc(webhookContainer(t, all[name]).Args, func(arg string) bool { return !isSource(arg) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func webhookContainer(t *testing.T, all []runtime.Object) corev1.Container {
	t.Helper()
	return named[*appsv1.Deployment](t, all, "keyroll-webhook").Spec.Template.Spec.Containers[0]
}

// The chain leads from an issuer that signs itself to the Secret that the webhook
// reads, and the configuration asks for the CA that is in it.
func TestCertManagerIssuesWhatTheWebhookReads(t *testing.T) {
	all := objects(t, variant(t, "cert-manager"))
	leaf := named[*cmapi.Certificate](t, all, "keyroll-webhook-tls")
	if got, want := argument(webhookContainer(t, all), "--cert-secret"), leaf.Spec.SecretName; got != want {
		t.Errorf("the webhook reads Secret %s, the certificate is in %s", got, want)
	}
	if got, want := configuration(t, all).Annotations[cmapi.WantInjectAnnotation], namespace+"/"+leaf.Name; got != want {
		t.Errorf("the CA is injected from %q, want %q", got, want)
	}
	service := "keyroll-webhook." + namespace + ".svc"
	if !slices.Contains(leaf.Spec.DNSNames, service) {
		t.Errorf("the certificate is for %s, want %s", leaf.Spec.DNSNames, service)
	}
	if diff := cmp.Diff([]cmapi.KeyUsage{cmapi.UsageDigitalSignature, cmapi.UsageServerAuth}, leaf.Spec.Usages); diff != "" {
		t.Errorf("usages (-want +got)\n%s", diff)
	}

	issuer := issuerOf(t, all, leaf)
	if issuer.Spec.CA == nil {
		t.Fatalf("issuer %s is no CA", issuer.Name)
	}
	authority := named[*cmapi.Certificate](t, all, "keyroll-webhook-issuer")
	if !authority.Spec.IsCA || authority.Spec.SecretName != issuer.Spec.CA.SecretName {
		t.Errorf("issuer %s signs with Secret %s, the authority is in %s", issuer.Name, issuer.Spec.CA.SecretName, authority.Spec.SecretName)
	}
	if root := issuerOf(t, all, authority); root.Spec.SelfSigned == nil {
		t.Errorf("the authority is issued by %s, which does not sign itself", root.Name)
	}
	for _, c := range []*cmapi.Certificate{leaf, authority} {
		want := &cmapi.CertificatePrivateKey{RotationPolicy: cmapi.RotationPolicyAlways, Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}
		if diff := cmp.Diff(want, c.Spec.PrivateKey); diff != "" {
			t.Errorf("key of %s (-want +got)\n%s", c.Name, diff)
		}
	}
	// The leaf is renewed, and so signed by the new authority, well before the old one ends.
	if leaf.Spec.Duration.Duration > authority.Spec.Duration.Duration/3 || leaf.Spec.Duration.Duration < time.Hour {
		t.Errorf("the certificate lives for %v, its authority for %v", leaf.Spec.Duration.Duration, authority.Spec.Duration.Duration)
	}
	// What a change of mode leaves behind is not taken for the webhook's own.
	own := argument(webhookContainer(t, objects(t, Install)), "--ca-secret")
	for _, c := range only[*cmapi.Certificate](all) {
		if c.Spec.SecretName == own {
			t.Errorf("%s writes Secret %s, which is the webhook's", c.Name, own)
		}
	}
}

func issuerOf(t *testing.T, all []runtime.Object, c *cmapi.Certificate) *cmapi.Issuer {
	t.Helper()
	if ref := c.Spec.IssuerRef; ref.Group != "cert-manager.io" || ref.Kind != cmapi.IssuerKind {
		t.Fatalf("%s is issued by %+v", c.Name, ref)
	}
	return named[*cmapi.Issuer](t, all, c.Spec.IssuerRef.Name)
}

func TestOnlyItsModeNeedsCertManager(t *testing.T) {
	for name, all := range variants(t) {
		if name != "cert-manager" && len(only[*cmapi.Certificate](all))+len(only[*cmapi.Issuer](all)) > 0 {
			t.Errorf("%s needs cert-manager", name)
		}
	}
}

// Files are mounted where the arguments say, and the configuration has the bundle
// that was given with them.
func TestFilesAreMounted(t *testing.T) {
	all := objects(t, variant(t, "files"))
	pod := named[*appsv1.Deployment](t, all, "keyroll-webhook").Spec.Template.Spec
	want := []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "webhook-certificate"}}}}
	if diff := cmp.Diff(want, pod.Volumes); diff != "" {
		t.Errorf("volumes (-want +got)\n%s", diff)
	}
	mounts := []corev1.VolumeMount{{Name: "tls", MountPath: "/etc/keyroll/tls", ReadOnly: true}}
	if diff := cmp.Diff(mounts, pod.Containers[0].VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got)\n%s", diff)
	}
	for _, w := range configuration(t, all).Webhooks {
		block, rest := pem.Decode(w.ClientConfig.CABundle)
		if block == nil || len(rest) > 0 {
			t.Fatalf("the bundle of %s is %q", w.Name, w.ClientConfig.CABundle)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Errorf("the bundle of %s: %v", w.Name, err)
		}
	}
}
