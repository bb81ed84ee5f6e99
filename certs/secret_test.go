package certs

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const issuedSecret = "keyroll-webhook-tls"

// issue does what cert-manager does: it signs a new pair for the webhook.
func issue(t *testing.T, from *ca) map[string][]byte {
	t.Helper()
	key, err := pki.GenerateECPrivateKey(pki.ECCurve256)
	if err != nil {
		t.Fatal(err)
	}
	template := leafTemplate(t, serviceName)
	template.PublicKey = key.Public()
	cert, err := from.sign(template, time.Now(), validity{leaf: time.Hour, tolerance: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	data, err := (&ca{cert: cert, key: key}).data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// issuer of the test's certificates, which lives in the bubble's time.
func issuingCA(t *testing.T) *ca {
	t.Helper()
	made, err := newCA(time.Now(), validity{ca: 100 * time.Hour, tolerance: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

type secretCluster struct{ *cluster }

func (c secretCluster) put(data map[string][]byte) {
	c.t.Helper()
	secrets := c.client.CoreV1().Secrets(namespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: issuedSecret}, Type: corev1.SecretTypeTLS, Data: data}
	_, err := secrets.Update(c.t.Context(), secret, metav1.UpdateOptions{})
	if err != nil {
		_, err = secrets.Create(c.t.Context(), secret, metav1.CreateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// inject does what cert-manager's injector does.
func (c secretCluster) inject(cas ...any) {
	c.t.Helper()
	config := ourConfiguration()
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = pems(cas...)
	}
	if _, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(c.t.Context(), config, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c secretCluster) source() *Secret {
	c.t.Helper()
	c.registry = prometheus.NewRegistry()
	s, err := newSecret(SecretConfig{
		Namespace: namespace, SecretName: issuedSecret, ConfigurationName: configurationName,
		Log: slog.New(slog.DiscardHandler), Registerer: c.registry,
	}, c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	run(c.t, s)
	return s
}

func servedBy(t *testing.T, s Source) string {
	t.Helper()
	cert, err := s.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(cert.Leaf.Raw)
}

func TestSecretIsServedOnceTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := secretCluster{newCluster(t, ourConfiguration())}
		s := c.source()
		wantUnready(t, s, "there is no Secret keyroll-system/keyroll-webhook-tls yet")

		first := issuingCA(t)
		c.put(issue(t, first))
		wantUnready(t, s, "caBundle holds no certificate")
		c.inject(first)
		waitReady(t, bundleSettle+2*gateRetry, s)
		before := servedBy(t, s)

		// The same CA: at once.
		c.put(issue(t, first))
		synctest.Wait()
		renewed := servedBy(t, s)
		if renewed == before {
			t.Error("a renewed certificate is not served")
		}

		// Another CA: only once it is trusted.
		second := issuingCA(t)
		c.put(issue(t, second))
		time.Sleep(time.Minute)
		if servedBy(t, s) != renewed || s.Ready() != nil {
			t.Errorf("a certificate is served that nobody trusts, or Ready = %v", s.Ready())
		}
		c.inject(first, second)
		time.Sleep(bundleSettle + 2*gateRetry)
		if servedBy(t, s) == renewed || s.Ready() != nil {
			t.Errorf("a trusted certificate is not served, or Ready = %v", s.Ready())
		}

		// An injector that replaces the bundle leaves nothing to wait for.
		third := issuingCA(t)
		c.put(issue(t, third))
		time.Sleep(time.Minute)
		merged := servedBy(t, s)
		c.inject(third)
		synctest.Wait()
		if servedBy(t, s) == merged || s.Ready() != nil {
			t.Errorf("a certificate is still served that nobody trusts any more, or Ready = %v", s.Ready())
		}
		if n := c.count("patch", "mutatingwebhookconfigurations"); n != 0 {
			t.Errorf("the bundle was written %d times, want never", n)
		}
		if err := testutil.GatherAndCompare(c.registry, strings.NewReader(`
# HELP keyroll_webhook_certificate_trusted 1 when the caBundle of every entry of our configuration verifies the serving certificate, else 0.
# TYPE keyroll_webhook_certificate_trusted gauge
keyroll_webhook_certificate_trusted 1
`), "keyroll_webhook_certificate_trusted"); err != nil {
			t.Error(err)
		}
	})
}

func TestSecretOutlivesWhatHappensToIt(t *testing.T) {
	tests := map[string]func(*testing.T, secretCluster){
		"emptied": func(_ *testing.T, c secretCluster) { c.put(nil) },
		"garbage": func(_ *testing.T, c secretCluster) {
			c.put(map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("hunter2")})
		},
		"deleted": func(t *testing.T, c secretCluster) {
			if err := c.client.CoreV1().Secrets(namespace).Delete(t.Context(), issuedSecret, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := secretCluster{newCluster(t, ourConfiguration())}
				issuer := issuingCA(t)
				c.put(issue(t, issuer))
				c.inject(issuer)
				s := c.source()
				waitReady(t, 5*time.Second, s)
				before := servedBy(t, s)
				fault(t, c)
				time.Sleep(time.Minute)
				if servedBy(t, s) != before || s.Ready() != nil {
					t.Errorf("the certificate is no longer served, or Ready = %v", s.Ready())
				}
				time.Sleep(2 * time.Hour)
				wantUnready(t, s, "expired at")
				c.put(issue(t, issuer))
				waitReady(t, 5*time.Second, s)
			})
		})
	}
}

func TestSecretNeverQuotesTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := secretCluster{newCluster(t, ourConfiguration())}
		c.put(map[string][]byte{"tls.crt": []byte("hunter1"), "tls.key": []byte("hunter2")})
		s := c.source()
		wantUnready(t, s, "do not parse")
		if strings.Contains(s.Ready().Error(), "hunter") {
			t.Errorf("Ready quotes the Secret: %v", s.Ready())
		}
	})
}

func TestSecretStopsBeforeItsCachesAreFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := secretCluster{newCluster(t)}
		c.refuse("list", "secrets", forbidden("secrets"))
		c.refuse("watch", "secrets", forbidden("secrets"))
		s := c.source()
		wantUnready(t, s, "nothing was read from Secret")
	}) // the bubble ends only when Run has returned
}

func TestNewSecretChecksItsConfig(t *testing.T) {
	tests := map[string]func(*SecretConfig){
		"no namespace":     func(c *SecretConfig) { c.Namespace = "" },
		"no Secret":        func(c *SecretConfig) { c.SecretName = "" },
		"no configuration": func(c *SecretConfig) { c.ConfigurationName = "" },
		"no log":           func(c *SecretConfig) { c.Log = nil },
		"no registry":      func(c *SecretConfig) { c.Registerer = nil },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			config := SecretConfig{
				Namespace: namespace, SecretName: issuedSecret, ConfigurationName: configurationName,
				Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
			}
			spoil(&config)
			if _, err := newSecret(config, fake.NewClientset()); err == nil {
				t.Error("want an error")
			}
		})
	}
}
