package stories

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/watcher/reloader"
)

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
