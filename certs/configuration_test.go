package certs

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

func TestVerifyEntry(t *testing.T) {
	v := validity{ca: time.Hour, leaf: time.Hour}
	trusted, other := makeCA(t, noon), makeCA(t, noon)
	leaf, err := trusted.sign(leafTemplate(t, "keyroll-webhook.keyroll-system.svc", "127.0.0.1"), noon, v)
	if err != nil {
		t.Fatal(err)
	}
	service := func(name string) admissionv1.WebhookClientConfig {
		return admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "keyroll-system", Name: name}}
	}
	at := func(url string) admissionv1.WebhookClientConfig { return admissionv1.WebhookClientConfig{URL: &url} }
	tests := map[string]struct {
		client  admissionv1.WebhookClientConfig
		bundle  []byte
		now     time.Time
		wantErr string
	}{
		"the bundle holds the CA":                    {client: service("keyroll-webhook"), bundle: pems(trusted)},
		"among others":                               {client: service("keyroll-webhook"), bundle: pems(other, trusted)},
		"by address":                                 {client: at("https://127.0.0.1:9443/pods"), bundle: pems(trusted)},
		"no bundle":                                  {client: service("keyroll-webhook"), wantErr: "no certificate"},
		"another's bundle":                           {client: service("keyroll-webhook"), bundle: pems(other), wantErr: "unknown authority"},
		"a certificate for another name":             {client: service("webhook"), bundle: pems(trusted), wantErr: "not webhook.keyroll-system.svc"},
		"a certificate for another address":          {client: at("https://10.0.0.1/pods"), bundle: pems(trusted), wantErr: "10.0.0.1"},
		"a certificate from the API server's future": {client: service("keyroll-webhook"), bundle: pems(trusted), now: noon.Add(-time.Minute), wantErr: "not yet valid"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			now := noon
			if !tc.now.IsZero() {
				now = tc.now
			}
			entry := admissionv1.MutatingWebhook{Name: "pods.keyroll.dev", ClientConfig: tc.client}
			entry.ClientConfig.CABundle = tc.bundle
			err := verifyEntry(now, &entry, []*x509.Certificate{leaf})
			if tc.wantErr == "" && err != nil {
				t.Errorf("error %v, want none", err)
			}
			if tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("error %v, want one that says %q", err, tc.wantErr)
			}
		})
	}
}
