package certs

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

const (
	// maxBundleCerts bounds what a bundle may grow to: a CA rotates a few times
	// a year, so more than this are somebody's experiment.
	maxBundleCerts = 16
	// maxBundleBytes is how much of a bundle is read. The API server itself
	// refuses objects beyond 3 MiB.
	maxBundleBytes = 1 << 20
)

// mergeBundle gives the bundle that holds the certificates of bundle and those
// in needed, without the ones that have expired at now, and whether it differs
// from bundle in what it trusts. If it does not, bundle itself is given: how
// somebody else ordered or wrapped the same certificates is no reason to write.
// What is not a certificate is dropped. Beyond maxBundleCerts the ones that
// expire first go, the needed ones never.
func mergeBundle(now time.Time, bundle []byte, needed []*x509.Certificate) ([]byte, bool) {
	present := parseBundle(bundle)
	merged := dropExpired(now, union(present, needed))
	merged = dropOldest(merged, needed, maxBundleCerts)
	if len(bundle) <= maxBundleBytes && sameSet(present, merged) {
		return bundle, false
	}
	return encodeBundle(merged), true
}

// parseBundle gives the certificates in data in their order, each once, and
// passes over whatever else there is.
func parseBundle(data []byte) []*x509.Certificate {
	var certs []*x509.Certificate
	data = data[:min(len(data), maxBundleBytes)]
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = union(certs, []*x509.Certificate{cert})
		}
	}
}

func encodeBundle(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(encodeCertificate(cert))
	}
	return out.Bytes()
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// union appends to a what of b is not in it.
func union(a, b []*x509.Certificate) []*x509.Certificate {
	for _, cert := range b {
		if !contains(a, cert) {
			a = append(slices.Clip(a), cert)
		}
	}
	return a
}

func contains(certs []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(certs, cert.Equal)
}

func dropExpired(now time.Time, certs []*x509.Certificate) []*x509.Certificate {
	var valid []*x509.Certificate
	for _, cert := range certs {
		if now.Before(cert.NotAfter) {
			valid = append(valid, cert)
		}
	}
	return valid
}

// dropOldest leaves at most limit certificates, and every needed one.
func dropOldest(certs, needed []*x509.Certificate, limit int) []*x509.Certificate {
	excess := len(certs) - limit
	if excess <= 0 {
		return certs
	}
	byExpiry := slices.Clone(certs)
	slices.SortStableFunc(byExpiry, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	byExpiry = slices.DeleteFunc(byExpiry, func(cert *x509.Certificate) bool { return contains(needed, cert) })
	dropped := byExpiry[:min(excess, len(byExpiry))]
	return slices.DeleteFunc(slices.Clone(certs), func(cert *x509.Certificate) bool { return contains(dropped, cert) })
}

func sameSet(a, b []*x509.Certificate) bool {
	order := func(x, y *x509.Certificate) int { return cmp.Compare(string(x.Raw), string(y.Raw)) }
	return slices.EqualFunc(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order), (*x509.Certificate).Equal)
}
