package stories

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
)

// identityWebhook does to pods what azure-workload-identity's webhook does
// first: it gives containers the client id of the pod's ServiceAccount.
type identityWebhook struct {
	mu   sync.Mutex
	pods []corev1.Pod // that it was called for
}

func (w *identityWebhook) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	var review admissionv1.AdmissionReview
	var pod corev1.Pod
	if err := json.NewDecoder(in.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(out, fmt.Sprint("not a review: ", err), http.StatusBadRequest)
		return
	}
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	w.pods = append(w.pods, pod)
	w.mu.Unlock()
	jsonPatch := admissionv1.PatchTypeJSONPatch
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: &jsonPatch,
		Patch: []byte(`[{"op":"add","path":"/spec/containers/0/env","value":[{"name":"AZURE_CLIENT_ID","value":"` + clientID + `"}]}]`),
	}
	review.Request = nil
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(review) // the API server tells if it did not get it
}

func (w *identityWebhook) seen() []corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]corev1.Pod(nil), w.pods...)
}

// selfSigned is a certificate for 127.0.0.1.
func selfSigned(t *testing.T) (pair tls.Certificate, bundle []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "identity"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// register serves the webhook for the story's namespace, under the name that
// azure-workload-identity's chart gives its configuration.
func (s *story) register(w *identityWebhook) {
	s.t.Helper()
	pair, bundle := selfSigned(s.t)
	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	s.t.Cleanup(server.Close)

	fail, none, again := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.IfNeededReinvocationPolicy
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "azure-wi-webhook-mutating-webhook-configuration"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "mutation.azure-workload-identity.io",
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: bundle},
			FailurePolicy:           &fail, SideEffects: &none, ReinvocationPolicy: &again,
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.ns}},
			ObjectSelector:    &metav1.LabelSelector{MatchLabels: map[string]string{annotation.IdentityUseLabel: "true"}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	configurations := s.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configurations.Create(s.t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(s.t.Context()), configuration.Name, metav1.DeleteOptions{}); err != nil {
			s.t.Error(err)
		}
	})
}

// TestInjectBeforeWorkloadIdentity has a webhook after ours that selects pods by
// the label that we set, and that changes them, so that ours is asked again.
func TestInjectBeforeWorkloadIdentity(t *testing.T) {
	t.Parallel()
	s := prepare(t, "identity")
	identity := &identityWebhook{}
	s.register(identity)
	create := func(name string, annotations map[string]string, dryRun ...string) *corev1.Pod {
		pod := s.pod(name)
		pod.Labels, pod.Annotations = map[string]string{"app": name}, annotations
		pod, err := s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{DryRun: dryRun})
		if err != nil {
			t.Fatal(err)
		}
		return pod
	}
	eventually(t, "the API server calls the other webhook", func(context.Context) string {
		create("probe", asks, metav1.DryRunAll)
		if len(identity.seen()) == 0 {
			return "not called"
		}
		return ""
	})

	before := len(identity.seen())
	create("unasked", nil)
	created := create(appName, asks)
	calls := identity.seen()[before:]
	if len(calls) != 1 {
		t.Fatalf("the other webhook was called %d times for two pods, of which one is injected; want once", len(calls))
	}
	if seen := calls[0]; seen.Spec.ServiceAccountName != account || seen.Labels[annotation.IdentityUseLabel] != "true" {
		t.Errorf("the other webhook saw account %q and labels %v", seen.Spec.ServiceAccountName, seen.Labels)
	}
	if env := created.Spec.Containers[0].Env; len(env) != 1 || env[0].Name != "AZURE_CLIENT_ID" {
		t.Errorf("the pod has the environment %v, want that of the other webhook", env)
	}

	want := map[string]bool{
		"round 0 pods.keyroll.dev":                    true,
		"round 0 mutation.azure-workload-identity.io": true,
		"round 1 pods.keyroll.dev":                    false, // there is nothing left to add
	}
	var got map[string]bool
	eventually(t, "the audit log has the admission", func(context.Context) string {
		got = s.mutations(appName)
		if len(got) < len(want) {
			return fmt.Sprint(got)
		}
		return ""
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who changed the pod, by the API server's audit log (-want +got):\n%s", diff)
	}
	eventually(t, "the pod runs", s.run(1, s.injected))
}

// mutations are the webhooks that were called for the creation of a pod of
// that name, in which round, and whether each changed the pod.
func (s *story) mutations(pod string) map[string]bool {
	s.t.Helper()
	file, err := os.Open(filepath.Join(s.LogDir(), "audit.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	found := map[string]bool{}
	for lines.Scan() {
		if strings.Contains(lines.Text(), s.ns) {
			maps.Copy(found, s.mutationsIn(lines.Bytes(), pod))
		}
	}
	return found
}

func (s *story) mutationsIn(line []byte, pod string) map[string]bool {
	const prefix = "mutation.webhook.admission.k8s.io/round_"
	var event struct {
		Verb, RequestURI string
		ObjectRef        struct{ Resource, Namespace, Name, Subresource string }
		Annotations      map[string]string
	}
	if json.Unmarshal(line, &event) != nil {
		return nil // the last line may be in the making
	}
	o := event.ObjectRef
	if event.Verb != "create" || o.Resource != "pods" || o.Subresource != "" || o.Namespace != s.ns || o.Name != pod {
		return nil
	}
	found := map[string]bool{}
	for key, value := range event.Annotations {
		var call struct {
			Webhook string
			Mutated bool
		}
		round, isCall := strings.CutPrefix(key, prefix)
		if !isCall {
			continue
		}
		if err := json.Unmarshal([]byte(value), &call); err != nil {
			s.t.Errorf("%s: %v", key, err)
		}
		found["round "+round[:1]+" "+call.Webhook] = call.Mutated
	}
	return found
}
