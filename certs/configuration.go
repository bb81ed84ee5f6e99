package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// configuration is the live MutatingWebhookConfiguration of that name. It
// watches that one object only, so that a role can be scoped to its name.
type configuration struct {
	name     string
	informer cache.SharedIndexInformer
}

func newConfiguration(client kubernetes.Interface, name string) *configuration {
	return &configuration{
		name:     name,
		informer: admissioninformers.NewFilteredMutatingWebhookConfigurationInformer(client, 0, nil, only(name)),
	}
}

// only makes a list and watch of the object of that name.
func only(name string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
}

// notify calls f whenever something about informer's objects has changed.
func notify(informer cache.SharedIndexInformer, f func()) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f() },
		UpdateFunc: func(any, any) { f() },
		DeleteFunc: func(any) { f() },
	})
	return err
}

func (c *configuration) run(ctx context.Context) { c.informer.RunWithContext(ctx) }

// get gives the cached object, which must not be written to, or nil if there is
// none.
func (c *configuration) get() (*admissionv1.MutatingWebhookConfiguration, error) {
	if !c.informer.HasSynced() {
		return nil, errNotSynced
	}
	obj, exists, err := c.informer.GetStore().GetByKey(c.name)
	if err != nil || !exists {
		return nil, err
	}
	found, ok := obj.(*admissionv1.MutatingWebhookConfiguration)
	if !ok {
		return nil, fmt.Errorf("informer holds a %T", obj)
	}
	return found, nil
}

// verify answers whether an API server that has the cached configuration would
// accept a server that presents chain, for every entry. The error tells of the
// first entry that would not.
func (c *configuration) verify(now time.Time, chain []*x509.Certificate) error {
	found, err := c.get()
	switch {
	case err != nil:
		return fmt.Errorf("MutatingWebhookConfiguration %s: %w", c.name, err)
	case found == nil:
		return fmt.Errorf("MutatingWebhookConfiguration %s is not there yet", c.name)
	case len(found.Webhooks) == 0:
		return fmt.Errorf("MutatingWebhookConfiguration %s has no entries", c.name)
	}
	for i := range found.Webhooks {
		if err := verifyEntry(now, &found.Webhooks[i], chain); err != nil {
			return fmt.Errorf("entry %s of MutatingWebhookConfiguration %s: %w", found.Webhooks[i].Name, c.name, err)
		}
	}
	return nil
}

// verifyEntry checks what the API server checks when it calls this entry.
func verifyEntry(now time.Time, entry *admissionv1.MutatingWebhook, chain []*x509.Certificate) error {
	roots := x509.NewCertPool()
	bundle := parseBundle(entry.ClientConfig.CABundle)
	if len(bundle) == 0 {
		return errors.New("caBundle holds no certificate")
	}
	for _, cert := range bundle {
		roots.AddCert(cert)
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		DNSName:       serverName(entry.ClientConfig),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return fmt.Errorf("caBundle does not verify the serving certificate: %w", err)
	}
	return nil
}

// serverName is the name that the API server expects in the certificate.
func serverName(c admissionv1.WebhookClientConfig) string {
	if c.Service != nil {
		return c.Service.Name + "." + c.Service.Namespace + ".svc"
	}
	if c.URL == nil {
		return ""
	}
	target, err := url.Parse(*c.URL)
	if err != nil {
		return "" // the API server accepts no such entry
	}
	return target.Hostname()
}
