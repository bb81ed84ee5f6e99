package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// makeCA gives a CA that was made at a time and lives for an hour, without
// tolerance.
func makeCA(t testing.TB, at time.Time) *ca {
	t.Helper()
	made, err := newCA(at, validity{ca: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// pems joins certificates and strings into one bundle.
func pems(parts ...any) []byte {
	var out bytes.Buffer
	for _, part := range parts {
		switch p := part.(type) {
		case *ca:
			out.Write(encodeCertificate(p.cert))
		case string:
			out.WriteString(p)
		}
	}
	return out.Bytes()
}

func TestMergeBundle(t *testing.T) {
	a, b, expired := makeCA(t, noon), makeCA(t, noon), makeCA(t, noon.Add(-2*time.Hour))
	names := map[string]string{string(a.cert.Raw): "a", string(b.cert.Raw): "b", string(expired.cert.Raw): "expired"}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	tests := map[string]struct {
		bundle      []byte
		needed      []*ca
		want        string
		wantChanged bool
	}{
		"an empty bundle gets what is needed":                      {needed: []*ca{a, b}, want: "a b", wantChanged: true},
		"a blanked bundle is healed":                               {bundle: []byte("\n"), needed: []*ca{a}, want: "a", wantChanged: true},
		"a bundle that has it stays as it is":                      {bundle: pems(a), needed: []*ca{a}, want: "a"},
		"another's certificate stays":                              {bundle: pems(b), needed: []*ca{a}, want: "b a", wantChanged: true},
		"another order is no reason to write":                      {bundle: pems(b, a), needed: []*ca{a, b}, want: "b a"},
		"neither is text between the certificates":                 {bundle: pems("# ours\n", a, "# end\n"), needed: []*ca{a}, want: "a"},
		"nor the same certificate twice":                           {bundle: pems(a, a), needed: []*ca{a}, want: "a"},
		"an expired certificate goes":                              {bundle: pems(expired, a), needed: []*ca{a}, want: "a", wantChanged: true},
		"an expired certificate is not added":                      {bundle: pems(a), needed: []*ca{expired}, want: "a"},
		"a needed one twice is added once":                         {needed: []*ca{a, a}, want: "a", wantChanged: true},
		"what is no certificate goes when there is cause to write": {bundle: pems("junk\n", key, broken, b), needed: []*ca{a}, want: "b a", wantChanged: true},
		"nothing needed and nothing there":                         {},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var needed []*x509.Certificate
			for _, c := range tc.needed {
				needed = append(needed, c.cert)
			}
			merged, changed := mergeBundle(noon, tc.bundle, needed)
			var got []string
			for _, cert := range parseBundle(merged) {
				got = append(got, names[string(cert.Raw)])
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			if changed != tc.wantChanged {
				t.Errorf("changed = %v, want %v", changed, tc.wantChanged)
			}
			if !changed && !bytes.Equal(merged, tc.bundle) {
				t.Error("bundle was rewritten without a change")
			}
		})
	}
}

func TestMergeBundleIsBounded(t *testing.T) {
	var all []any
	var oldest, newest *ca
	for i := range maxBundleCerts + 3 {
		newest = makeCA(t, noon.Add(time.Duration(i)*time.Second))
		if oldest == nil {
			oldest = newest
		}
		all = append(all, newest)
	}
	merged, changed := mergeBundle(noon, pems(all...), []*x509.Certificate{oldest.cert})
	certs := parseBundle(merged)
	if !changed || len(certs) != maxBundleCerts {
		t.Errorf("changed = %v, %d certificates, want true, %d", changed, len(certs), maxBundleCerts)
	}
	if !contains(certs, oldest.cert) {
		t.Error("the needed certificate was dropped")
	}
	if !contains(certs, newest.cert) {
		t.Error("the newest certificate was dropped before older ones")
	}
	if _, again := mergeBundle(noon, merged, []*x509.Certificate{oldest.cert}); again {
		t.Error("merging again changed the bundle again")
	}
}

// Whatever another writer puts there, the result trusts what is needed, can be
// read by the API server, is of bounded size, and is final.
func FuzzMergeBundle(f *testing.F) {
	needed := makeCA(f, noon)
	f.Add([]byte(nil))
	f.Add(pems(needed))
	f.Add(pems("-----BEGIN CERTIFICATE-----\n", needed, "-----END CERTIFICATE-----\n"))
	f.Add(pems(makeCA(f, noon.Add(-2*time.Hour)), "\x00\xff-----BEGIN", makeCA(f, noon)))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		before := slices.Clone(bundle)
		merged, changed := mergeBundle(noon, bundle, []*x509.Certificate{needed.cert})
		if !bytes.Equal(before, bundle) {
			t.Fatal("the input was written to")
		}
		certs := parseBundle(merged)
		if !contains(certs, needed.cert) {
			t.Fatal("the needed certificate is missing")
		}
		if changed && len(certs) > maxBundleCerts {
			t.Fatalf("%d certificates", len(certs))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(merged) {
			t.Fatal("Go's own reader finds no certificate")
		}
		if again, changedAgain := mergeBundle(noon, merged, []*x509.Certificate{needed.cert}); changedAgain || !bytes.Equal(again, merged) {
			t.Fatal("merging again changed the bundle again")
		}
	})
}
