package watcher

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/metadata"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
)

// classKey names a SecretProviderClass.
type classKey struct {
	namespace string
	name      string
}

func (k classKey) String() string { return k.namespace + "/" + k.name }

// provider keeps the generated SecretProviderClasses in existence.
//
//	some record asks for it   found        what happens
//	yes                       no           created
//	yes                       ours, equal  nothing
//	yes                       ours, edited set right
//	any                       not ours     nothing, an Event if a record asks for it
//	no, but a pod or status   any          nothing: the driver needs it
//	no                        ours         deleted after retention
//
// A record is that of a pod, or the one that a workload's template resolves to,
// so that a class is there before the first pod is.
type provider struct {
	caches    *caches
	client    *secretsstore.Client
	metadata  metadata.Interface
	fallback  dependency.Fallback
	retention time.Duration
	classes   *queue[classKey]
	templates *queue[key]
	resolved  func(key) // is told when a template comes to another class
	tell      *teller
	metrics   *metrics
	log       *slog.Logger

	mu     sync.Mutex
	wanted map[key]dependency.Record // what each workload's template resolves to
	askers map[classKey]map[key]bool // and back
	idle   map[classKey]time.Time    // since when nothing has needed a class of ours
}

// workloadChanged has the workload's template resolved again where that may
// come to something else.
func (p *provider) workloadChanged(before, after *workload) {
	switch {
	case after == nil:
		p.templates.Add(before.key())
	case before == nil, before.Generation != after.Generation, before.UID != after.UID, before.owner != after.owner,
		!reflect.DeepEqual(before.Annotations, after.Annotations):
		p.templates.Add(after.key())
	}
}

// podChanged looks after the classes of a pod that came or went.
func (p *provider) podChanged(before, after *pod) {
	if before != nil && after != nil && before.UID == after.UID && before.record == after.record {
		return
	}
	for _, one := range []*pod{before, after} {
		if one == nil {
			continue
		}
		for _, name := range one.classes {
			p.look(one.Namespace, name)
		}
	}
}

// look enqueues a class if its name can be one of ours.
func (p *provider) look(namespace, name string) {
	if strings.HasPrefix(name, dependency.ClassPrefix) {
		p.classes.Add(classKey{namespace, name})
	}
}

// namespaceChanged resolves the templates of a namespace again, whose defaults changed.
func (p *provider) namespaceChanged(name string) {
	for _, w := range p.caches.templatesIn(name) {
		p.templates.Add(w.key())
	}
}

// syncTemplate settles which class a workload's template asks for.
func (p *provider) syncTemplate(_ context.Context, k key) error {
	record := dependency.Record{}
	if w := p.caches.workload(k); w != nil && w.DeletionTimestamp == nil {
		record = p.resolve(w)
	}
	changed := p.want(k, record)
	for _, class := range changed {
		p.classes.Add(class)
	}
	if len(changed) > 0 {
		p.resolved(k)
	}
	return nil
}

// resolve answers what the webhook will put on the workload's pods, as far as
// that can be told from the template; zero for nothing.
func (p *provider) resolve(w *workload) dependency.Record {
	home := p.caches.namespaces.get("", w.Namespace)
	switch {
	case home == nil, !p.caches.enabled(w.Namespace), !w.settings.Asked():
		return dependency.Record{}
	case w.kind == pods, w.kind == replicaSets && w.owner.uid != "":
		// What a pod asks for stands in its record. And of an owner's ReplicaSets
		// most may be what is left of older templates.
		return dependency.Record{}
	}
	// What is wrong was told by the webhook; the pods will be refused by it.
	if _, problems := annotation.Parse(w.template); len(problems) > 0 {
		return dependency.Record{}
	}
	defaults, _ := annotation.ParseNamespace(home.Annotations)
	name, problems := dependency.AccountName(w.settings, defaults, w.account)
	if len(problems) > 0 {
		return dependency.Record{}
	}
	var serviceAccount *dependency.ServiceAccount
	if found := p.caches.accounts.get(w.Namespace, name); found != nil {
		serviceAccount = &dependency.ServiceAccount{Name: name, Annotations: found.Annotations}
	}
	record, problems := dependency.Resolve(w.settings, defaults, serviceAccount, p.fallback)
	if len(problems) > 0 || !record.Generated() {
		return dependency.Record{}
	}
	return record
}

// want notes what a workload asks for, and answers the classes concerned.
func (p *provider) want(k key, record dependency.Record) []classKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, had := p.wanted[k]
	if had && before.SecretProviderClass == record.SecretProviderClass {
		return nil
	}
	var changed []classKey
	if had {
		old := classKey{k.namespace, before.SecretProviderClass}
		delete(p.wanted, k)
		delete(p.askers[old], k)
		if len(p.askers[old]) == 0 {
			delete(p.askers, old)
		}
		changed = append(changed, old)
	}
	if record.Generated() {
		now := classKey{k.namespace, record.SecretProviderClass}
		p.wanted[k] = record
		if p.askers[now] == nil {
			p.askers[now] = map[key]bool{}
		}
		p.askers[now][k] = true
		changed = append(changed, now)
	}
	return changed
}

// syncClass brings one class to where it should be.
func (p *provider) syncClass(ctx context.Context, k classKey) error {
	found := p.caches.classes.get(k.namespace, k.name)
	record, asked := p.asked(k)
	switch {
	case asked && found == nil:
		return p.make(ctx, k, record)
	case asked && !generated(found):
		p.withhold(k, fmt.Sprintf("one without the label %s=%s has that name; delete it to have it made",
			dependency.ManagedByLabel, dependency.ManagedBy))
	case asked:
		p.busy(k)
		return p.heal(ctx, found, record.Class(k.namespace))
	case found != nil && generated(found) && !p.used(k):
		return p.collect(ctx, found)
	default:
		p.busy(k)
	}
	return nil
}

// asked answers the record that asks for a class: that of a template, else that
// of a pod, believed only where the namespace is opted in and after it was
// verified, so that whoever may create pods gains no class by writing one.
func (p *provider) asked(k classKey) (dependency.Record, bool) {
	if record, ok := p.askedByTemplate(k); ok {
		return record, true
	}
	home := p.caches.namespaces.get("", k.namespace)
	if home == nil || !p.caches.enabled(k.namespace) {
		return dependency.Record{}, false
	}
	defaults, _ := annotation.ParseNamespace(home.Annotations)
	for _, one := range p.caches.pods.by(byClass, path(k.namespace, k.name)) {
		if one.record == "" || one.finished {
			continue
		}
		record, err := dependency.Decode(one.record)
		if err == nil {
			err = record.Verify(defaults)
		}
		switch {
		case err != nil:
			p.tell.notBelieved(one, err)
		case record.Generated() && record.SecretProviderClass == k.name:
			return record, true
		}
	}
	return dependency.Record{}, false
}

func (p *provider) askedByTemplate(k classKey) (dependency.Record, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for asker := range p.askers[k] {
		return p.wanted[asker], true
	}
	return dependency.Record{}, false
}

// wants answers what a workload's template resolves to, zero for nothing.
func (p *provider) wants(k key) dependency.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted[k]
}

// askersOf answers the workloads whose templates ask for a class.
func (p *provider) askersOf(k classKey) []*workload {
	p.mu.Lock()
	defer p.mu.Unlock()
	var askers []*workload
	for asker := range p.askers[k] {
		if w := p.caches.workload(asker); w != nil {
			askers = append(askers, w)
		}
	}
	return askers
}

// used reports whether a pod mounts the class or the driver still has a status
// of it. Deleting a class under a status stops the driver's upkeep of a whole
// node (driver v1.6.0 controllers/secretproviderclasspodstatus_controller.go).
func (p *provider) used(k classKey) bool {
	value := path(k.namespace, k.name)
	return len(p.caches.pods.by(byClass, value)) > 0 || len(p.caches.statuses.by(byClass, value)) > 0
}

// generated reports whether a class is one that Keyroll made.
func generated(c *class) bool {
	return c.Labels[dependency.ManagedByLabel] == dependency.ManagedBy && strings.HasPrefix(c.Name, dependency.ClassPrefix)
}

// make creates a class, unless its Secret belongs to somebody else.
func (p *provider) make(ctx context.Context, k classKey, record dependency.Record) error {
	why, err := p.taken(ctx, k, record)
	switch {
	case err != nil:
		return err
	case why != "":
		p.withhold(k, why)
		return nil
	}
	return p.create(ctx, record.Class(k.namespace))
}

// withheldAgain is the pause until a class that is withheld is looked at again.
const withheldAgain = 30 * time.Second

// withhold tells why a class is not made, and has it looked at again from time
// to time: who gives a Secret up tells nobody, and what is withheld is counted
// for as long as it is.
func (p *provider) withhold(k classKey, why string) {
	p.metrics.classes.WithLabelValues(classWithheld).Inc()
	p.tell.withheld(k, p.askersOf(k), why)
	p.classes.AddAfter(k, withheldAgain)
}

// taken answers why a class must not fill the Secret that the record names, ""
// when it may. The driver takes over whatever Secret is there (v1.6.0
// controllers/secretproviderclasspodstatus_controller.go), and of two classes
// that fill one Secret each undoes what the other writes, for ever.
//
//	another class fills it that is not Keyroll's        taken
//	another class of ours, that a template asks for     taken: who came first keeps it
//	another class of ours, that only older pods need    free: it ends with them
//	a Secret that the driver does not manage            taken
//	no right to look, none of ours has filled it        taken, as it may be somebody's
func (p *provider) taken(ctx context.Context, k classKey, record dependency.Record) (string, error) {
	if record.Secret == "" || record.Secret == record.SecretProviderClass {
		return "", nil
	}
	const mend = "; give this one another name with " + annotation.Secret
	ours := false
	for _, other := range p.caches.classes.by(bySecret, path(k.namespace, record.Secret)) {
		if other.Name == k.name {
			continue
		}
		_, wanted := p.askedByTemplate(classKey{k.namespace, other.Name})
		if wanted || !generated(other) {
			return fmt.Sprintf("Secret %s is filled by SecretProviderClass %s%s", record.Secret, other.Name, mend), nil
		}
		ours = true
	}
	if first := p.firstToAsk(k.namespace, record.Secret); first != "" && first != k.name {
		return fmt.Sprintf("Secret %s is asked for with other objects by another workload%s", record.Secret, mend), nil
	}
	if p.caches.secrets.informer == nil {
		if ours {
			return "", nil
		}
		return fmt.Sprintf("Secret %s may exist and would be overwritten, and the watcher has no right to look (watcher.secretTrigger: false); "+
			"leave %s out, or write a class and name it with %s", record.Secret, annotation.Secret, annotation.SecretProviderClass), nil
	}
	unmanaged, err := p.unmanaged(ctx, k.namespace, record.Secret)
	if err != nil {
		return "", fmt.Errorf("look for Secret %s/%s: %w", k.namespace, record.Secret, err)
	}
	if unmanaged {
		return fmt.Sprintf("Secret %s exists and would be overwritten%s, or delete it", record.Secret, mend), nil
	}
	return "", nil
}

// firstToAsk answers, of the classes that templates ask to fill a Secret, the
// one whose oldest workload is the oldest; "" for none.
func (p *provider) firstToAsk(namespace, secret string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first *workload
	class := ""
	for k, record := range p.wanted {
		if k.namespace != namespace || record.Secret != secret {
			continue
		}
		w := p.caches.workload(k)
		if w != nil && (first == nil || older(w, first)) {
			first, class = w, record.SecretProviderClass
		}
	}
	return class
}

func older(a, b *workload) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// unmanaged reports whether a Secret exists that the driver does not fill. Its
// metadata alone is read. A list by name asks for no right that the cache has not
// got, and costs the API server what a get does: it reads one key
// (apiserver v0.37 pkg/registry/generic/registry/store.go, ListPredicate).
func (p *provider) unmanaged(ctx context.Context, namespace, name string) (bool, error) {
	if p.caches.secrets.get(namespace, name) != nil {
		return false, nil
	}
	list, err := p.metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace).List(ctx,
		metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return false, err
	}
	for _, found := range list.Items {
		if found.Name == name && found.Labels[secretsstore.ManagedLabel] != "true" {
			return true, nil
		}
	}
	return false, nil
}

func (p *provider) create(ctx context.Context, desired *secretsstore.SecretProviderClass) error {
	_, err := p.client.Classes(desired.Namespace).Create(ctx, desired, metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsAlreadyExists(err): // the cache will show what there is
		return nil
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return nil
	case err != nil:
		return p.failed(desired, fmt.Errorf("create SecretProviderClass: %w", err))
	}
	p.done(classCreated, desired.Namespace, desired.Name)
	return nil
}

func (p *provider) heal(ctx context.Context, found *class, desired *secretsstore.SecretProviderClass) error {
	if reflect.DeepEqual(found.spec, desired.Spec) {
		return nil
	}
	desired.UID, desired.ResourceVersion = found.UID, found.ResourceVersion
	_, err := p.client.Classes(desired.Namespace).Update(ctx, desired, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil {
		return p.failed(desired, fmt.Errorf("set SecretProviderClass right: %w", err))
	}
	p.done(classHealed, desired.Namespace, desired.Name)
	return nil
}

// collect deletes a class that nothing has needed for the retention.
func (p *provider) collect(ctx context.Context, found *class) error {
	k := classKey{found.Namespace, found.Name}
	if left := p.retention - p.idleFor(k, time.Now()); left > 0 {
		p.classes.AddAfter(k, left)
		return nil
	}
	err := p.client.Classes(k.namespace).Delete(ctx, k.name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion},
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return p.failed(&secretsstore.SecretProviderClass{ObjectMeta: found.ObjectMeta}, fmt.Errorf("delete SecretProviderClass: %w", err))
	}
	p.busy(k)
	p.done(classRemoved, k.namespace, k.name)
	return nil
}

// idleFor answers for how long nothing has needed the class.
func (p *provider) idleFor(k classKey, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, known := p.idle[k]
	if !known {
		p.idle[k] = now
		return 0
	}
	return now.Sub(since)
}

// busy notes that the class is needed, or gone.
func (p *provider) busy(k classKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.idle, k)
}

func (p *provider) done(outcome, namespace, name string) {
	p.metrics.classes.WithLabelValues(outcome).Inc()
	p.log.Info("SecretProviderClass written", "outcome", outcome, "namespace", namespace, "class", name)
}

func (p *provider) failed(c *secretsstore.SecretProviderClass, err error) error {
	p.metrics.classes.WithLabelValues(classFailed).Inc()
	return fmt.Errorf("%s/%s: %w", c.Namespace, c.Name, err)
}
