// Package driver stands in for the Secrets Store CSI driver with the Azure
// provider, and for the part of the kubelet that concerns pods with synced
// content, against a real API server:
//
//	scheduled pod ─► worker (kubelet) ─► plugin (driver on that node) ─► azure (provider) ─► vault
//	                    │                   │ files, SecretProviderClassPodStatus
//	                    │                   └─► sync controller ─► Secret, its owners
//	                    └─► environment from Secrets, containers start, pod status
//
// Two generations are modelled beside each other: [Polling] (driver v1.5.6)
// rotates by a loop of its own over the node's statuses and patches Secrets;
// [Republishing] (v1.6.0) rotates when the kubelet publishes a volume again and
// rewrites whole Secrets from each pod's files. What they do, and in which order
// and by which requests, follows their sources; file names in comments are theirs.
//
// What every container could read when it started is remembered ([Driver.Starts],
// [Driver.Current]): the truth that tests compare with.
//
// Not modelled: a provider that hangs, node reboots, aad-pod-identity, PFX.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/e2e/vault"
)

// Generation is a generation of the driver.
type Generation int

const (
	// Polling is driver v1.5.6 and what came before.
	Polling Generation = iota
	// Republishing is driver v1.6.0.
	Republishing
)

// String is the driver's version.
func (g Generation) String() string {
	if g == Republishing {
		return "v1.6.0"
	}
	return "v1.5.6"
}

// Config says what to model.
type Config struct {
	REST            *rest.Config
	Vault           *vault.Service
	Nodes           []string
	Generation      Generation
	RotationEnabled bool // the driver's --enable-secret-rotation
	// RequiresRepublish is what the CSIDriver object says; nil is what the Helm
	// chart of the generation writes.
	RequiresRepublish *bool
	// NoTokens leaves tokenRequests off the CSIDriver object, so that workload identity cannot work.
	NoTokens bool
	Timings  Timings                  // zero: Real
	Clock    map[string]time.Duration // how far the clock of a node is ahead
	// Slow adds to a pod's time from mount to start, and from start to ready; may be nil.
	Slow func(pod *corev1.Pod) (start, ready time.Duration)
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: nothing
}

// Driver is the driver and the kubelets of some nodes.
type Driver struct {
	cfg     Config
	timings Timings
	azure   azure
	kubelet *client
	truth   *truth
	nodes   map[string]*node
	holds   holds

	pods, classes, statuses, secrets cache.SharedIndexInformer

	mu         sync.Mutex
	generation Generation
	rotating   bool
	stop       context.CancelFunc
	running    sync.WaitGroup
}

// New checks the configuration and prepares clients; nothing is sent yet.
func New(cfg Config) (*Driver, error) {
	switch {
	case cfg.REST == nil:
		return nil, errors.New("no REST configuration")
	case cfg.Vault == nil:
		return nil, errors.New("no vault")
	case len(cfg.Nodes) == 0:
		return nil, errors.New("no nodes")
	}
	if cfg.Timings == (Timings{}) {
		cfg.Timings = Real()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	kubelet, err := newClient(cfg.REST, "kubelet/v1.37.2 (linux/amd64) kubernetes/model")
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	d := &Driver{
		cfg: cfg, timings: cfg.Timings, azure: azure{cfg.Vault}, kubelet: kubelet,
		truth: newTruth(), nodes: map[string]*node{}, generation: cfg.Generation, rotating: cfg.RotationEnabled,
	}
	for i, name := range cfg.Nodes {
		d.nodes[name] = newNode(d, name, i)
	}
	d.watch()
	return d, nil
}

// watch prepares the informers. One set serves all nodes, though each real
// driver has its own; what one may see is cut down to its node where it matters.
func (d *Driver) watch() {
	all := func(*metav1.ListOptions) {}
	d.pods = newInformer(d.kubelet.CoreV1().Pods(""), &corev1.Pod{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
	})
	d.classes = newInformer(d.kubelet.classes(""), &Class{}, all)
	d.statuses = newInformer(d.kubelet.podStatuses(""), &PodStatus{}, all)
	d.secrets = newInformer(d.kubelet.CoreV1().Secrets(""), &corev1.Secret{}, func(o *metav1.ListOptions) {
		o.LabelSelector = ManagedLabel + "=true"
	})
}

// Start installs the driver's objects, starts kubelets and driver on all nodes,
// and returns when they have their first view of the cluster. They run until
// ctx ends or Stop.
func (d *Driver) Start(ctx context.Context) error {
	if err := d.Install(ctx); err != nil {
		return err
	}
	run, cancel := context.WithCancel(ctx)
	d.stop = cancel
	for _, n := range d.nodes {
		n.events = newEvents(d.kubelet, corev1.EventSource{Component: "kubelet", Host: n.name}, 25)
		d.running.Go(func() { n.run(run) })
	}
	if err := d.handle(run); err != nil {
		return err
	}
	// The driver is there before the kubelets see pods, as on a node that has been up for a while.
	if err := d.runInformers(run, d.classes, d.statuses, d.secrets); err != nil {
		return err
	}
	if err := d.StartPlugin(run); err != nil {
		return err
	}
	return d.runInformers(run, d.pods)
}

func (d *Driver) handle(ctx context.Context) error {
	_, err := d.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { d.podSeen(ctx, o) },
		UpdateFunc: func(was, o any) {
			// A list after a lost watch shows a pod that was replaced under its name as an update.
			if was.(*corev1.Pod).UID != o.(*corev1.Pod).UID {
				d.podGone(was)
			}
			d.podSeen(ctx, o)
		},
		DeleteFunc: d.podGone,
	})
	if err != nil {
		return err
	}
	_, err = d.statuses.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    d.statusSeen,
		UpdateFunc: func(_, o any) { d.statusSeen(o) },
	})
	return err
}

// runInformers runs informers until ctx ends, and returns when they have their first view.
func (d *Driver) runInformers(ctx context.Context, informers ...cache.SharedIndexInformer) error {
	var synced []cache.InformerSynced
	for _, informer := range informers {
		d.running.Go(func() { informer.RunWithContext(ctx) })
		synced = append(synced, informer.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("informers: %w", context.Cause(ctx))
	}
	return nil
}

// Stop ends everything and waits for it. [Driver.Starts] can still be asked.
func (d *Driver) Stop() {
	if d.stop == nil {
		return
	}
	d.stop()
	d.running.Wait()
	for _, n := range d.nodes {
		n.events.end()
	}
}

// StopPlugin ends the driver's process on the nodes, or on all. Mounted volumes
// stay, pods run on, new pods with a volume of the driver wait.
func (d *Driver) StopPlugin(ctx context.Context, nodes ...string) error {
	for _, n := range d.some(nodes) {
		if err := n.stopPlugin(ctx); err != nil {
			return err
		}
	}
	return nil
}

// StartPlugin starts the driver's process on the nodes, or on all, where it does not run.
func (d *Driver) StartPlugin(ctx context.Context, nodes ...string) error {
	for _, n := range d.some(nodes) {
		if err := n.startPlugin(ctx, d.gen()); err != nil {
			return fmt.Errorf("driver on %s: %w", n.name, err)
		}
	}
	return nil
}

// Restart ends and starts the driver's process on the nodes, or on all.
func (d *Driver) Restart(ctx context.Context, nodes ...string) error {
	if err := d.StopPlugin(ctx, nodes...); err != nil {
		return err
	}
	return d.StartPlugin(ctx, nodes...)
}

// Switch replaces the driver on all nodes by another generation, as an upgrade
// or a way back does, CSIDriver object included.
func (d *Driver) Switch(ctx context.Context, to Generation) error {
	return d.reinstall(ctx, func() { d.generation = to })
}

// SetRotation switches rotation on or off, as another value for the driver's
// chart does: the process on every node is replaced, and the CSIDriver object follows.
func (d *Driver) SetRotation(ctx context.Context, enabled bool) error {
	return d.reinstall(ctx, func() { d.rotating = enabled })
}

func (d *Driver) reinstall(ctx context.Context, change func()) error {
	if err := d.StopPlugin(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	change()
	d.mu.Unlock()
	if err := d.installDriver(ctx); err != nil {
		return err
	}
	return d.StartPlugin(ctx)
}

// Poll makes all pods of the nodes, or of all nodes, rotate now if they are
// due: a turn of the older driver's loop, or a kubelet's look at its pods.
func (d *Driver) Poll(nodes ...string) {
	for _, n := range d.some(nodes) {
		n.poll()
	}
}

// PollPod makes one pod rotate now if it is due.
func (d *Driver) PollPod(namespace, pod string) {
	for _, n := range d.nodes {
		n.pollPod(namespace, pod)
	}
}

// Resync makes the driver on the nodes, or on all, look at all synced Secrets
// again: the periodic look, at once.
func (d *Driver) Resync(nodes ...string) {
	for _, n := range d.some(nodes) {
		n.resync()
	}
}

// ResyncPod makes the driver look at one pod's synced Secrets again.
func (d *Driver) ResyncPod(namespace, pod string) {
	for _, n := range d.nodes {
		n.resyncPod(namespace, pod)
	}
}

// CrashContainer ends one container of a running pod with exit code 1 (""
// is the first) and starts it again in place: it reads its environment anew,
// the volumes stay.
func (d *Driver) CrashContainer(ctx context.Context, namespace, pod, container string) error {
	for _, n := range d.nodes {
		if w := n.workerOf(namespace, pod); w != nil {
			return w.crash(ctx, container)
		}
	}
	return fmt.Errorf("pod %s/%s does not run here", namespace, pod)
}

func (d *Driver) some(names []string) []*node {
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(d.nodes))
	}
	var some []*node
	for _, name := range names {
		if n := d.nodes[name]; n != nil {
			some = append(some, n)
		}
	}
	return some
}

func (d *Driver) gen() Generation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.generation
}

func (d *Driver) podSeen(ctx context.Context, o any) {
	pod := o.(*corev1.Pod)
	if n := d.nodes[pod.Spec.NodeName]; n != nil && Owns(pod) {
		n.podSeen(ctx, pod)
	}
}

func (d *Driver) podGone(o any) {
	if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	if pod, ok := o.(*corev1.Pod); ok && d.nodes[pod.Spec.NodeName] != nil {
		d.nodes[pod.Spec.NodeName].podGone(pod.UID)
	}
}

// statusSeen wakes the sync controller of the status's node. Deletions wake nobody.
func (d *Driver) statusSeen(o any) {
	status := o.(*PodStatus)
	if n := d.nodes[status.Labels[NodeLabel]]; n != nil {
		n.statusSeen(status)
	}
}

// tokenAudiences are those of the CSIDriver object's tokenRequests.
func (d *Driver) tokenAudiences() []string {
	if d.cfg.NoTokens {
		return nil
	}
	return []string{workloadAudience}
}

// republishes reports what the CSIDriver object says.
func (d *Driver) republishes() bool {
	if d.cfg.RequiresRepublish != nil {
		return *d.cfg.RequiresRepublish
	}
	return d.gen() == Republishing && d.rotates()
}

// rotates reports the driver's --enable-secret-rotation.
func (d *Driver) rotates() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rotating
}
