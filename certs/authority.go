package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	cmauthority "github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// recheck is how often due dates are compared with the clock although no
	// timer has fired: timers stand still while a machine is suspended.
	recheck = 10 * time.Second
	// maxFormer is how many former CAs are remembered, to know which one a
	// certificate that is still served came from.
	maxFormer = 8
)

// authority is a CA in one Secret that all replicas share, and that each of
// them creates, repairs and renews when it is the first to see the need. It
// differs from cert-manager's DynamicAuthority, whose place it takes, in what
// its certificates say about time: they tolerate clocks that are off, and the
// clock is a parameter.
//
// A CA is signed with only after it was read back from the Secret, so that
// replicas that create one at the same time end up with the one that was
// stored.
type authority struct {
	namespace, name string
	validity        validity
	client          coreclient.SecretInterface
	informer        cache.SharedIndexInformer
	loop            *loop
	now             func() time.Time
	log             *slog.Logger
	adopted         func() // called without locks when another CA was taken up

	mu       sync.Mutex
	current  *ca
	former   []*x509.Certificate
	leafDue  time.Time // when those who watch are to ask for a new leaf
	problem  error     // what kept the last sync from storing a CA
	watchers []chan<- struct{}
}

var _ servertls.Authority = (*authority)(nil)

func newAuthority(c DynamicConfig, client kubernetes.Interface, log *slog.Logger, adopted func()) (*authority, error) {
	a := &authority{
		namespace: c.Namespace,
		name:      c.SecretName,
		validity:  validity{ca: c.CADuration, leaf: c.LeafDuration, tolerance: c.ClockTolerance},
		client:    client.CoreV1().Secrets(c.Namespace),
		informer:  coreinformers.NewFilteredSecretInformer(client, c.Namespace, 0, nil, only(c.SecretName)),
		loop:      newLoop(),
		now:       c.Now,
		log:       log,
		adopted:   adopted,
	}
	return a, notify(a.informer, a.loop.trigger)
}

// Run keeps the CA until ctx ends.
func (a *authority) Run(ctx context.Context) error {
	var informing sync.WaitGroup
	informing.Go(func() { a.informer.RunWithContext(ctx) })
	defer informing.Wait()
	a.loop.run(ctx, a.sync, a.informer.HasSyncedChecker())
	return nil
}

// WatchRotation has ch told when a new leaf should be asked for: another CA was
// taken up, or the last leaf is due for renewal.
func (a *authority) WatchRotation(ch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers = append(a.watchers, ch)
}

// StopWatchingRotation ends what WatchRotation began.
func (a *authority) StopWatchingRotation(ch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers = slices.DeleteFunc(a.watchers, func(w chan<- struct{}) bool { return w == ch })
}

// Sign signs with the CA that was last read from the Secret.
func (a *authority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return nil, cmauthority.ErrCertificateNotAvailable
	}
	now := a.now()
	cert, err := a.current.sign(template, now, a.validity)
	if err != nil {
		return nil, err
	}
	life := a.validity.leaf * 2 / 3
	a.leafDue = now.Add(life).Round(0) // the monotonic clock stands still with the timers, see recheck
	a.loop.triggerAfter(life)
	return cert, nil
}

// sync compares the Secret with the clock and does what is due.
func (a *authority) sync(ctx context.Context) (time.Duration, error) {
	again, err := a.reconcile(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.problem = err
	return again, err
}

func (a *authority) reconcile(ctx context.Context) (time.Duration, error) {
	secret, err := a.stored()
	if err != nil {
		return 0, err
	}
	found, reason := a.inspect(secret)
	// First what there is: it is good for months while a new one cannot be stored.
	if found != nil {
		a.adopt(found)
	}
	a.renewLeaf()
	if reason != "" {
		a.log.Info("Making a new CA", "secret", a.name, "reason", reason)
		if err := a.replace(ctx, secret); err != nil {
			a.log.Error("New CA not stored", "secret", a.name, "error", err)
			return 0, err
		}
	}
	return a.untilNext(found), nil
}

// stored gives the cached Secret, or nil if there is none.
func (a *authority) stored() (*corev1.Secret, error) {
	obj, exists, err := a.informer.GetStore().GetByKey(a.namespace + "/" + a.name)
	if err != nil || !exists {
		return nil, err
	}
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return nil, fmt.Errorf("informer holds a %T", obj)
	}
	return secret, nil
}

// inspect gives the CA in secret, if it can be used, and the reason why another
// one must be made, if there is one.
func (a *authority) inspect(secret *corev1.Secret) (found *ca, reason string) {
	if secret == nil {
		return nil, "the Secret does not exist"
	}
	found, err := parseCA(secret.Data)
	if err != nil {
		return nil, err.Error()
	}
	now := a.now()
	if !now.Before(found.cert.NotAfter) {
		return nil, "the CA has expired"
	}
	if !now.Before(renewal(found.cert, a.validity.tolerance)) {
		return found, "two thirds of the CA's life are over"
	}
	return found, ""
}

// replace stores a new CA. That another replica was faster is not an error: its
// CA comes through the watch.
func (a *authority) replace(ctx context.Context, secret *corev1.Secret) error {
	fresh, err := newCA(a.now(), a.validity)
	if err != nil {
		return err
	}
	data, err := fresh.data()
	if err != nil {
		return err
	}
	if secret == nil {
		return ignoreLostRace(a.create(ctx, data))
	}
	secret = secret.DeepCopy()
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	maps.Copy(secret.Data, data)
	_, err = a.client.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager})
	return ignoreLostRace(err)
}

func (a *authority) create(ctx context.Context, data map[string][]byte) error {
	_, err := a.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.namespace,
			Name:      a.name,
			Labels:    map[string]string{"app.kubernetes.io/part-of": "keyroll", "app.kubernetes.io/managed-by": fieldManager},
		},
		Data: data,
	}, metav1.CreateOptions{FieldManager: fieldManager})
	return err
}

func ignoreLostRace(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// adopt signs with found from now on.
func (a *authority) adopt(found *ca) {
	a.mu.Lock()
	if a.current != nil && a.current.cert.Equal(found.cert) {
		a.mu.Unlock()
		return
	}
	if a.current != nil {
		a.former = append([]*x509.Certificate{a.current.cert}, a.former[:min(len(a.former), maxFormer-1)]...)
	}
	a.current = found
	a.tellWatchers()
	a.mu.Unlock()
	a.log.Info("Signing with another CA", "secret", a.name, "expires", found.cert.NotAfter)
	a.adopted()
}

// renewLeaf asks for a new leaf if the last one is due.
func (a *authority) renewLeaf() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.leafDue.IsZero() && !a.now().Before(a.leafDue) {
		a.leafDue = time.Time{} // until Sign sets it anew
		a.tellWatchers()
	}
}

// tellWatchers drops what a watcher has no room for: it has a call to make
// already.
func (a *authority) tellWatchers() {
	for _, w := range a.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (a *authority) untilNext(found *ca) time.Duration {
	if found == nil {
		return recheck
	}
	due := renewal(found.cert, a.validity.tolerance).Sub(a.now())
	return min(recheck, max(due, time.Second))
}

// signers gives the CA in use, and the one that served came from.
func (a *authority) signers(served *x509.Certificate) []*x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return nil
	}
	signers := []*x509.Certificate{a.current.cert}
	if served == nil {
		return signers
	}
	for _, cert := range append(signers, a.former...) {
		if served.CheckSignatureFrom(cert) == nil {
			return union(signers, []*x509.Certificate{cert})
		}
	}
	return signers
}

// waitingFor is why nothing can be signed yet, or nil.
func (a *authority) waitingFor() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.current != nil:
		return nil
	case a.problem != nil:
		return fmt.Errorf("CA in Secret %s/%s: %w", a.namespace, a.name, a.problem)
	default:
		return fmt.Errorf("CA in Secret %s/%s was not read yet", a.namespace, a.name)
	}
}

// expires is when the CA in use does, zero if there is none.
func (a *authority) expires() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return time.Time{}
	}
	return a.current.cert.NotAfter
}

// gated is an authority whose certificates must pass the gate. The source that
// asked keeps its former certificate when one does not, and asks again.
type gated struct {
	*authority
	gate *gate
}

func (g gated) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	cert, err := g.authority.Sign(template)
	if err != nil {
		return nil, err
	}
	if err := g.gate.pass([]*x509.Certificate{cert}); err != nil {
		return nil, errors.Join(cmauthority.ErrCertificateNotAvailable, err)
	}
	return cert, nil
}
