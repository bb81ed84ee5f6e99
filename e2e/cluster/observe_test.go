package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRequest(t *testing.T) {
	got, err := parseRequest([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete",
		"requestURI":"/apis/apps/v1/namespaces/shop/deployments/web?x=1","verb":"patch",
		"user":{"username":"system:serviceaccount:keyroll-system:keyroll-watcher","groups":["x"]},
		"userAgent":"keyroll-watcher/v1","objectRef":{"resource":"deployments","namespace":"shop","name":"web","apiGroup":"apps","apiVersion":"v1"},
		"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z"}`))
	want := Request{
		User: "system:serviceaccount:keyroll-system:keyroll-watcher", Agent: "keyroll-watcher/v1",
		Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web",
		URI: "/apis/apps/v1/namespaces/shop/deployments/web?x=1", Code: 200,
		Received: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n-want +got\n%s", err, diff)
	}
}

func TestALineThatIsBeingWrittenIsNoRequestYet(t *testing.T) {
	log := `{"verb":"get","requestReceivedTimestamp":"2026-01-02T03:04:04Z"}
{"verb":"list","requestReceivedTimestamp":"2026-01-02T03:04:05Z"}
{"verb":"patch","requestRece`
	second := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got, err := readRequests(strings.NewReader(log), second)
	if diff := cmp.Diff(Requests{{Verb: "list", Received: second}}, got); diff != "" || err != nil {
		t.Errorf("%v\n-want +got\n%s", err, diff)
	}
	if _, err := readRequests(strings.NewReader(log+"\n"), second); err == nil {
		t.Error("a line that has ended and is no request was read")
	}
}

func TestCountTellsSubresourcesApart(t *testing.T) {
	r := Requests{
		{User: "a", Verb: "get", Resource: "pods"},
		{User: "a", Verb: "get", Resource: "pods"},
		{User: "b", Verb: "get", Resource: "pods"},
		{User: "a", Verb: "update", Resource: "pods", Subresource: "status"},
	}
	want := map[string]int{"get pods": 2, "update pods/status": 1}
	if diff := cmp.Diff(want, r.By("a").Count()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
