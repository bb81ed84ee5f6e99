package certs

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func leafTemplate(t testing.TB, names ...string) *x509.Certificate {
	t.Helper()
	key, err := pki.GenerateECPrivateKey(pki.ECCurve256)
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{PublicKey: key.Public(), DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func TestSignedLifeToleratesClocks(t *testing.T) {
	v := validity{ca: 24 * time.Hour, leaf: time.Hour, tolerance: 10 * time.Minute}
	tests := map[string]struct {
		v          validity
		signed     time.Duration // after the CA was made
		wantBefore time.Duration // relative to signed
		wantAfter  time.Duration
		wantErr    string
	}{
		"a life with tolerance on either side":      {v: v, wantBefore: -10 * time.Minute, wantAfter: 70 * time.Minute},
		"it never outlives the CA":                  {v: v, signed: 24 * time.Hour, wantBefore: -10 * time.Minute, wantAfter: 10 * time.Minute},
		"nor looks longer behind than ahead":        {v: v, signed: 24*time.Hour + 6*time.Minute, wantBefore: -4 * time.Minute, wantAfter: 4 * time.Minute},
		"an expired CA signs nothing":               {v: v, signed: 25 * time.Hour, wantErr: "expired"},
		"seconds are tolerant too":                  {v: validity{ca: time.Minute, leaf: 10 * time.Second, tolerance: time.Hour}, wantBefore: -time.Hour, wantAfter: time.Hour + 10*time.Second},
		"without tolerance the life is the nominal": {v: validity{ca: time.Hour, leaf: time.Minute}, wantAfter: time.Minute},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			made, err := newCA(noon, tc.v)
			if err != nil {
				t.Fatal(err)
			}
			now := noon.Add(tc.signed)
			cert, err := made.sign(leafTemplate(t, "a.svc"), now, tc.v)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one that says %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := cert.NotBefore.Sub(now); got != tc.wantBefore {
				t.Errorf("valid from %v, want %v", got, tc.wantBefore)
			}
			if got := cert.NotAfter.Sub(now); got != tc.wantAfter {
				t.Errorf("valid to %v, want %v", got, tc.wantAfter)
			}
		})
	}
}

func TestSignedNames(t *testing.T) {
	cert, err := makeCA(t, noon).sign(leafTemplate(t, "keyroll-webhook.keyroll-system.svc", "127.0.0.1", "::1", "localhost"), noon, validity{leaf: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keyroll-webhook.keyroll-system.svc", "localhost"}, cert.DNSNames); diff != "" {
		t.Errorf("DNS names (-want +got):\n%s", diff)
	}
	for _, name := range []string{"127.0.0.1", "::1", "localhost"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Errorf("certificate is not good for %s: %v", name, err)
		}
	}
}

func TestRenewal(t *testing.T) {
	life := func(start, end time.Duration) *x509.Certificate {
		return &x509.Certificate{NotBefore: noon.Add(start), NotAfter: noon.Add(end)}
	}
	tests := map[string]struct {
		cert *x509.Certificate
		want time.Duration // after noon
	}{
		"two thirds of the nominal life":            {cert: life(-time.Hour, 4*time.Hour), want: 2 * time.Hour},
		"a life of seconds":                         {cert: life(-time.Hour, time.Hour+15*time.Second), want: 10 * time.Second},
		"one made elsewhere, shorter than tolerant": {cert: life(0, 90*time.Minute), want: time.Hour},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := renewal(tc.cert, time.Hour).Sub(noon); got != tc.want {
				t.Errorf("due after %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseCA(t *testing.T) {
	v := validity{ca: time.Hour, leaf: time.Minute}
	valid, other := makeCA(t, noon), makeCA(t, noon)
	otherData, err := other.data()
	if err != nil {
		t.Fatal(err)
	}
	leafKey, err := pki.GenerateECPrivateKey(pki.ECCurve256)
	if err != nil {
		t.Fatal(err)
	}
	leafCert, err := valid.sign(&x509.Certificate{PublicKey: leafKey.Public(), DNSNames: []string{"a.svc"}}, noon, v)
	if err != nil {
		t.Fatal(err)
	}
	leafData, err := (&ca{cert: leafCert, key: leafKey}).data()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		spoil   func(map[string][]byte) map[string][]byte
		wantErr string
	}{
		"what was stored is read":         {spoil: func(d map[string][]byte) map[string][]byte { return d }},
		"an empty Secret":                 {spoil: func(map[string][]byte) map[string][]byte { return nil }, wantErr: "missing"},
		"no key":                          {spoil: func(d map[string][]byte) map[string][]byte { delete(d, corev1.TLSPrivateKeyKey); return d }, wantErr: "missing"},
		"another's key":                   {spoil: func(d map[string][]byte) map[string][]byte { d["tls.key"] = otherData["tls.key"]; return d }, wantErr: "do not fit"},
		"another's ca.crt":                {spoil: func(d map[string][]byte) map[string][]byte { d["ca.crt"] = otherData["ca.crt"]; return d }, wantErr: "differ"},
		"text":                            {spoil: func(d map[string][]byte) map[string][]byte { d["tls.key"] = []byte("hunter2"); return d }, wantErr: "do not parse"},
		"a certificate that may not sign": {spoil: func(map[string][]byte) map[string][]byte { return leafData }, wantErr: "not a CA"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := valid.data()
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseCA(tc.spoil(data))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %v, want one that says %q and quotes nothing", err, tc.wantErr)
				}
				return
			}
			if err != nil || !got.cert.Equal(valid.cert) {
				t.Errorf("got %v, %v, want the stored CA", got, err)
			}
		})
	}
}
