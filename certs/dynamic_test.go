package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const (
	namespace         = "keyroll-system"
	secretName        = "keyroll-webhook-ca"
	configurationName = "akv-keyroll"
	serviceName       = "keyroll-webhook.keyroll-system.svc"
)

// ourConfiguration is as the manifests have it, in what matters here.
func ourConfiguration() *admissionv1.MutatingWebhookConfiguration {
	path := "/pods"
	url := "https://" + serviceName + ":9443/workloads"
	sideEffects := admissionv1.SideEffectClassNone
	entry := func(name string, client admissionv1.WebhookClientConfig) admissionv1.MutatingWebhook {
		return admissionv1.MutatingWebhook{Name: name, ClientConfig: client, SideEffects: &sideEffects, AdmissionReviewVersions: []string{"v1"}}
	}
	return &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: configurationName, Labels: map[string]string{"a": "b"}},
		Webhooks: []admissionv1.MutatingWebhook{
			entry("pods.keyroll.dev", admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: namespace, Name: "keyroll-webhook", Path: &path}}),
			entry("workloads.keyroll.dev", admissionv1.WebhookClientConfig{URL: &url}),
		},
	}
}

// cluster is a fake API server with replicas that use it, in a bubble whose
// clock moves when all of them wait.
type cluster struct {
	t        *testing.T
	client   *fake.Clientset
	registry *prometheus.Registry // of the replica started last
}

func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	return &cluster{t: t, client: fake.NewClientset(objects...)}
}

// replica starts a webhook's source; it is stopped by the function or by the
// end of the test.
func (c *cluster) replica(spoil ...func(*DynamicConfig)) (*Dynamic, func()) {
	c.t.Helper()
	c.registry = prometheus.NewRegistry()
	config := DynamicConfig{
		Namespace: namespace, SecretName: secretName, DNSNames: []string{serviceName}, ConfigurationName: configurationName,
		Log: slog.New(slog.DiscardHandler), Registerer: c.registry,
	}
	for _, f := range spoil {
		f(&config)
	}
	d, err := newDynamic(config, c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	return d, run(c.t, d)
}

// run runs a source until it is stopped.
func run(t *testing.T, s Source) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (c *cluster) configuration() *admissionv1.MutatingWebhookConfiguration {
	c.t.Helper()
	got, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(c.t.Context(), configurationName, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func (c *cluster) createConfiguration() {
	c.t.Helper()
	if _, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(c.t.Context(), ourConfiguration(), metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// blank does what a GitOps tool does that knows of no bundle.
func (c *cluster) blank() {
	c.t.Helper()
	if _, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(c.t.Context(), ourConfiguration(), metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) secret() *corev1.Secret {
	c.t.Helper()
	got, err := c.client.CoreV1().Secrets(namespace).Get(c.t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func (c *cluster) deleteSecret() {
	c.t.Helper()
	if err := c.client.CoreV1().Secrets(namespace).Delete(c.t.Context(), secretName, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// count counts the requests of that verb for that resource.
func (c *cluster) count(verb, resource string) int {
	n := 0
	for _, action := range c.client.Actions() {
		if action.Matches(verb, resource) {
			n++
		}
	}
	return n
}

// call is what the API server does before it sends a request: a handshake with
// the replica, for each entry, with the API server's clock.
func (c *cluster) call(d *Dynamic) error {
	return handshake(c.configuration(), d)
}

func handshake(config *admissionv1.MutatingWebhookConfiguration, d *Dynamic) error {
	cert, err := d.GetCertificate(nil)
	if err != nil {
		return err
	}
	for i := range config.Webhooks {
		if err := verifyEntry(time.Now(), &config.Webhooks[i], []*x509.Certificate{cert.Leaf}); err != nil {
			return fmt.Errorf("%s: %w", config.Webhooks[i].Name, err)
		}
	}
	return nil
}

// watchCalls calls the replicas every step for a while, and fails the test with
// the first call that fails. It gives the number of different leafs and CAs
// that were seen.
func (c *cluster) watchCalls(d, step time.Duration, replicas ...*Dynamic) (leafs, cas int) {
	c.t.Helper()
	seenLeafs, seenCAs := map[string]bool{}, map[string]bool{}
	last := map[int]string{}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(step) {
		synctest.Wait()
		config := c.configuration()
		for i, replica := range replicas {
			cert, err := replica.GetCertificate(nil)
			if err != nil {
				c.t.Fatal(err)
			}
			if seen := circumstances(config, cert); last[i] != seen {
				last[i] = seen
			} else {
				continue // the same handshake again
			}
			if err := handshake(config, replica); err != nil {
				c.t.Fatalf("replica %d: call failed: %v", i, err)
			}
			if err := replica.Ready(); err != nil {
				c.t.Fatalf("replica %d: not ready: %v", i, err)
			}
			seenLeafs[string(cert.Leaf.Raw)] = true
			seenCAs[string(cert.Leaf.AuthorityKeyId)] = true
		}
	}
	return len(seenLeafs), len(seenCAs)
}

// circumstances is all that the outcome of a handshake depends on. Time is
// counted in minutes: certificates are good for longer.
func circumstances(config *admissionv1.MutatingWebhookConfiguration, cert *tls.Certificate) string {
	key := string(cert.Leaf.Raw) + time.Now().Truncate(time.Minute).String()
	for _, entry := range config.Webhooks {
		key += string(entry.ClientConfig.CABundle)
	}
	return key
}

// waitReady lets time pass until all replicas are ready.
func waitReady(t *testing.T, limit time.Duration, sources ...Source) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for _, s := range sources {
		for s.Ready() != nil {
			if time.Now().After(deadline) {
				t.Fatalf("not ready after %v: %v", limit, s.Ready())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func wantUnready(t *testing.T, s Source, text string) {
	t.Helper()
	synctest.Wait()
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("Ready = %v, want an error that says %q", err, text)
	}
}

func TestDynamicStartsBeforeItsConfigurationExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		d, _ := c.replica()
		time.Sleep(gateRetry)
		wantUnready(t, d, "MutatingWebhookConfiguration akv-keyroll is not there yet")
		if _, err := d.GetCertificate(nil); err == nil {
			t.Error("a certificate is served that nobody trusts")
		}

		time.Sleep(20 * time.Second)
		c.createConfiguration()
		time.Sleep(2 * gateRetry)
		wantUnready(t, d, "waiting until every API server has seen it")
		waitReady(t, bundleSettle+gateRetry, d)
		if err := c.call(d); err != nil {
			t.Error(err)
		}

		got, want := c.configuration(), ourConfiguration()
		for i := range got.Webhooks {
			got.Webhooks[i].ClientConfig.CABundle = nil
		}
		got.ManagedFields, got.TypeMeta = nil, metav1.TypeMeta{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("something else than caBundle was written (-want +got):\n%s", diff)
		}
	})
}

func TestDynamicWritesNothingWhenAllIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, ourConfiguration())
		first, _ := c.replica()
		second, _ := c.replica()
		waitReady(t, 5*time.Second, first, second)
		written := c.count("patch", "mutatingwebhookconfigurations")
		time.Sleep(3 * time.Hour)
		if got := c.count("patch", "mutatingwebhookconfigurations"); got != written {
			t.Errorf("%d more writes of the bundle in three quiet hours", got-written)
		}
		if got := c.count("create", "secrets") + c.count("update", "secrets"); got > 2 {
			t.Errorf("the CA was written %d times, want once, or twice in a race", got)
		}
	})
}

// The lives are short, as in an operator's test, so that the minutes below hold
// many rotations; an API server calls all the time.
func TestDynamicRotatesWithoutAFailedCall(t *testing.T) {
	short := func(c *DynamicConfig) { c.CADuration, c.LeafDuration = 30*time.Second, 9*time.Second }
	skewed := func(by time.Duration) func(*DynamicConfig) {
		return func(c *DynamicConfig) { c.Now = func() time.Time { return time.Now().Add(by) } }
	}
	tests := map[string][][]func(*DynamicConfig){
		"one replica":                         {{short}},
		"two replicas":                        {{short}, {short}},
		"with a clock 5 minutes ahead":        {{short, skewed(5 * time.Minute)}},
		"with a clock 5 minutes behind":       {{short, skewed(-5 * time.Minute)}},
		"two replicas whose clocks are apart": {{short, skewed(5 * time.Minute)}, {short, skewed(-5 * time.Minute)}},
	}
	for name, replicas := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, ourConfiguration())
				var running []*Dynamic
				for _, spoil := range replicas {
					d, _ := c.replica(spoil...)
					waitReady(t, 10*time.Second, d)
					running = append(running, d)
				}
				leafs, cas := c.watchCalls(90*time.Second, 100*time.Millisecond, running...)
				if cas < 4 || leafs < 2*(cas-1)*len(replicas) {
					t.Errorf("%d CAs and %d leafs were seen, want at least 4 CAs and, but for the last, two leafs of each for each replica", cas, leafs)
				}
				for _, entry := range c.configuration().Webhooks {
					if n := len(parseBundle(entry.ClientConfig.CABundle)); n > maxBundleCerts {
						t.Errorf("entry %s has %d certificates, want at most %d", entry.Name, n, maxBundleCerts)
					}
				}
			})
		})
	}
}

func TestDynamicDropsExpiredCAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, ourConfiguration())
		d, _ := c.replica(func(c *DynamicConfig) {
			c.CADuration, c.LeafDuration, c.ClockTolerance = 9*time.Minute, 3*time.Minute, time.Minute
		})
		waitReady(t, 5*time.Second, d)
		if _, cas := c.watchCalls(time.Hour, time.Second, d); cas < 9 {
			t.Fatalf("%d CAs were seen in an hour, want at least 9", cas)
		}
		for _, entry := range c.configuration().Webhooks {
			bundle := parseBundle(entry.ClientConfig.CABundle)
			if len(bundle) > 3 {
				t.Errorf("entry %s has %d certificates, want those of the last 10 minutes", entry.Name, len(bundle))
			}
			for _, cert := range bundle {
				if late := time.Since(cert.NotAfter); late > keeperRecheck {
					t.Errorf("entry %s has a certificate that expired %v ago", entry.Name, late)
				}
			}
		}
	})
}

func TestDynamicFaults(t *testing.T) {
	tests := map[string]struct {
		fault  func(*testing.T, *cluster)
		fails  bool // calls may fail until the heal
		sameCA bool
	}{
		"the bundle is blanked": {fault: func(_ *testing.T, c *cluster) { c.blank() }, fails: true, sameCA: true},
		"the Secret is deleted": {fault: func(_ *testing.T, c *cluster) { c.deleteSecret() }},
		"the Secret is emptied": {fault: func(t *testing.T, c *cluster) { c.putSecret(t, nil) }},
		"the Secret is overwritten": {fault: func(t *testing.T, c *cluster) {
			c.putSecret(t, map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y"), "ca.crt": []byte("x")})
		}},
		"the Secret and the bundle": {fault: func(_ *testing.T, c *cluster) { c.deleteSecret(); c.blank() }, fails: true},
		"the bundle, just after another CA came": {fault: func(_ *testing.T, c *cluster) {
			c.deleteSecret()
			synctest.Wait()
			c.blank() // the former CA's certificate is still being served
		}, fails: true},
		"another CA while nobody can write the bundle": {fault: func(_ *testing.T, c *cluster) {
			allow := c.refuse("patch", "mutatingwebhookconfigurations", forbidden("mutatingwebhookconfigurations"))
			c.deleteSecret()
			time.AfterFunc(20*time.Second, allow)
		}},
		"the configuration is remade": {fault: func(t *testing.T, c *cluster) { c.remake(t) }, fails: true, sameCA: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, ourConfiguration())
				first, _ := c.replica()
				second, _ := c.replica()
				waitReady(t, 5*time.Second, first, second)
				before := issuer(t, first)

				tc.fault(t, c)
				if tc.fails {
					time.Sleep(time.Second)
				}
				c.watchCalls(time.Minute, 50*time.Millisecond, first, second)
				if same := issuer(t, first) == before; same != tc.sameCA {
					t.Errorf("same CA = %v, want %v", same, tc.sameCA)
				}
				if issuer(t, first) != issuer(t, second) {
					t.Error("the replicas ended up with different CAs")
				}
			})
		})
	}
}

func (c *cluster) putSecret(t *testing.T, data map[string][]byte) {
	t.Helper()
	secret := c.secret()
	secret.Data = data
	if _, err := c.client.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) remake(t *testing.T) {
	t.Helper()
	if err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), configurationName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	c.createConfiguration()
}

func issuer(t *testing.T, d *Dynamic) string {
	t.Helper()
	cert, err := d.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return issuerOf(cert.Leaf)
}

func TestDynamicTakesUpTheStoredCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, ourConfiguration())
		first, stop := c.replica()
		waitReady(t, 5*time.Second, first)
		stored, before := c.secret(), issuer(t, first)
		stop()

		second, _ := c.replica()
		waitReady(t, 5*time.Second, second)
		if issuer(t, second) != before {
			t.Error("a restart changed the CA")
		}
		if diff := cmp.Diff(stored.Data, c.secret().Data); diff != "" {
			t.Errorf("a restart changed the Secret")
		}
	})
}

func TestDynamicKeepsWhatElseIsInTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, ourConfiguration(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName, Labels: map[string]string{"chart": "keyroll"}},
			Data:       map[string][]byte{"note": []byte("keep")},
		})
		d, _ := c.replica()
		waitReady(t, 5*time.Second, d)
		got := c.secret()
		if string(got.Data["note"]) != "keep" || got.Labels["chart"] != "keyroll" {
			t.Error("filling a prepared Secret took something from it")
		}
		if c.count("create", "secrets") != 0 {
			t.Error("a Secret was created although there is one")
		}
	})
}

// refuse makes the API server answer that verb for that resource with err until
// it is allowed again.
func (c *cluster) refuse(verb, resource string, err error) (allow func()) {
	var allowed atomic.Bool
	c.client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return !allowed.Load(), nil, err
	})
	return func() { allowed.Store(true) }
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", errors.New("no rule for it"))
}

func TestDynamicWithoutItsRights(t *testing.T) {
	tests := map[string]struct {
		verb, resource string
		wantReady      string
		wantMetric     string
	}{
		"may not write the bundle": {
			verb: "patch", resource: "mutatingwebhookconfigurations",
			wantReady: "entry pods.keyroll.dev of MutatingWebhookConfiguration akv-keyroll: caBundle holds no certificate",
		},
		"may not create the Secret": {
			verb: "create", resource: "secrets",
			wantReady: `CA in Secret keyroll-system/keyroll-webhook-ca: secrets "x" is forbidden`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, ourConfiguration())
				mendRole := c.refuse(tc.verb, tc.resource, forbidden(tc.resource))
				d, _ := c.replica()
				time.Sleep(20 * time.Second)
				wantUnready(t, d, tc.wantReady)
				if n := c.count(tc.verb, tc.resource); n < 5 || n > 30 {
					t.Errorf("tried %d times in 20 seconds, want to keep trying, with backoff", n)
				}

				mendRole()
				waitReady(t, 10*time.Second, d)
				if err := c.call(d); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The last third of a CA's life is there to mend what keeps a new one from being stored.
func TestDynamicServesWithACAThatItCannotRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := 24 * time.Hour
		old, err := newCA(time.Now().Add(-250*day), validity{ca: 365 * day, tolerance: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		data, err := old.data()
		if err != nil {
			t.Fatal(err)
		}
		c := newCluster(t, ourConfiguration(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}, Data: data})
		mendRole := c.refuse("update", "secrets", forbidden("secrets"))
		d, _ := c.replica(func(c *DynamicConfig) { c.CADuration, c.LeafDuration = 365*day, 3*time.Hour })
		waitReady(t, 5*time.Second, d)
		if leafs, cas := c.watchCalls(130*time.Minute, time.Second, d); leafs != 2 || cas != 1 {
			t.Errorf("%d leafs and %d CAs were seen, want two leafs, the second after two hours, and the old CA", leafs, cas)
		}

		mendRole()
		if _, cas := c.watchCalls(time.Minute, time.Second, d); cas != 2 {
			t.Errorf("%d CAs were seen after the role was mended, want the new one too", cas)
		}
	})
}

func TestDynamicMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, ourConfiguration())
		mendRole := c.refuse("patch", "mutatingwebhookconfigurations", forbidden("mutatingwebhookconfigurations"))
		endConflict := c.refuse("patch", "mutatingwebhookconfigurations",
			apierrors.NewConflict(schema.GroupResource{Resource: "mutatingwebhookconfigurations"}, configurationName, errors.New("uid")))
		started := time.Now()
		d, _ := c.replica()
		synctest.Wait()
		// What starts the keeper may come as one trigger or as two.
		conflicts := c.count("patch", "mutatingwebhookconfigurations")
		endConflict()
		time.Sleep(110 * time.Millisecond)
		synctest.Wait()
		errs := c.count("patch", "mutatingwebhookconfigurations") - conflicts
		mendRole()
		waitReady(t, 10*time.Second, d)

		cert, err := d.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cert.Leaf.NotAfter.Sub(started); got < 7*24*time.Hour || got > 7*24*time.Hour+2*time.Hour {
			t.Errorf("the leaf is valid for %v, want 7 days and the tolerance", got)
		}
		want := fmt.Sprintf(`
# HELP keyroll_webhook_bundle_writes_total Attempts to write the caBundle of our configuration, by outcome.
# TYPE keyroll_webhook_bundle_writes_total counter
keyroll_webhook_bundle_writes_total{outcome="conflict"} %d
keyroll_webhook_bundle_writes_total{outcome="error"} %d
keyroll_webhook_bundle_writes_total{outcome="written"} 1
# HELP keyroll_webhook_ca_expiry_timestamp_seconds When the CA expires that signs the serving certificate, in seconds since the epoch; 0 while there is none.
# TYPE keyroll_webhook_ca_expiry_timestamp_seconds gauge
keyroll_webhook_ca_expiry_timestamp_seconds %v
# HELP keyroll_webhook_certificate_expiry_timestamp_seconds When the serving certificate expires, in seconds since the epoch; 0 while there is none.
# TYPE keyroll_webhook_certificate_expiry_timestamp_seconds gauge
keyroll_webhook_certificate_expiry_timestamp_seconds %v
# HELP keyroll_webhook_certificate_trusted 1 when the caBundle of every entry of our configuration verifies the serving certificate, else 0.
# TYPE keyroll_webhook_certificate_trusted gauge
keyroll_webhook_certificate_trusted 1
`, conflicts, errs, float64(d.authority.expires().Unix()), float64(cert.Leaf.NotAfter.Unix()))
		if err := testutil.GatherAndCompare(c.registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

func TestNewDynamicChecksItsConfig(t *testing.T) {
	tests := map[string]func(*DynamicConfig){
		"no namespace":         func(c *DynamicConfig) { c.Namespace = "" },
		"no Secret":            func(c *DynamicConfig) { c.SecretName = "" },
		"no names":             func(c *DynamicConfig) { c.DNSNames = nil },
		"no configuration":     func(c *DynamicConfig) { c.ConfigurationName = "" },
		"a leaf beyond the CA": func(c *DynamicConfig) { c.CADuration, c.LeafDuration = time.Hour, 2*time.Hour },
		"a life below zero":    func(c *DynamicConfig) { c.LeafDuration = -time.Hour },
		"no log":               func(c *DynamicConfig) { c.Log = nil },
		"no registry":          func(c *DynamicConfig) { c.Registerer = nil },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			config := DynamicConfig{
				Namespace: namespace, SecretName: secretName, DNSNames: []string{serviceName}, ConfigurationName: configurationName,
				Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
			}
			spoil(&config)
			if _, err := newDynamic(config, fake.NewClientset()); err == nil {
				t.Error("want an error")
			}
		})
	}
}
