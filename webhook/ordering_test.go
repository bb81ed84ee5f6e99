package webhook

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"keyroll.dev/internal/annotation"
)

func configurationOf(name string, selectors ...*metav1.LabelSelector) admissionregistrationv1.MutatingWebhookConfiguration {
	c := admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, s := range selectors {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.MutatingWebhook{ObjectSelector: s})
	}
	return c
}

func expression(key string, operator metav1.LabelSelectorOperator) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator}}}
}

var identityLabel = &metav1.LabelSelector{MatchLabels: map[string]string{annotation.IdentityUseLabel: "true"}}

func TestCalledBefore(t *testing.T) {
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	tests := map[string]struct {
		configuration admissionregistrationv1.MutatingWebhookConfiguration
		want          []string
	}{
		"azure-workload-identity under its own name comes later": {configurationOf("azure-wi-webhook-mutating-webhook-configuration", identityLabel), nil},
		"one that sorts earlier":                                 {configurationOf("aaa", identityLabel), []string{"aaa"}},
		"one of its webhooks is enough":                          {configurationOf("aaa", nil, other, identityLabel), []string{"aaa"}},
		"one that sorts earlier by capital letters":              {configurationOf("B", identityLabel), []string{"B"}},
		"one that sorts earlier and selects otherwise":           {configurationOf("aaa", other, nil), nil},
		"an expression that needs the label":                     {configurationOf("aaa", expression(annotation.IdentityUseLabel, metav1.LabelSelectorOpExists)), []string{"aaa"}},
		"an expression that needs a value of it":                 {configurationOf("aaa", expression(annotation.IdentityUseLabel, metav1.LabelSelectorOpIn)), []string{"aaa"}},
		"an expression that does without it":                     {configurationOf("aaa", expression(annotation.IdentityUseLabel, metav1.LabelSelectorOpDoesNotExist)), nil},
		"an expression about another label":                      {configurationOf("aaa", expression("app", metav1.LabelSelectorOpExists)), nil},
		"our own":                                                {configurationOf("akv-keyroll", identityLabel), nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := calledBefore("akv-keyroll", []admissionregistrationv1.MutatingWebhookConfiguration{tc.configuration})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("called before (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOrderingIsToldLoudly(t *testing.T) {
	early := configurationOf("aaa", identityLabel)
	client := fake.NewClientset(&early)
	log, registry := &bytes.Buffer{}, prometheus.NewRegistry()
	o, err := NewOrdering(OrderingConfig{
		Client: client, Configuration: "akv-keyroll", Registerer: registry, Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if note := o.Note(); note != "" || testutil.ToFloat64(o.ok) != 1 {
		t.Errorf("before the first look: note %q, metric %v", note, testutil.ToFloat64(o.ok))
	}
	o.check(t.Context())
	if note := o.Note(); !strings.Contains(note, "aaa sort before akv-keyroll") || testutil.ToFloat64(o.ok) != 0 {
		t.Errorf("in the wrong order: note %q, metric %v", note, testutil.ToFloat64(o.ok))
	}
	if !strings.Contains(log.String(), `"level":"ERROR"`) || !strings.Contains(log.String(), `"earlier":["aaa"]`) {
		t.Errorf("log: %s", log)
	}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := configurations.Delete(t.Context(), "aaa", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	o.check(t.Context())
	if note := o.Note(); note != "" || testutil.ToFloat64(o.ok) != 1 {
		t.Errorf("in order again: note %q, metric %v", note, testutil.ToFloat64(o.ok))
	}
}

func TestOrderingKeepsWhatItKnowsWhenItCannotLook(t *testing.T) {
	early := configurationOf("aaa", identityLabel)
	client := fake.NewClientset(&early)
	log := &bytes.Buffer{}
	o, err := NewOrdering(OrderingConfig{
		Client: client, Configuration: "akv-keyroll", Registerer: prometheus.NewRegistry(), Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	o.check(t.Context())
	client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("not allowed")
	})
	o.check(t.Context())
	if o.Note() == "" || !strings.Contains(log.String(), "not allowed") {
		t.Errorf("note %q, log %s", o.Note(), log)
	}
}
