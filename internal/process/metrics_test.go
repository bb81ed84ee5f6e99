package process

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// client-go counts into the registry that was made first: no test before this
// one may make another.
func TestRequestsToTheAPIServerAreCounted(t *testing.T) {
	registry := NewRegistry()
	answers := map[string]int{http.MethodGet: http.StatusOK, http.MethodPatch: http.StatusConflict, http.MethodPost: http.StatusServiceUnavailable}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(answers[r.Method])
	}))
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for method := range answers {
		// What comes back is counted, whatever it is.
		_ = client.CoreV1().RESTClient().Verb(method).AbsPath("/api").MaxRetries(0).Do(t.Context()).Error()
	}
	server.Close()
	_ = client.CoreV1().RESTClient().Delete().AbsPath("/api").MaxRetries(0).Do(t.Context()).Error()

	got := counted(t, registry, "keyroll_api_requests_total")
	want := map[string]float64{"GET 2xx": 1, "PATCH 4xx": 1, "POST 5xx": 1, "DELETE error": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := counted(t, registry, "keyroll_api_throttle_seconds"); got[""] != 4 {
		t.Errorf("waiting times of %v requests, want 4", got[""])
	}
}

// counted are the samples of a counter or histogram that are not zero, by method and code.
func counted(t *testing.T, g prometheus.Gatherer, name string) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if n := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()); n > 0 {
				all[strings.TrimSpace(labels["method"]+" "+labels["code"])] = n
			}
		}
	}
	return all
}
