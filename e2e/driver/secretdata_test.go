package driver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDataOfASecret(t *testing.T) {
	files := map[string]File{"db-password": {Value: "one"}, "old/pw": {Value: "zero"}}
	object := func(pairs ...string) SecretObject {
		o := SecretObject{SecretName: "s", Type: "Opaque"}
		for i := 0; i < len(pairs); i += 2 {
			o.Data = append(o.Data, SecretObjectData{ObjectName: pairs[i], Key: pairs[i+1]})
		}
		return o
	}
	tests := map[string]struct {
		object  SecretObject
		want    map[string][]byte
		wantErr string
	}{
		"files by name and path":   {object: object(" db-password ", "pw", "old/pw", "old"), want: map[string][]byte{"pw": []byte("one"), "old": []byte("zero")}},
		"a file that is not there": {object: object("nope", "pw"), wantErr: "file matching objectName nope not found in the pod"},
		"no file name":             {object: object("", "pw"), wantErr: "object name in secretObjects.data"},
		"no key":                   {object: object("db-password", " "), wantErr: "key in secretObjects.data is empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := secretData(test.object, files)
			if text := errText(err); text != test.wantErr {
				t.Errorf("error %q, want %q", text, test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A certificate's secret holds key and chain in one file; kubernetes.io/tls gets them apart.
func TestASecretOfTypeTLS(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		key     any
		want    string
		wantErr string
	}{
		"RSA":     {key: rsaKey, want: "RSA PRIVATE KEY"},
		"EC":      {key: ecKey, want: "EC PRIVATE KEY"},
		"Ed25519": {key: edKey, wantErr: "failed to get cert data from file tls, err: unknown private key type found while getting key. Only rsa and ecdsa are supported"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pair := pairOf(t, test.key)
			data, err := secretData(SecretObject{Type: "kubernetes.io/tls", Data: []SecretObjectData{
				{ObjectName: "tls", Key: "tls.crt"}, {ObjectName: "tls", Key: "tls.key"},
			}}, map[string]File{"tls": {Value: pair}})
			if text := errText(err); text != test.wantErr {
				t.Fatalf("error %q, want %q", text, test.wantErr)
			}
			if err != nil {
				return
			}
			if block, _ := pem.Decode(data["tls.key"]); block.Type != test.want {
				t.Errorf("key is %s", block.Type)
			}
			if strings.Contains(string(data["tls.crt"]), "PRIVATE") {
				t.Error("the certificate's key is in tls.crt")
			}
			if _, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"]); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := secretData(SecretObject{Type: "kubernetes.io/tls", Data: []SecretObjectData{{ObjectName: "tls", Key: "cert"}}}, map[string]File{"tls": {}}); err == nil {
		t.Error("a key of another name passed")
	}
}

// pairOf is a private key in PKCS #8 and a certificate of it, in one PEM text.
func pairOf(t *testing.T, key any) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotAfter: time.Now().Add(time.Hour)}
	public := key.(crypto.Signer).Public()
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestDigest(t *testing.T) {
	a := digest(map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	if a != digest(map[string][]byte{"b": []byte("2"), "a": []byte("1")}) {
		t.Error("equal data differ")
	}
	for name, other := range map[string]map[string][]byte{
		"another value": {"a": []byte("1"), "b": []byte("3")},
		"a key less":    {"a": []byte("1")},
		"shifted bytes": {"a": []byte("1b"), "": []byte("2")},
	} {
		if a == digest(other) {
			t.Errorf("%s makes no difference", name)
		}
	}
}
