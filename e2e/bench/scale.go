package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/e2e/asked"
	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/vault"
)

// What the scale is measured with.
const (
	foreignSecrets = 5000
	secretSize     = 10 << 10
	fewWorkloads   = 200
	manyWorkloads  = 5000
)

// scale measures what the watcher needs of the machine: alone, beside Secrets
// that are none of its business, and in a large cluster.
func scale(ctx context.Context, r *report) error {
	r.say("boot an API server and the webhook")
	s, err := newStage(ctx, r)
	if err != nil {
		return err
	}
	defer s.Stop()
	for _, measure := range []func(context.Context) error{s.idle, s.besideSecrets, s.large} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stage is an API server without controllers, so that workloads, pods and
// statuses are what is written to it. The webhook is there, and injects.
type stage struct {
	*cluster.Cluster
	report  *report
	keyroll *install.Installation
	kube    kubernetes.Interface // speaks protobuf: it has much to say
	driver  dynamic.Interface    // under the driver's name
}

func newStage(ctx context.Context, r *report) (*stage, error) {
	c, err := cluster.Start(ctx, cluster.Options{APIOnly: true, AuditPolicy: true, LogDir: *logs, Out: r.progress})
	if err != nil {
		return nil, err
	}
	s := &stage{Cluster: c, report: r}
	if err := s.set(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return s, nil
}

func (s *stage) set(ctx context.Context) error {
	config := s.Admin()
	config.ContentType = "application/vnd.kubernetes.protobuf"
	var err error
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	asDriver := s.Admin()
	asDriver.UserAgent = "csi-secrets-store/controller/v1.6.0 (linux/amd64) /"
	if s.driver, err = dynamic.NewForConfig(asDriver); err != nil {
		return err
	}
	model, err := driver.New(driver.Config{
		REST: s.Admin(), Vault: vault.New(), Nodes: []string{"none"}, Generation: driver.Republishing, RotationEnabled: true,
	})
	if err != nil {
		return err
	}
	if err := model.Install(ctx); err != nil {
		return err
	}
	if s.keyroll, err = install.Apply(ctx, s.Cluster, install.Options{WatcherArgs: unpaced()}); err != nil {
		return err
	}
	webhook, err := s.keyroll.StartWebhook(ctx)
	if err != nil {
		return err
	}
	return webhook.WaitReady(ctx)
}

// calm is how long a watcher is left alone before its memory is read.
const calm = 10 * time.Second

func (s *stage) idle(ctx context.Context) error {
	s.report.say("start a watcher in an empty cluster")
	watcher, start, err := s.watch(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, calm); err != nil {
		return err
	}
	now, err := memoryOf(watcher.Pid())
	if err != nil {
		return err
	}
	if err := saveHeap(ctx, watcher, "empty cluster"); err != nil {
		return err
	}
	s.report.add(figure{what: "empty cluster: memory of the watcher", unit: "MiB", ours: now, held: atMost(30)})
	s.report.add(figure{what: "empty cluster: from its start to ready", unit: "s", ours: start.took.Seconds()})
	return watcher.Stop()
}

// besideSecrets has workloads of one class, and Secrets that they do not use.
func (s *stage) besideSecrets(ctx context.Context) error {
	secrets, workloads := scaled(foreignSecrets), scaled(fewWorkloads)
	s.report.say("write %d Secrets of %d bytes", secrets, secretSize)
	data := map[string][]byte{"blob": make([]byte, secretSize)}
	err := each(ctx, secrets, func(ctx context.Context, i int) error {
		_, err := s.kube.CoreV1().Secrets(metav1.NamespaceDefault).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("foreign-%d", i)}, Data: data,
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d workloads of one class, %d foreign Secrets", workloads, secrets)
	few := &lot{name: "few", workloads: workloads, pods: 1, classSize: workloads}
	return s.measure(ctx, few, what, bounds{memory: 45, timesBare: 1.5})
}

func (s *stage) large(ctx context.Context) error {
	many := &lot{name: "many", workloads: scaled(manyWorkloads), pods: 4, classSize: 10}
	what := fmt.Sprintf("%d workloads, %d pods", many.workloads, many.workloads*many.pods)
	return s.measure(ctx, many, what, bounds{memory: 200, ready: 5, patched: 1})
}

// bounds are what a lot is held to; zero: nothing.
type bounds struct{ memory, ready, patched, timesBare float64 }

func most(n float64) bound {
	if n == 0 {
		return bound{}
	}
	return atMost(n)
}

// measure writes a lot and looks at a watcher that starts there, and then at
// the rotation of one class.
func (s *stage) measure(ctx context.Context, l *lot, what string, b bounds) error {
	s.report.say("write %s", what)
	l.kube, l.driver = s.kube, s.driver
	if err := s.writeNamespaces(ctx, l); err != nil {
		return err
	}
	if err := l.writeAll(ctx); err != nil {
		return err
	}
	if err := s.awaitClasses(ctx, l); err != nil {
		return err
	}
	if _, err := l.touch(ctx); err != nil { // the first time takes longer
		return err
	}
	bare, err := middleOf(ctx, l.touch)
	if err != nil {
		return err
	}
	least, err := middleOf(ctx, l.deliverBare)
	if err != nil {
		return err
	}
	s.report.say("start the watcher that is measured")
	watcher, start, err := s.watch(ctx)
	if err != nil {
		return err
	}
	s.report.add(figure{what: what + ": from the start of the watcher to ready", unit: "s", ours: start.took.Seconds(), held: most(b.ready)})
	s.report.add(figure{what: what + ": its CPU until then", unit: "s", ours: start.cpu.Seconds()})
	if err := sleep(ctx, calm); err != nil {
		return err
	}
	s.report.say("rotate the first class")
	if err := s.rotate(ctx, watcher, l, what, bare, least, b); err != nil {
		return err
	}
	if err := s.used(ctx, watcher, what, b.memory); err != nil {
		return err
	}
	return watcher.Stop()
}

// middleOf is the median of three measurements: on a machine that others use, too,
// one may have been lucky, or not.
func middleOf(ctx context.Context, measure func(context.Context) (time.Duration, error)) (time.Duration, error) {
	var all []time.Duration
	for range 3 {
		took, err := measure(ctx)
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	return median(all), nil
}

func (s *stage) writeNamespaces(ctx context.Context, l *lot) error {
	for i := 0; i < l.workloads; i += max(perNamespace, l.classSize) {
		if err := prepare(ctx, s.Cluster, l.namespace(i)); err != nil {
			return err
		}
		standard := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}} // a controller's work
		if _, err := s.kube.CoreV1().ServiceAccounts(l.namespace(i)).Create(ctx, standard, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// start is what it takes until a watcher is ready.
type start struct{ took, cpu time.Duration }

// watch starts a watcher, and tells what that took.
func (s *stage) watch(ctx context.Context) (*install.Process, start, error) {
	begin := time.Now()
	watcher, err := s.keyroll.StartWatcher(ctx)
	if err != nil {
		return nil, start{}, err
	}
	profiled := saveCPU(ctx, watcher, watcher.Name()+" starts", 5)
	if err := watcher.WaitReady(ctx); err != nil {
		return nil, start{}, err
	}
	took := time.Since(begin)
	cpu, err := cpuOf(watcher.Pid())
	return watcher, start{took, cpu}, errors.Join(err, profiled())
}

// awaitClasses has a watcher make the classes of the lot, and stops it again:
// the one that is measured finds a cluster that has long been there.
func (s *stage) awaitClasses(ctx context.Context, l *lot) error {
	s.report.say("have the classes made")
	watcher, _, err := s.watch(ctx)
	if err != nil {
		return err
	}
	classes := statuses.GroupVersion().WithResource("secretproviderclasses")
	want := (l.workloads + l.classSize - 1) / l.classSize
	err = s.await(ctx, fmt.Sprintf("%d classes", want), func(ctx context.Context) (bool, error) {
		all, err := s.driver.Resource(classes).List(ctx, metav1.ListOptions{})
		return err == nil && len(all.Items) >= want, err
	})
	return errors.Join(err, watcher.Stop())
}

// await asks again and again, for some minutes.
func (s *stage) await(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		if ok, err := done(ctx); err != nil || ok {
			return err
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
	}
}

// rotate delivers a rotation of the first class, and tells what the API server
// saw of it.
func (s *stage) rotate(ctx context.Context, watcher *install.Process, l *lot, what string, bare, least time.Duration, b bounds) error {
	profiled := saveCPU(ctx, watcher, what, 5)
	begin := time.Now()
	if err := l.deliver(ctx); err != nil {
		return err
	}
	err := s.await(ctx, "the patches", func(ctx context.Context) (bool, error) {
		patched, err := stamped(ctx, l.kube, l.namespace(0)) // which the first class stands in, with others
		return patched == l.classSize, err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(sleep(ctx, 2*time.Second), profiled()); err != nil { // Events, and the audit log comes after the answer
		return err
	}
	seen, err := look(s.Cluster, begin, s.keyroll.User("watcher"))
	if err != nil {
		return err
	}
	held := most(b.patched)
	if b.timesBare > 0 {
		held = timesBare(b.timesBare)
	}
	n := l.classSize
	s.report.add(figure{what: what + ": bare patches, without a rotation", unit: "s", ours: bare.Seconds()})
	s.report.add(figure{what: what + ": from a rotation's first status to the last patch", unit: "s", ours: seen.Took().Seconds(), bare: least.Seconds(), held: held})
	s.report.add(figure{what: what + ": from its last status to the last patch", unit: "s", ours: seen.Lagged().Seconds()})
	s.report.add(figure{what: what + ": requests until then", ours: float64(len(seen.UntilPatched)), bare: float64(n), held: atMost(float64(asked.MostUntilPatched(n)))})
	s.report.say("asked: %s", asked.Counted(seen.Ours))
	return nil
}

// used tells of memory and CPU of a watcher so far.
func (s *stage) used(ctx context.Context, watcher *install.Process, what string, held float64) error {
	if err := saveHeap(ctx, watcher, what); err != nil {
		return err
	}
	peak, err := peakOf(watcher.Pid())
	if err != nil {
		return err
	}
	now, err := memoryOf(watcher.Pid())
	if err != nil {
		return err
	}
	cpu, err := cpuOf(watcher.Pid())
	if err != nil {
		return err
	}
	s.report.add(figure{what: what + ": peak memory of the watcher", unit: "MiB", ours: peak, held: most(held)})
	s.report.add(figure{what: what + ": its memory at the end", unit: "MiB", ours: now})
	s.report.add(figure{what: what + ": its CPU so far", unit: "s", ours: cpu.Seconds()})
	return nil
}
