package chart

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	admissionapply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/dynamic"
)

// certManager plays cert-manager's part, whose controllers do not run here. The
// resources are real ones, and the certificates are made by its library from what
// they say; only when that happens is up to the test.
type certManager struct {
	t       *testing.T
	dynamic dynamic.Interface
}

func newCertManager(t *testing.T) certManager {
	t.Helper()
	client, err := dynamic.NewForConfig(shared.Admin())
	if err != nil {
		t.Fatal(err)
	}
	return certManager{t, client}
}

// read reads one of cert-manager's resources in the release's namespace.
func (m certManager) read(resource, name string, into any) {
	m.t.Helper()
	kind := cmapi.SchemeGroupVersion.WithResource(resource)
	found, err := m.dynamic.Resource(kind).Namespace(namespace).Get(m.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(found.Object, into)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// issue issues a Certificate, or issues it anew, with another key.
func (m certManager) issue(name string) (leaf []byte) {
	m.t.Helper()
	var certificate cmapi.Certificate
	var issuer cmapi.Issuer
	m.read("certificates", name, &certificate)
	m.read("issuers", certificate.Spec.IssuerRef.Name, &issuer)
	bundle, key, err := m.sign(&certificate, &issuer)
	if err != nil {
		m.t.Fatalf("issue %s: %v", name, err)
	}
	m.store(&certificate, map[string][]byte{
		corev1.TLSCertKey: bundle.ChainPEM, corev1.TLSPrivateKeyKey: key, cmmeta.TLSCAKey: bundle.CAPEM,
	})
	return bundle.ChainPEM
}

func (m certManager) sign(certificate *cmapi.Certificate, issuer *cmapi.Issuer) (bundle pki.PEMBundle, keyPEM []byte, err error) {
	key, err := pki.GeneratePrivateKeyForCertificate(certificate)
	if err != nil {
		return bundle, nil, err
	}
	template, err := pki.CertificateTemplateFromCertificate(certificate)
	if err != nil {
		return bundle, nil, err
	}
	template.PublicKey = key.Public()
	if bundle, err = m.signTemplate(template, key, issuer); err != nil {
		return bundle, nil, err
	}
	keyPEM, err = pki.EncodePrivateKey(key, cmapi.PKCS1)
	return bundle, keyPEM, err
}

// signTemplate signs by the issuer's authority, or by the key itself if the issuer has none.
func (m certManager) signTemplate(template *x509.Certificate, key crypto.Signer, issuer *cmapi.Issuer) (pki.PEMBundle, error) {
	if issuer.Spec.CA == nil {
		own, _, err := pki.SignCertificate(template, template, key.Public(), key)
		return pki.PEMBundle{ChainPEM: own, CAPEM: own}, err
	}
	chain, signer, err := m.authority(issuer.Spec.CA.SecretName)
	if err != nil {
		return pki.PEMBundle{}, err
	}
	return pki.SignCSRTemplate(chain, signer, template)
}

func (m certManager) authority(secret string) ([]*x509.Certificate, crypto.Signer, error) {
	found, err := shared.Client().CoreV1().Secrets(namespace).Get(m.t.Context(), secret, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	chain, err := pki.DecodeX509CertificateChainBytes(found.Data[corev1.TLSCertKey])
	if err != nil {
		return nil, nil, err
	}
	key, err := pki.DecodePrivateKeyBytes(found.Data[corev1.TLSPrivateKeyKey])
	return chain, key, err
}

func (m certManager) store(certificate *cmapi.Certificate, data map[string][]byte) {
	m.t.Helper()
	secrets := shared.Client().CoreV1().Secrets(namespace)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: certificate.Spec.SecretName, Namespace: namespace,
			Annotations: map[string]string{cmapi.CertificateNameKey: certificate.Name},
		},
		Type: corev1.SecretTypeTLS, Data: data,
	}
	_, err := secrets.Update(m.t.Context(), secret, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(m.t.Context(), secret, metav1.CreateOptions{})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// inject does what the cainjector does: it applies the CA that came with the
// Certificate which the configuration names to the bundle of each entry, beside
// those that are there.
func (m certManager) inject(configuration string) {
	m.t.Helper()
	if err := m.injectInto(m.t.Context(), configuration); err != nil {
		m.t.Fatal(err)
	}
}

func (m certManager) injectInto(ctx context.Context, name string) error {
	configurations := shared.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	found, err := configurations.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	ns, certificateName, ok := strings.Cut(found.Annotations[cmapi.WantInjectAnnotation], "/")
	if !ok || ns != namespace {
		return fmt.Errorf("%s asks for the CA of %q", name, found.Annotations[cmapi.WantInjectAnnotation])
	}
	var certificate cmapi.Certificate
	m.read("certificates", certificateName, &certificate)
	secret, err := shared.Client().CoreV1().Secrets(namespace).Get(ctx, certificate.Spec.SecretName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	apply := admissionapply.MutatingWebhookConfiguration(name)
	for _, entry := range found.Webhooks {
		bundle := entry.ClientConfig.CABundle
		if ca := secret.Data[cmmeta.TLSCAKey]; !bytes.Contains(bundle, ca) {
			bundle = bytes.Join([][]byte{bundle, ca}, nil)
		}
		apply.WithWebhooks(admissionapply.MutatingWebhook().WithName(entry.Name).
			WithClientConfig(admissionapply.WebhookClientConfig().WithCABundle(bundle...)))
	}
	_, err = configurations.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "cert-manager-cainjector", Force: true})
	return err
}
