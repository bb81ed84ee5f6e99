package manifests

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"keyroll.dev/internal/document"
)

// rules are the parts of a rule file that Prometheus knows.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func readRules(t *testing.T) rules {
	t.Helper()
	file, err := os.ReadFile("chart/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var r rules
	if err := yaml.UnmarshalStrict(file, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAlertsSayWhatTheyMean(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if !strings.HasPrefix(r.Alert, "Keyroll") || seen[r.Alert] {
				t.Errorf("alert %q is not named as ours, or twice", r.Alert)
			}
			seen[r.Alert] = true
			switch r.Labels["severity"] {
			case "critical", "warning", "info":
			default:
				t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || len(r.Annotations) != 2 {
				t.Errorf("%s has annotations %v, want a summary and a description", r.Alert, r.Annotations)
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d alerts", len(seen))
	}
}

func TestDocsExplainTheAlerts(t *testing.T) {
	var want []string
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			want = append(want, r.Alert)
		}
	}
	const file = "../docs/troubleshoot.md"
	got := document.Headings(document.Section(t, file, "## Alerts"), "###")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-rules.yaml +%s)\n%s", file, diff)
	}
}

func TestPrometheusRuleHoldsTheAlerts(t *testing.T) {
	want := readRules(t)
	for _, g := range want.Groups {
		for _, r := range g.Rules {
			r.Annotations["runbook_url"] = "https://docs.example/keyroll/troubleshoot#" + strings.ToLower(r.Alert)
		}
	}
	var got rules
	spec, err := yaml.Marshal(monitoring(t, "PrometheusRule").Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(spec, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-rules.yaml +PrometheusRule)\n%s", diff)
	}
}

func TestPodMonitorFindsBothBinaries(t *testing.T) {
	var spec struct {
		Selector            struct{ MatchLabels map[string]string }
		PodMetricsEndpoints []struct{ Port, Interval string }
	}
	raw, err := json.Marshal(monitoring(t, "PodMonitor").Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	if len(spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("%d endpoints", len(spec.PodMetricsEndpoints))
	}
	eachDeployment(t, func(t *testing.T, _ []runtime.Object, d *appsv1.Deployment, c corev1.Container) {
		if !labels.SelectorFromSet(spec.Selector.MatchLabels).Matches(labels.Set(d.Spec.Template.Labels)) {
			t.Errorf("the PodMonitor does not select pods of %s", d.Name)
		}
		declared := slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == spec.PodMetricsEndpoints[0].Port })
		if !declared {
			t.Errorf("port %s is none of %s", spec.PodMetricsEndpoints[0].Port, d.Name)
		}
	})
}

func TestDashboardIsRenderedAsItIs(t *testing.T) {
	want, err := os.ReadFile("chart/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(want) {
		t.Error("dashboard.json is not JSON")
	}
	got := named[*corev1.ConfigMap](t, objects(t, variant(t, "monitoring")), "keyroll-dashboard").Data["keyroll.json"]
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-file +ConfigMap)\n%s", diff)
	}
}

func TestMonitoringIsOffUnlessAsked(t *testing.T) {
	for name, all := range variants(t) {
		if found := len(only[*unstructured.Unstructured](all)) > 0; found != (name == "monitoring") {
			t.Errorf("%s: objects of other APIs: %t", name, found)
		}
	}
}

func monitoring(t *testing.T, kind string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range only[*unstructured.Unstructured](objects(t, variant(t, "monitoring"))) {
		if o.GetKind() == kind {
			return o
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}
