package soak

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	"k8s.io/client-go/tools/cache"
)

const configurationName = "akv-keyroll"

// caller asks the webhook as an API server does that has no connection yet.
type caller struct {
	ns            string
	configuration cache.SharedIndexInformer

	mu     sync.Mutex
	leaves map[string]*x509.Certificate // every one that was served, by its serial number
}

func newCaller(t *testing.T, ns string) *caller {
	t.Helper()
	c := &caller{ns: ns, leaves: map[string]*x509.Certificate{}}
	c.configuration = admissioninformers.NewFilteredMutatingWebhookConfigurationInformer(shared.Client(), 0, nil, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", configurationName).String()
	})
	go c.configuration.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), c.configuration.HasSynced) {
		t.Fatal("the configuration cannot be watched")
	}
	return c
}

// entry is the live one for pods.
func (c *caller) entry() (*admissionregistrationv1.MutatingWebhook, error) {
	object, exists, err := c.configuration.GetStore().GetByKey(configurationName)
	if err != nil || !exists {
		return nil, fmt.Errorf("configuration found: %v, error %w", exists, err)
	}
	for _, w := range object.(*admissionregistrationv1.MutatingWebhookConfiguration).Webhooks {
		if w.Name == "pods.keyroll.dev" {
			return &w, nil
		}
	}
	return nil, errors.New("the configuration has no entry for pods")
}

// watches waits until the caller sees changes of the configuration at once again. An
// API server that has restarted does from its start, a client like us only when it
// has connected again, for which it takes its time.
func (c *caller) watches(ctx context.Context) error {
	const mark = "e2e/watched"
	patch := fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, mark, time.Now())
	marked, err := shared.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		ctx, configurationName, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "another-writer"})
	if err != nil {
		return err
	}
	return until(ctx, "the caller watches the configuration", func() string {
		object, exists, err := c.configuration.GetStore().GetByKey(configurationName)
		if err != nil || !exists || object.(*admissionregistrationv1.MutatingWebhookConfiguration).Annotations[mark] != marked.Annotations[mark] {
			return fmt.Sprintf("its configuration is an older one; error %v", err)
		}
		return ""
	})
}

// call sends one review on a connection of its own.
func (c *caller) call(ctx context.Context) (outcome, string) {
	if err := c.tryCall(ctx); err != nil {
		return refused, err.Error()
	}
	return admitted, ""
}

func (c *caller) tryCall(ctx context.Context) error {
	entry, err := c.entry()
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(entry.ClientConfig.CABundle)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, VerifyConnection: c.note}}
	client := &http.Client{Transport: transport, Timeout: time.Duration(*entry.TimeoutSeconds) * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, *entry.ClientConfig.URL, bytes.NewReader(c.review()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	if r := review.Response; r == nil || !r.Allowed || len(r.Patch) == 0 {
		return fmt.Errorf("answered %s", body)
	}
	return nil
}

// note remembers the certificate that was verified.
func (c *caller) note(state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaves[leaf.SerialNumber.String()] = leaf
	return nil
}

// served counts the certificates served so far for which is holds.
func (c *caller) served(is func(*x509.Certificate) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, leaf := range c.leaves {
		if is(leaf) {
			n++
		}
	}
	return n
}

// signers counts the CAs that have signed what was served so far.
func (c *caller) signers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := map[string]bool{}
	for _, leaf := range c.leaves {
		keys[string(leaf.AuthorityKeyId)] = true
	}
	return len(keys)
}

func (c *caller) review() []byte {
	pod := asking("fresh")
	pod.Namespace, pod.TypeMeta = c.ns, metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	object, err := json.Marshal(pod)
	if err != nil {
		panic(err) // it is ours
	}
	review, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: types.UID("fresh"), Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Namespace: c.ns, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: object},
		},
	})
	if err != nil {
		panic(err) // it is ours
	}
	return review
}
