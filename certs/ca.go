package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	corev1 "k8s.io/api/core/v1"
)

// caCertKey is where, beside the two keys of a TLS Secret, the CA is looked for
// by those who inject it elsewhere.
const caCertKey = "ca.crt"

// caCommonName is the subject of the CAs made here.
const caCommonName = "keyroll-webhook-ca"

// ca is a certificate authority as it stands in the Secret.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// validity says how long certificates are good for. A certificate made at t for
// a life of d is valid from t-tolerance to t+d+tolerance, and due for renewal
// at t+2d/3: whoever's clock is off by less than the tolerance accepts it for
// all of its life.
type validity struct {
	ca, leaf  time.Duration
	tolerance time.Duration
}

// newCA makes a self-signed CA. Its curve is the one that Go computes quickest:
// each handshake of the API server verifies one of its signatures.
func newCA(now time.Time, v validity) (*ca, error) {
	key, err := pki.GenerateECPrivateKey(pki.ECCurve256)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: caCommonName},
		NotBefore:             now.Add(-v.tolerance),
		NotAfter:              now.Add(v.ca + v.tolerance),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		PublicKeyAlgorithm:    x509.ECDSA,
	}
	_, cert, err := pki.SignCertificate(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign CA: %w", err)
	}
	return &ca{cert: cert, key: key}, nil
}

// data is what the Secret holds of c.
func (c *ca) data() (map[string][]byte, error) {
	key, err := pki.EncodePrivateKey(c.key, cmapi.PKCS8)
	if err != nil {
		return nil, fmt.Errorf("encode CA key: %w", err)
	}
	cert := encodeCertificate(c.cert)
	return map[string][]byte{caCertKey: cert, corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key}, nil
}

// parseCA reads what data made. Its errors say why the data is of no use; they
// never quote it.
func parseCA(data map[string][]byte) (*ca, error) {
	certPEM, keyPEM := data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]
	switch {
	case len(certPEM) == 0 || len(keyPEM) == 0 || len(data[caCertKey]) == 0:
		return nil, errors.New("a key of the Secret is missing")
	case !bytes.Equal(certPEM, data[caCertKey]):
		return nil, errors.New("tls.crt and ca.crt differ")
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, errors.New("certificate and private key do not parse or do not fit")
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return nil, errors.New("private key cannot sign")
	case !pair.Leaf.IsCA:
		return nil, errors.New("certificate is not a CA")
	}
	return &ca{cert: pair.Leaf, key: key}, nil
}

// renewal is when a certificate is due to be replaced: when two thirds of its
// nominal life are over. One that is too short to have been made with that
// tolerance is taken for what it says.
func renewal(cert *x509.Certificate, tolerance time.Duration) time.Time {
	start, end := cert.NotBefore, cert.NotAfter
	if end.Sub(start) > 2*tolerance {
		start, end = start.Add(tolerance), end.Add(-tolerance)
	}
	return start.Add(end.Sub(start) * 2 / 3)
}

// sign completes template with a life that begins now, and signs it. A name
// that is an IP address becomes one.
func (c *ca) sign(template *x509.Certificate, now time.Time, v validity) (*x509.Certificate, error) {
	end := now.Add(v.leaf + v.tolerance)
	if c.cert.NotAfter.Before(end) {
		end = c.cert.NotAfter
	}
	left := end.Sub(now)
	if left <= 0 {
		return nil, errors.New("CA has expired and was not replaced yet")
	}
	template.BasicConstraintsValid = true
	// A life that looks longer behind than ahead would be due for renewal
	// before it began.
	template.NotBefore, template.NotAfter = now.Add(-min(v.tolerance, left)), end
	template.DNSNames, template.IPAddresses = splitNames(template.DNSNames)
	_, cert, err := pki.SignCertificate(template, c.cert, template.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign serving certificate: %w", err)
	}
	return cert, nil
}

func splitNames(names []string) (dns []string, ips []net.IP) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, name)
		}
	}
	return dns, ips
}
