package driver

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// checkSecretObject is the driver's check of what must be there at all.
func checkSecretObject(o SecretObject) error {
	switch {
	case o.SecretName == "":
		return errors.New("secret name is empty")
	case o.Type == "":
		return errors.New("secret type is empty")
	case len(o.Data) == 0:
		return errors.New("data is empty")
	}
	return nil
}

// secretFor builds the Secret that a secretObject asks for from a volume's
// files: with the class's labels and annotations, without owners.
func secretFor(namespace string, o SecretObject, files map[string]File) (*corev1.Secret, error) {
	data, err := secretData(o, files)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{ManagedLabel: "true"}
	for k, v := range o.Labels {
		if k != ManagedLabel {
			labels[k] = v
		}
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: strings.TrimSpace(o.SecretName),
			Labels: labels, Annotations: maps.Clone(o.Annotations),
		},
		Type: corev1.SecretType(strings.TrimSpace(o.Type)),
		Data: data,
	}, nil
}

// secretData maps files to keys. ObjectName is the name of a file.
func secretData(o SecretObject, files map[string]File) (map[string][]byte, error) {
	data := map[string][]byte{}
	for _, d := range o.Data {
		name, key := strings.TrimSpace(d.ObjectName), strings.TrimSpace(d.Key)
		file, found := files[name]
		switch {
		case name == "":
			return nil, errors.New("object name in secretObjects.data")
		case key == "":
			return nil, errors.New("key in secretObjects.data is empty")
		case !found:
			return nil, fmt.Errorf("file matching objectName %s not found in the pod", name)
		}
		data[key] = []byte(file.Value)
		if strings.TrimSpace(o.Type) != string(corev1.SecretTypeTLS) {
			continue
		}
		part, err := certPart(data[key], key)
		if err != nil {
			return nil, fmt.Errorf("failed to get cert data from file %s, err: %w", name, err)
		}
		data[key] = part
	}
	return data, nil
}

// certPart takes certificates or private key out of a PEM file that may hold both.
func certPart(content []byte, key string) ([]byte, error) {
	switch key {
	case corev1.TLSCertKey:
		return certificates(content)
	case corev1.TLSPrivateKeyKey:
		return privateKey(content)
	default:
		return nil, fmt.Errorf("key '%s' is not supported. Only 'tls.key' and 'tls.crt' are supported", key)
	}
}

// errNotPEM stands for the driver's attempt to read what is no PEM as PFX, which the model has not.
var errNotPEM = errors.New("pkcs12: error reading P12 data: asn1: structure error")

func blocks(content []byte) []*pem.Block {
	var all []*pem.Block
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			return all
		}
		all, content = append(all, block), rest
	}
}

func certificates(content []byte) ([]byte, error) {
	var certs []byte
	for _, b := range blocks(content) {
		if b.Type == "CERTIFICATE" {
			certs = append(certs, pem.EncodeToMemory(b)...)
		}
	}
	if certs == nil {
		return nil, errNotPEM
	}
	return certs, nil
}

// privateKey re-encodes the last private key as PKCS #1 or SEC 1. A key that
// cannot be parsed becomes an empty block, as with the driver.
func privateKey(content []byte) ([]byte, error) {
	var der []byte
	for _, b := range blocks(content) {
		if b.Type != "CERTIFICATE" {
			der = b.Bytes
		}
	}
	if der == nil {
		return nil, errNotPEM
	}
	out := &pem.Block{Type: "PRIVATE KEY"}
	encodeEC := func(key *ecdsa.PrivateKey) (err error) {
		out.Type = "EC PRIVATE KEY"
		out.Bytes, err = x509.MarshalECPrivateKey(key)
		return err
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		out.Type, out.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		if err := encodeEC(key); err != nil {
			return nil, err
		}
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		switch key := key.(type) {
		case *rsa.PrivateKey:
			out.Type, out.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)
		case *ecdsa.PrivateKey:
			if err := encodeEC(key); err != nil {
				return nil, err
			}
		default:
			return nil, errors.New("unknown private key type found while getting key. Only rsa and ecdsa are supported")
		}
	}
	return pem.EncodeToMemory(out), nil
}

// digest tells whether data differ.
func digest(data map[string][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(data)) {
		_, _ = fmt.Fprintf(h, "%d %s %d ", len(k), k, len(data[k]))
		_, _ = h.Write(data[k])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
