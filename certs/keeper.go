package certs

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionapply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
)

// fieldManager is who the API server notes as the owner of what is written here.
const fieldManager = "keyroll-webhook"

// keeperRecheck is how often expired certificates are looked for.
const keeperRecheck = time.Minute

// keeper sees to it that each entry of our configuration trusts the needed
// certificates. It writes nothing but caBundle, and only when the bundle would
// trust something else than before.
type keeper struct {
	configuration *configuration
	client        admissionclient.MutatingWebhookConfigurationInterface
	needed        func() []*x509.Certificate
	loop          *loop
	now           func() time.Time
	log           *slog.Logger
	writes        *prometheus.CounterVec
}

// run keeps the bundles until ctx ends.
func (k *keeper) run(ctx context.Context) {
	k.loop.run(ctx, k.sync, k.configuration.informer.HasSyncedChecker())
}

func (k *keeper) sync(ctx context.Context) (time.Duration, error) {
	found, err := k.configuration.get()
	if err != nil {
		return 0, err
	}
	needed := k.needed()
	if found == nil || len(needed) == 0 {
		return keeperRecheck, nil // either's coming triggers us
	}
	bundles, changed := mergeBundles(k.now(), found.Webhooks, needed)
	if len(changed) == 0 {
		return keeperRecheck, nil
	}
	return keeperRecheck, k.write(ctx, found, bundles, changed)
}

// mergeBundles gives the bundle that each entry should have, and the names of
// the entries that have another one.
func mergeBundles(now time.Time, entries []admissionv1.MutatingWebhook, needed []*x509.Certificate) (bundles [][]byte, changed []string) {
	for i := range entries {
		bundle, differs := mergeBundle(now, entries[i].ClientConfig.CABundle, needed)
		bundles = append(bundles, bundle)
		if differs {
			changed = append(changed, entries[i].Name)
		}
	}
	return bundles, changed
}

// write applies the bundles to the object that they were computed from: one
// that was replaced, deleted or written to meanwhile is a conflict, so that
// nothing is created and no other replica's certificate is lost.
func (k *keeper) write(ctx context.Context, found *admissionv1.MutatingWebhookConfiguration, bundles [][]byte, changed []string) error {
	_, err := k.client.Apply(ctx, bundleApply(found, bundles), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	switch {
	case err == nil:
		k.writes.WithLabelValues(outcomeWritten).Inc()
		k.log.Info("CA bundle written", "configuration", found.Name, "entries", changed)
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		k.writes.WithLabelValues(outcomeConflict).Inc()
		k.log.Debug("CA bundle was written by another meanwhile", "configuration", found.Name)
	default:
		k.writes.WithLabelValues(outcomeError).Inc()
		k.log.Error("CA bundle not written", "configuration", found.Name, "entries", changed, "error", err)
	}
	return err
}

// bundleApply names every entry, also those whose bundle stays: what a field
// manager no longer applies is taken from the object.
func bundleApply(found *admissionv1.MutatingWebhookConfiguration, bundles [][]byte) *admissionapply.MutatingWebhookConfigurationApplyConfiguration {
	apply := admissionapply.MutatingWebhookConfiguration(found.Name).
		WithUID(found.UID).
		WithResourceVersion(found.ResourceVersion)
	for i := range found.Webhooks {
		apply.WithWebhooks(admissionapply.MutatingWebhook().
			WithName(found.Webhooks[i].Name).
			WithClientConfig(admissionapply.WebhookClientConfig().WithCABundle(bundles[i]...)))
	}
	return apply
}
