package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/dependency"
	"keyroll.dev/webhook/inject"
)

func newHandler(tb testing.TB, cluster Cluster) (*Handler, *prometheus.Registry, *bytes.Buffer) {
	tb.Helper()
	registry, log := prometheus.NewRegistry(), &bytes.Buffer{}
	h, err := New(Config{
		Cluster: cluster, Timeout: time.Second, Registerer: registry,
		Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return h, registry, log
}

// post sends a body and answers what comes back.
func post(tb testing.TB, h http.Handler, path string, body io.Reader) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, path, body)
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	return recorder
}

// ask sends a request that is to be answered by a review.
func ask(tb testing.TB, h http.Handler, path string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	tb.Helper()
	recorder := post(tb, h, path, bytes.NewReader(reviewOf(tb, r)))
	if recorder.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	var review admissionv1.AdmissionReview
	decode(tb, recorder.Body.Bytes(), &review)
	if review.Response == nil || review.Response.UID != r.UID {
		tb.Fatalf("answer is not to the request: %s", recorder.Body)
	}
	return review.Response
}

func TestReviewIsAnswered(t *testing.T) {
	update := func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionRequest {
		r.Operation = admissionv1.Update
		return r
	}
	elsewhere := func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionRequest {
		r.Namespace = "elsewhere"
		return r
	}
	unlabelled := func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionRequest {
		r.Namespace = "unlabelled"
		return r
	}
	subresource := func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionRequest {
		r.SubResource = "status"
		return r
	}
	deployment := []byte(`{"metadata":{"annotations":{"keyroll.dev/objects":"db-password","keyroll.dev/service-account":"web"}},` +
		`"spec":{"template":{"metadata":{},"spec":{"containers":[{"name":"app"}]}}}}`)
	tests := map[string]struct {
		path                    string
		request                 *admissionv1.AdmissionRequest
		wantOutcome, wantReason string
		wantCode                int32  // of a refusal
		wantMessage             string // a part of it
	}{
		"a pod that asks is patched": {
			path: "/pods", request: request("Pod", pod(""), nil), wantOutcome: "patched", wantReason: "Injected",
		},
		"a pod that asks wrongly is refused": {
			path: "/pods", request: request("Pod", pod(`,"keyroll.dev/vault":"-"`), nil),
			wantOutcome: "refused", wantReason: "BadAnnotations", wantCode: 403, wantMessage: `keyroll.dev/vault: "-"`,
		},
		"a pod that asks for nothing is let in": {
			path: "/pods", request: request("Pod", []byte(`{"metadata":{}}`), nil), wantOutcome: "unchanged", wantReason: "NotAsked",
		},
		"an update of a pod is let in": {
			path: "/pods", request: update(request("Pod", pod(""), nil)), wantOutcome: "unchanged", wantReason: "OperationNotHandled",
		},
		"a pod in a namespace that nobody has heard of is not let in without its secrets": {
			path: "/pods", request: elsewhere(request("Pod", pod(""), nil)),
			wantOutcome: "error", wantReason: "NamespaceUnknown", wantCode: 503, wantMessage: "try again",
		},
		"a pod in a namespace that is not labelled here, but for the API server, is not let in without its secrets": {
			path: "/pods", request: unlabelled(request("Pod", pod(""), nil)),
			wantOutcome: "error", wantReason: "NamespaceNotEnabled", wantCode: 503, wantMessage: "keyroll.dev/injection=enabled",
		},
		"a workload in a namespace that is not labelled is let in": {
			path: "/workloads", request: unlabelled(request("Deployment", deployment, nil)), wantOutcome: "unchanged", wantReason: "NamespaceNotEnabled",
		},
		"a workload in a namespace that nobody has heard of is let in": {
			path: "/workloads", request: elsewhere(request("Deployment", deployment, nil)), wantOutcome: "unchanged", wantReason: "NamespaceUnknown",
		},
		"an object that is no pod is answered": {
			path: "/pods", request: request("Deployment", deployment, nil),
			wantOutcome: "error", wantReason: "WrongResource", wantCode: 400, wantMessage: "deployments",
		},
		"a subresource is answered": {
			path: "/pods", request: subresource(request("Pod", pod(""), nil)),
			wantOutcome: "error", wantReason: "WrongResource", wantCode: 400, wantMessage: "status",
		},
		"a pod that is none is answered": {
			path: "/pods", request: request("Pod", []byte(`{"spec":7}`), nil),
			wantOutcome: "error", wantReason: "MalformedObject", wantCode: 400, wantMessage: "decode pod",
		},
		"a workload that asks is patched": {
			path: "/workloads", request: request("Deployment", deployment, nil), wantOutcome: "patched", wantReason: "AnnotationsCopied",
		},
		"a deletion is let go": {
			path: "/workloads", request: func() *admissionv1.AdmissionRequest {
				r := request("Deployment", nil, nil)
				r.Operation = admissionv1.Delete
				return r
			}(),
			wantOutcome: "unchanged", wantReason: "OperationNotHandled",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			h, registry, _ := newHandler(t, shop())
			got := ask(t, h, tc.path, tc.request)
			want := map[string]string{"decision": tc.wantOutcome, "reason": tc.wantReason}
			if diff := cmp.Diff(want, got.AuditAnnotations); diff != "" {
				t.Errorf("audit annotations (-want +got):\n%s", diff)
			}
			if wantPatch := tc.wantOutcome == "patched"; wantPatch != (len(got.Patch) > 0 && got.PatchType != nil) {
				t.Errorf("patch %q of type %v", got.Patch, got.PatchType)
			}
			if got.Allowed != (tc.wantCode == 0) {
				t.Fatalf("allowed: %v", got.Allowed)
			}
			if !got.Allowed && (got.Result.Code != tc.wantCode || !strings.Contains(got.Result.Message, tc.wantMessage)) {
				t.Errorf("status %d %q, want %d with %q", got.Result.Code, got.Result.Message, tc.wantCode, tc.wantMessage)
			}
			operation := string(tc.request.Operation)
			if operation == "DELETE" {
				operation = "other"
			}
			count := testutil.ToFloat64(h.metrics.requests.WithLabelValues(strings.TrimPrefix(tc.path, "/"), operation, tc.wantOutcome, tc.wantReason))
			if all := counted(t, registry); count != 1 || all != 1 {
				t.Errorf("counted %v here and %v in all", count, all)
			}
		})
	}
}

// counted sums up the requests of every series.
func counted(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "keyroll_webhook_requests_total" {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestRequestThatIsNoReview(t *testing.T) {
	good := reviewOf(t, request("Pod", pod(""), nil))
	tests := map[string]struct {
		method, path, contentType string
		body                      io.Reader
		wantStatus                int
		wantReason                string
	}{
		"another method":                     {method: http.MethodGet, body: bytes.NewReader(good), wantStatus: 405, wantReason: "MethodNotAllowed"},
		"another content type":               {contentType: "text/yaml", body: bytes.NewReader(good), wantStatus: 415, wantReason: "NotJSON"},
		"a malformed content type":           {contentType: "application/json;;", body: bytes.NewReader(good), wantStatus: 415, wantReason: "NotJSON"},
		"a body that is no JSON":             {body: strings.NewReader("kind: AdmissionReview"), wantStatus: 400, wantReason: "NotAReview"},
		"no body":                            {body: http.NoBody, wantStatus: 400, wantReason: "NotAReview"},
		"another kind of object":             {body: strings.NewReader(`{"apiVersion":"v1","kind":"Pod"}`), wantStatus: 400, wantReason: "NotAReview"},
		"a review of another age":            {body: bytes.NewReader(bytes.Replace(good, []byte("k8s.io/v1"), []byte("k8s.io/v1beta1"), 1)), wantStatus: 400, wantReason: "NotAReview"},
		"a review without request":           {body: strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), wantStatus: 400, wantReason: "NotAReview"},
		"a review with a null one":           {body: strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`), wantStatus: 400, wantReason: "NotAReview"},
		"a request without a uid":            {body: strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`), wantStatus: 400, wantReason: "NotAReview"},
		"a body that is declared too large":  {body: bytes.NewReader(make([]byte, maxBody+1)), wantStatus: 413, wantReason: "BodyTooLarge"},
		"a large body of no declared length": {body: io.MultiReader(bytes.NewReader(good), bytes.NewReader(bytes.Repeat([]byte(" "), commonBody))), wantStatus: 413, wantReason: "BodyTooLarge"},
		"a body that is too large":           {body: io.MultiReader(bytes.NewReader(good), bytes.NewReader(bytes.Repeat([]byte(" "), maxBody))), wantStatus: 413, wantReason: "BodyTooLarge"},
		"white space without end":            {body: spaces{}, wantStatus: 400, wantReason: "NotAReview"},
		"a list without end":                 {body: io.MultiReader(strings.NewReader(" [ "), spaces{}), wantStatus: 400, wantReason: "NotAReview"},
		"a body that breaks off":             {body: io.MultiReader(bytes.NewReader(good[:20]), iotest.ErrReader(errors.New("reset"))), wantStatus: 400, wantReason: "BodyUnreadable"},
		"a path that does not exist":         {path: "/", body: bytes.NewReader(good), wantStatus: 404},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			h, _, _ := newHandler(t, shop())
			method, path, contentType := or(tc.method, http.MethodPost), or(tc.path, "/pods"), or(tc.contentType, "application/json")
			r := httptest.NewRequestWithContext(t.Context(), method, path, tc.body)
			r.Header.Set("Content-Type", contentType)
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			if recorder.Code != tc.wantStatus {
				t.Errorf("status %d, want %d: %s", recorder.Code, tc.wantStatus, recorder.Body)
			}
			if tc.wantReason == "" {
				return
			}
			if n := testutil.ToFloat64(h.metrics.requests.WithLabelValues("pods", "other", "error", tc.wantReason)); n != 1 {
				t.Errorf("counted %v for reason %s, want 1", n, tc.wantReason)
			}
			if held := h.held.Load(); held != 0 {
				t.Errorf("%d bytes are still held", held)
			}
		})
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func TestBodiesAreHeldWithinABudget(t *testing.T) {
	h, _, _ := newHandler(t, shop())
	body := reviewOf(t, request("Pod", pod(""), nil))
	body = append(body, bytes.Repeat([]byte(" "), commonBody+1000-len(body))...)
	h.held.Store(maxBodies - 1000 + 1)
	if got := post(t, h, "/pods", bytes.NewReader(body)); got.Code != http.StatusServiceUnavailable {
		t.Errorf("one byte more than there is room for: status %d, want 503", got.Code)
	}
	h.held.Store(maxBodies - 1000)
	if got := post(t, h, "/pods", bytes.NewReader(body)); got.Code != http.StatusOK {
		t.Errorf("the last byte that there is room for: status %d, want 200", got.Code)
	}
	h.held.Store(maxBodies)
	if got := post(t, h, "/pods", bytes.NewReader(body[:commonBody])); got.Code != http.StatusOK {
		t.Errorf("a common body while there is no room: status %d, want 200", got.Code)
	}
	if got := h.held.Load(); got != maxBodies {
		t.Errorf("%d bytes held afterwards, want %d", got, maxBodies)
	}
}

func TestLargeReviewsWaitForRoom(t *testing.T) {
	h, _, _ := newHandler(t, shop())
	large := reviewOf(t, request("Pod", pod(""), nil))
	large = append(large, bytes.Repeat([]byte(" "), commonBody)...)
	leave := h.reviews.enter(t.Context(), units) // others are being decoded
	small := reviewOf(t, request("Pod", pod(""), nil))
	if got := post(t, h, "/pods", bytes.NewReader(small)); got.Code != http.StatusOK {
		t.Errorf("a common review: status %d, want 200", got.Code)
	}
	if got := post(t, h, "/pods?timeout=100ms", bytes.NewReader(large)); got.Code != http.StatusServiceUnavailable {
		t.Errorf("a large review without room: status %d, want 503", got.Code)
	}
	leave()
	if got := post(t, h, "/pods", bytes.NewReader(large)); got.Code != http.StatusOK {
		t.Errorf("a large review with room: status %d, want 200", got.Code)
	}
}

// A review of many elements is small beside what is read of it.
func TestReviewsOfManyElementsWaitForRoom(t *testing.T) {
	h, _, _ := newHandler(t, shop())
	elements := func(commas int) []byte {
		text := reviewOf(t, request("Pod", pod(""), nil))
		list := strings.Repeat("0,", commas-bytes.Count(text, []byte(","))-1) + "0"
		return append([]byte(`{"more":[`+list+`],`), text[1:]...)
	}
	leave := h.reviews.enter(t.Context(), units) // others are being decoded
	if got := post(t, h, "/pods", bytes.NewReader(elements(commonElements-1))); got.Code != http.StatusOK {
		t.Errorf("a common review: status %d, want 200", got.Code)
	}
	if got := post(t, h, "/pods?timeout=100ms", bytes.NewReader(elements(commonElements))); got.Code != http.StatusServiceUnavailable {
		t.Errorf("many elements without room: status %d, want 503", got.Code)
	}
	leave()
	if got := post(t, h, "/pods", bytes.NewReader(elements(commonElements))); got.Code != http.StatusOK {
		t.Errorf("many elements with room: status %d, want 200", got.Code)
	}
}

// Who waits for room for its answer keeps that for its review, so that no more are
// read meanwhile than there is room for.
func TestRoomForReviewsIsHeldWhileAnswersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := newHandler(t, shop())
		many := strings.Repeat(`{"name":"c"},`, 2*commonElements) + `{"name":"c"}`
		review := reviewOf(t, request("Pod", fmt.Appendf(nil,
			`{"metadata":{"annotations":{"keyroll.dev/objects":"db-password"}},"spec":{"serviceAccountName":"web","containers":[%s]}}`, many), nil))
		leave := h.answers.enter(t.Context(), units) // others are being answered
		answered := make(chan int, units)
		for range units {
			go func() { answered <- post(t, h, "/pods", bytes.NewReader(review)).Code }()
		}
		synctest.Wait()
		if taken := len(h.reviews.units); taken != units {
			t.Errorf("%d of %d units are taken while all wait", taken, units)
		}
		leave()
		for range units {
			if code := <-answered; code != http.StatusOK {
				t.Errorf("status %d, want 200", code)
			}
		}
	})
}

// A pod of many containers is small beside what comes of it.
func TestReviewsOfManyContainersWaitForRoom(t *testing.T) {
	h, _, _ := newHandler(t, shop())
	containers := func(n int) *admissionv1.AdmissionRequest {
		many := strings.Repeat(`{"name":"c"},`, n-1) + `{"name":"c"}`
		return request("Pod", fmt.Appendf(nil,
			`{"metadata":{"annotations":{"keyroll.dev/objects":"db-password"}},"spec":{"serviceAccountName":"web","containers":[%s]}}`, many), nil)
	}
	leave := h.answers.enter(t.Context(), units) // others are being answered
	if got := ask(t, h, "/pods", containers(commonAdditions-1)); !got.Allowed {
		t.Errorf("a common pod: %v", got.Result)
	}
	if got := ask(t, h, "/pods?timeout=100ms", containers(commonAdditions)); got.Allowed || got.Result.Code != http.StatusServiceUnavailable {
		t.Errorf("many containers without room: %v", got)
	}
	leave()
	if got := ask(t, h, "/pods", containers(commonAdditions)); !got.Allowed {
		t.Errorf("many containers with room: %v", got.Result)
	}
}

// An answer would refuse a workload though its webhook is to fail open.
func TestWhatFailsAboutAWorkloadIsAnHTTPError(t *testing.T) {
	tests := map[string]struct {
		request *admissionv1.AdmissionRequest
		reason  inject.Reason
		message string
	}{
		"no workload":                    {request("Pod", pod(""), nil), WrongResource, "pods"},
		"no template":                    {request("Deployment", []byte(`{"spec":{}}`), nil), MalformedObject, "no pod template"},
		"no template in the old version": {request("Deployment", []byte(`{"spec":{"template":{}}}`), []byte(`{}`)), MalformedObject, "old object"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			h, registry, _ := newHandler(t, shop())
			got := post(t, h, "/workloads", bytes.NewReader(reviewOf(t, tc.request)))
			if got.Code != http.StatusBadRequest || !strings.Contains(got.Body.String(), tc.message) {
				t.Errorf("status %d, %q; want 400 with %q", got.Code, got.Body, tc.message)
			}
			count := testutil.ToFloat64(h.metrics.requests.WithLabelValues("workloads", string(tc.request.Operation), string(Failed), string(tc.reason)))
			if all := counted(t, registry); count != 1 || all != 1 {
				t.Errorf("counted %v here and %v in all", count, all)
			}
		})
	}
}

// panicking is a Cluster with a bug.
type panicking struct{ Cluster }

func (panicking) Namespace(string) (dependency.Namespace, bool) { panic("db-password is hunter2") }

func TestPanicIsAnsweredAndCounted(t *testing.T) {
	h, registry, log := newHandler(t, panicking{})
	for range 2 {
		got := post(t, h, "/pods", bytes.NewReader(reviewOf(t, request("Pod", pod(""), nil))))
		if got.Code != http.StatusInternalServerError || strings.Contains(got.Body.String(), "hunter2") {
			t.Errorf("status %d, body %q", got.Code, got.Body)
		}
	}
	want := `
# HELP keyroll_webhook_panics_total Admission requests whose handling panicked. Each is a bug.
# TYPE keyroll_webhook_panics_total counter
keyroll_webhook_panics_total 2
# HELP keyroll_webhook_requests_in_flight Admission requests being answered now.
# TYPE keyroll_webhook_requests_in_flight gauge
keyroll_webhook_requests_in_flight 0
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"keyroll_webhook_panics_total", "keyroll_webhook_requests_in_flight")
	if err != nil {
		t.Error(err)
	}
	count := testutil.ToFloat64(h.metrics.requests.WithLabelValues("pods", "CREATE", "error", "Panicked"))
	if all := counted(t, registry); count != 2 || all != 2 {
		t.Errorf("counted %v here and %v in all", count, all)
	}
	if strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), "Admission panicked") {
		t.Errorf("log:\n%s", log)
	}
}

func TestLogNamesAndNothingElse(t *testing.T) {
	h, _, log := newHandler(t, shop())
	r := request("Pod", pod(`,"keyroll.dev/env":"hunter2"`), nil)
	r.Name = "web-1"
	ask(t, h, "/pods", r)
	var line map[string]any
	decode(t, log.Bytes(), &line)
	delete(line, "time")
	want := map[string]any{
		"level": "INFO", "msg": "Admission answered", "webhook": "pods", "operation": "CREATE", "kind": "Pod",
		"namespace": "shop", "name": "web-1", "uid": "b2c3", "outcome": "refused", "reason": "BadAnnotations",
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// A cache that lags is waited for, but not longer than Patience.
func TestPatience(t *testing.T) {
	unlabelled := dependency.Namespace{Name: "shop"}
	tests := map[string]struct {
		cluster    func() *fixed
		arrives    time.Duration
		then       func(*fixed)
		wantReason string
		wantAfter  time.Duration
	}{
		"the namespace's label arrives": {
			cluster:    func() *fixed { c := shop(); c.namespaces["shop"] = unlabelled; return c },
			arrives:    30 * time.Millisecond,
			then:       func(c *fixed) { c.namespaces["shop"] = labelled("shop") },
			wantReason: "Injected", wantAfter: 40 * time.Millisecond,
		},
		"the namespace's label never arrives, though the API server knows of it": {
			cluster:    func() *fixed { c := shop(); c.namespaces["shop"] = unlabelled; return c },
			wantReason: "NamespaceNotEnabled", wantAfter: 100 * time.Millisecond,
		},
		"the namespace arrives": {
			cluster:    func() *fixed { c := shop(); delete(c.namespaces, "shop"); return c },
			arrives:    30 * time.Millisecond,
			then:       func(c *fixed) { c.namespaces["shop"] = labelled("shop") },
			wantReason: "Injected", wantAfter: 40 * time.Millisecond,
		},
		"the account arrives": {
			cluster:    func() *fixed { c := shop(); delete(c.accounts, "web"); return c },
			arrives:    30 * time.Millisecond,
			then:       func(c *fixed) { c.accounts = shop().accounts },
			wantReason: "Injected", wantAfter: 40 * time.Millisecond,
		},
		"nothing arrives": {
			cluster:    func() *fixed { c := shop(); delete(c.accounts, "web"); return c },
			arrives:    time.Hour,
			wantReason: "Unresolved", wantAfter: 100 * time.Millisecond,
		},
		"nothing is missing": {
			cluster:    shop,
			arrives:    time.Hour,
			wantReason: "Injected", wantAfter: 0,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := tc.cluster()
				start := time.Now()
				cluster.look = func(int) {
					if tc.then != nil && time.Since(start) >= tc.arrives {
						tc.then(cluster)
					}
				}
				h, _, _ := newHandler(t, cluster)
				h.patience = 100 * time.Millisecond
				got := ask(t, h, "/pods", request("Pod", pod(""), nil))
				if reason := got.AuditAnnotations["reason"]; reason != tc.wantReason {
					t.Errorf("reason %s, want %s", reason, tc.wantReason)
				}
				if after := time.Since(start); after != tc.wantAfter {
					t.Errorf("answered after %s, want %s", after, tc.wantAfter)
				}
			})
		})
	}
}

func TestPatienceEndsWithTheRequest(t *testing.T) {
	tests := map[string]struct {
		path string
		want time.Duration
	}{
		"by our own bound":                          {"/pods", time.Second},
		"before the API server's end":               {"/pods?timeout=500ms", 400 * time.Millisecond},
		"by our own where the API server's is long": {"/pods?timeout=30s", time.Second},
		"by our own where the API server's is none": {"/pods?timeout=soon", time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := shop()
				delete(cluster.accounts, "web")
				h, _, _ := newHandler(t, cluster)
				h.patience = time.Hour
				start := time.Now()
				ask(t, h, tc.path, request("Pod", pod(""), nil))
				if after := time.Since(start); after != tc.want {
					t.Errorf("answered after %s, want %s", after, tc.want)
				}
			})
		})
	}
}

func TestWarningsAreFitForHeaders(t *testing.T) {
	long := strings.Repeat("é", maxWarningBytes)
	many := make([]string, maxWarnings+5)
	tests := map[string]struct {
		warnings, want []string
	}{
		"none":                            {nil, nil},
		"a line break becomes a space":    {[]string{"a\nb"}, []string{"a b"}},
		"a long one is cut at a letter":   {[]string{long, "x" + long}, []string{strings.Repeat("é", maxWarningBytes/2), "x" + strings.Repeat("é", maxWarningBytes/2-1)}},
		"more than the bound are dropped": {many, many[:maxWarnings]},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, printable(tc.warnings)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	good := func() Config {
		return Config{Cluster: shop(), Timeout: time.Second, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	}
	tests := map[string]func(*Config){
		"no cluster":                      func(c *Config) { c.Cluster = nil },
		"no timeout":                      func(c *Config) { c.Timeout = 0 },
		"patience as long as the timeout": func(c *Config) { c.Patience = c.Timeout },
		"no log":                          func(c *Config) { c.Log = nil },
		"no registerer":                   func(c *Config) { c.Registerer = nil },
		"metrics registered twice": func(c *Config) {
			if _, err := New(*c); err != nil {
				t.Error(err)
			}
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := good()
			spoil(&c)
			if _, err := New(c); err == nil {
				t.Error("no error")
			}
		})
	}
}

// The answer must be one that the API server takes: it checks the patch type
// and that UID, version and kind are those of its request.
func TestAnswerHasTheFormOfItsRequest(t *testing.T) {
	h, _, _ := newHandler(t, shop())
	recorder := post(t, h, "/pods", bytes.NewReader(reviewOf(t, request("Pod", pod(""), nil))))
	var got struct {
		metav1.TypeMeta `json:",inline"`
		Response        map[string]json.RawMessage `json:"response"`
	}
	decode(t, recorder.Body.Bytes(), &got)
	delete(got.Response, "patch")
	want := map[string]json.RawMessage{
		"uid": []byte(`"b2c3"`), "allowed": []byte(`true`), "patchType": []byte(`"JSONPatch"`),
		"auditAnnotations": []byte(`{"decision":"patched","reason":"Injected"}`),
	}
	if diff := cmp.Diff(want, got.Response); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	if want := (metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}); got.TypeMeta != want {
		t.Errorf("type %v, want %v", got.TypeMeta, want)
	}
	if got := recorder.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
}
