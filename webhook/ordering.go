package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/internal/annotation"
)

// orderingInterval is how often the order is looked at again after the start:
// another webhook may be installed at any time.
const orderingInterval = 10 * time.Minute

// OrderingConfig is what an [Ordering] needs.
type OrderingConfig struct {
	Client        kubernetes.Interface
	Configuration string // the name of our own
	Log           *slog.Logger
	Registerer    prometheus.Registerer
}

// Ordering watches over our place among the mutating webhooks. The API server
// calls them in the order of their configurations' names, and one that it has
// passed over in the first pass it does not call in the second. So a webhook
// that selects pods by the identity label must come after ours, which sets it
// (k8s.io/apiserver v0.37.2 pkg/admission/plugin/webhook/mutating/dispatcher.go).
type Ordering struct {
	client        kubernetes.Interface
	configuration string
	log           *slog.Logger
	ok            prometheus.Gauge
	early         atomic.Pointer[[]string]
}

// NewOrdering returns an Ordering that has not looked yet.
func NewOrdering(c OrderingConfig) (*Ordering, error) {
	switch {
	case c.Client == nil:
		return nil, errors.New("ordering check needs a Client")
	case c.Configuration == "":
		return nil, errors.New("ordering check needs the name of our Configuration")
	case c.Log == nil:
		return nil, errors.New("ordering check needs a Log")
	}
	ok := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "keyroll_webhook_ordering_ok",
		Help: "1 while no webhook that selects on the workload identity label is called before ours, else 0.",
	})
	if err := c.Registerer.Register(ok); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	ok.Set(1)
	return &Ordering{client: c.Client, configuration: c.Configuration, log: c.Log, ok: ok}, nil
}

// Run looks at once and then every ten minutes until ctx ends.
func (o *Ordering) Run(ctx context.Context) error {
	ticker := time.NewTicker(orderingInterval)
	defer ticker.Stop()
	for {
		o.check(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (o *Ordering) check(ctx context.Context) {
	list, err := o.client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		if ctx.Err() == nil {
			o.log.Warn("Order of webhooks not checked", "error", err.Error())
		}
		return
	}
	early := calledBefore(o.configuration, list.Items)
	o.early.Store(&early)
	if len(early) == 0 {
		o.ok.Set(1)
		return
	}
	o.ok.Set(0)
	o.log.Error("Webhooks that select on the workload identity label are called before ours and miss the pods that we label",
		"ours", o.configuration, "earlier", early)
}

// Note tells of a wrong order, "" while it is right. It is no reason not to be
// ready: without us there would be no label at all.
func (o *Ordering) Note() string {
	early := o.early.Load()
	if early == nil || len(*early) == 0 {
		return ""
	}
	return fmt.Sprintf("webhook configurations %s sort before %s and miss the pods that it labels with %s",
		strings.Join(*early, ", "), o.configuration, annotation.IdentityUseLabel)
}

// calledBefore answers the configurations that sort before ours and hold a
// webhook whose objectSelector needs the identity label.
func calledBefore(ours string, all []admissionregistrationv1.MutatingWebhookConfiguration) []string {
	var early []string
	for _, c := range all {
		needs := func(w admissionregistrationv1.MutatingWebhook) bool { return needsIdentityLabel(w.ObjectSelector) }
		if c.Name < ours && slices.ContainsFunc(c.Webhooks, needs) {
			early = append(early, c.Name)
		}
	}
	slices.Sort(early)
	return early
}

func needsIdentityLabel(s *metav1.LabelSelector) bool {
	if s == nil {
		return false
	}
	if _, needed := s.MatchLabels[annotation.IdentityUseLabel]; needed {
		return true
	}
	return slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool {
		return e.Key == annotation.IdentityUseLabel &&
			(e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpExists)
	})
}
