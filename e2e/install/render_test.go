package install

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"keyroll.dev/manifests"
)

const small = `# only a comment
---
apiVersion: v1
kind: Namespace
metadata: {name: there}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keyroll-webhook, namespace: there}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      serviceAccountName: someone
      containers:
        - name: webhook
          image: i
          args: [--namespace=$(NS), --me=$(POD)/$(WHERE), --plain]
          env:
            - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: WHERE, value: in-$(NS)}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: akv-keyroll}
webhooks:
  - name: one
    clientConfig: {service: {name: s, namespace: there, path: /one}}
  - name: two
    clientConfig: {service: {name: s, namespace: there, path: /two}, caBundle: eA==}
`

func TestRenderSetsDeploymentsAsideAndPointsWebhooksToTheAddress(t *testing.T) {
	r, err := render([]byte(small), "localhost:1234")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range r.objects {
		kinds = append(kinds, o.GetKind())
	}
	if diff := cmp.Diff([]string{"Namespace", "MutatingWebhookConfiguration"}, kinds); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	hooks, _, _ := unstructured.NestedSlice(r.objects[1].Object, "webhooks")
	want := []any{
		map[string]any{"name": "one", "clientConfig": map[string]any{"url": "https://localhost:1234/one"}},
		map[string]any{"name": "two", "clientConfig": map[string]any{"url": "https://localhost:1234/two", "caBundle": "eA=="}},
	}
	if diff := cmp.Diff(want, hooks); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if r.namespace != "there" || r.deployments["keyroll-webhook"] == nil {
		t.Errorf("namespace %q, deployments %v", r.namespace, r.deployments)
	}
}

func TestCommandOfIsWhatAPodWouldRun(t *testing.T) {
	r, err := render([]byte(small), "localhost:1234")
	if err != nil {
		t.Fatal(err)
	}
	got, err := commandOf(r.deployments["keyroll-webhook"], "pod-1")
	if err != nil {
		t.Fatal(err)
	}
	want := command{
		account: "someone",
		args:    []string{"--namespace=there", "--me=pod-1/in-there", "--plain"},
		env:     []string{"NS=there", "POD=pod-1", "WHERE=in-there"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(command{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestRenderRefusesWhatItWouldMisread(t *testing.T) {
	tests := map[string]struct{ replace, with, want string }{
		"an unknown field in a Deployment": {"serviceAccountName:", "serviceAcountName:", "unknown field"},
		"Deployments in two namespaces":    {small, small + "---\n" + strings.Replace(small, "namespace: there", "namespace: here", 1), "in namespace here"},
		"a webhook without a path":         {", path: /one", "", "clientConfig.service.path"},
		"a configuration without webhooks": {"webhooks:", "hooks:", "no webhooks"},
		"no Deployment at all":             {"kind: Deployment", "kind: ReplicaSet", "without a Deployment"},
		"a document that is not YAML":      {"metadata: {name: there}", "metadata: {name", "document 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render([]byte(strings.Replace(small, test.replace, test.with, 1)), "localhost:1")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestOurManifestsAreUnderstood(t *testing.T) {
	r, err := render(manifests.Install, "localhost:1234")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{webhookName, watcherName} {
		d := r.deployments[name]
		if d == nil {
			t.Fatalf("no Deployment %s", name)
		}
		run, err := commandOf(d, name+"-1")
		if err != nil {
			t.Fatal(err)
		}
		if run.account != name || len(run.args) == 0 {
			t.Errorf("%s runs as %q with %v", name, run.account, run.args)
		}
		for _, arg := range run.args {
			if strings.Contains(arg, "$(") {
				t.Errorf("%s: %s is not expanded", name, arg)
			}
		}
	}
}
