package stories

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
)

func containsLine(text, part string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

// TestRefusal shows that all that is wrong is answered at once, at kubectl apply.
func TestRefusal(t *testing.T) {
	s := begin(t, "refusal")
	bad := map[string]string{
		annotation.Objects:          "db_password,db-username",
		"keyroll.dev/client_id":     clientID,
		annotation.MountPath:        "secrets",
		annotation.WorkloadIdentity: "yes",
	}
	want := []string{
		"keyroll.dev/objects", "db_password",
		"keyroll.dev/client_id", "keyroll.dev/client-id",
		"keyroll.dev/mount-path", `"secrets"`,
		"keyroll.dev/workload-identity", `"yes"`,
	}
	d := s.deployment("bad", 1, bad)
	_, err := s.Client().AppsV1().Deployments(s.ns).Create(t.Context(), d, metav1.CreateOptions{})
	wantRefused(t, "Deployment", err, want)

	d.Spec.Template.Annotations = bad
	pod := s.pod("bad")
	pod.Annotations = bad
	_, err = s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{})
	wantRefused(t, "Pod", err, want)
}

func wantRefused(t *testing.T, kind string, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was accepted", kind)
		return
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the refusal lacks %q:\n%v", kind, part, err)
		}
	}
}

// TestNotCalled counts the API server's own calls: whoever does not ask is not
// sent to the webhook.
func TestNotCalled(t *testing.T) {
	s := begin(t, "not-called")
	s.kubectl("create", "namespace", "not-called-unlabelled")
	before := s.calls()

	s.create(s.deployment("plain", 3, nil))
	eventually(t, "the unannotated Deployment runs", func(ctx context.Context) string { return s.complete(ctx, "plain") })
	for _, quiet := range []struct {
		namespace, name string
		annotations     map[string]string
	}{
		{"not-called-unlabelled", "unlabelled", map[string]string{annotation.Objects: "db-password"}},
		{s.ns, "opted-out", map[string]string{annotation.Objects: "db-password", annotation.Inject: "false"}},
		{s.ns, "watched", map[string]string{annotation.Restart: "never", annotation.RestartOn: "secret/db"}},
	} {
		pod := s.pod(quiet.name)
		pod.Annotations = quiet.annotations
		if _, err := s.Client().CoreV1().Pods(quiet.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.calls(); got != before {
		t.Errorf("the API server called %+v times, before %+v", got, before)
	}

	s.create(s.deployment("asks", 1, map[string]string{annotation.Objects: "db-password", annotation.ServiceAccount: account}))
	eventually(t, "the annotated Deployment runs", func(ctx context.Context) string { return s.complete(ctx, "asks") })
	if got := s.calls(); got.pods <= before.pods || got.workloads <= before.workloads {
		t.Errorf("the API server called %+v times for an annotated Deployment, before %+v: does the count work?", got, before)
	}
}

// calls counts those of each of our webhooks.
type calls struct{ pods, workloads int }

func (s *story) calls() (c calls) {
	s.t.Helper()
	var err error
	if c.pods, err = s.WebhookCalls(s.t.Context(), "pods.keyroll.dev"); err != nil {
		s.t.Fatal(err)
	}
	if c.workloads, err = s.WebhookCalls(s.t.Context(), "workloads.keyroll.dev"); err != nil {
		s.t.Fatal(err)
	}
	return c
}
