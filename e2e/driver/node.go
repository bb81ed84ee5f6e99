package driver

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node is one node: its kubelet's workers, its mounted volumes, and the
// driver's process while there is one.
type node struct {
	d     *Driver
	name  string
	index int // among the configured nodes
	tasks chan task

	mu      sync.Mutex
	plugin  *plugin // nil while the driver does not run
	workers map[types.UID]*worker
	volumes map[string]*volume // by target path
	pods    int                // ever seen: the next one's address
	events  *events
}

// task is done within the lifetime of the whole model, not of who asked for it.
type task struct {
	do   func(ctx context.Context) error
	done chan error
}

func newNode(d *Driver, name string, index int) *node {
	return &node{
		d: d, name: name, index: index, tasks: make(chan task),
		workers: map[types.UID]*worker{}, volumes: map[string]*volume{},
	}
}

// run does tasks until ctx ends, then ends the driver's process.
func (n *node) run(ctx context.Context) {
	for {
		select {
		case t := <-n.tasks:
			t.done <- t.do(ctx)
		case <-ctx.Done():
			n.setPlugin(nil)
			return
		}
	}
}

func (n *node) ask(ctx context.Context, do func(ctx context.Context) error) error {
	t := task{do: do, done: make(chan error, 1)}
	select {
	case n.tasks <- t:
		return <-t.done
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *node) startPlugin(ctx context.Context, g Generation) error {
	return n.ask(ctx, func(ctx context.Context) error {
		if n.running() != nil {
			return nil
		}
		p, err := newPlugin(n, g)
		if err != nil {
			return err
		}
		n.setPlugin(p)
		p.start(ctx)
		return nil
	})
}

func (n *node) stopPlugin(ctx context.Context) error {
	return n.ask(ctx, func(context.Context) error {
		n.setPlugin(nil)
		return nil
	})
}

// setPlugin replaces the driver's process, and waits until the one before has ended.
func (n *node) setPlugin(p *plugin) {
	n.mu.Lock()
	before := n.plugin
	n.plugin = p
	n.mu.Unlock()
	if before != nil {
		before.end()
	}
}

func (n *node) running() *plugin {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.plugin
}

// publish is the kubelet's call of NodePublishVolume.
func (n *node) publish(ctx context.Context, r publishRequest) error {
	p := n.running()
	if p == nil {
		return fmt.Errorf("kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name %s not found in the list of registered CSI drivers", Name)
	}
	if err := p.model.publish(ctx, p, r); err != nil {
		return asRPC(err)
	}
	return nil
}

func (n *node) volume(target string) *volume {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.volumes[target] == nil {
		n.volumes[target] = &volume{}
	}
	return n.volumes[target]
}

// mountedFiles returns what a target path holds, and whether anything is mounted there.
func (n *node) mountedFiles(target string) (map[string]File, bool) {
	n.mu.Lock()
	v := n.volumes[target]
	n.mu.Unlock()
	if v == nil || !v.isMounted() {
		return nil, false
	}
	return v.content(), true
}

// now is the node's clock.
func (n *node) now() time.Time { return n.d.cfg.Now().Add(n.d.cfg.Clock[n.name]) }

func (n *node) hostIP() string { return fmt.Sprintf("10.1.%d.1", n.index) }

// podSeen hands a pod to its worker, and makes one for a pod that is new here.
func (n *node) podSeen(ctx context.Context, pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.workers[pod.UID]
	switch {
	case pod.DeletionTimestamp != nil:
		if w != nil {
			w.end()
		}
	case w != nil:
		w.see(pod)
	case pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed:
		n.pods++
		w = newWorker(n, pod, fmt.Sprintf("10.%d.%d.%d", 64+n.index, n.pods/250%250, n.pods%250+1))
		n.workers[pod.UID] = w
		n.d.truth.add(w)
		n.d.running.Go(func() { w.start(ctx) })
	}
}

// podGone forgets a pod and its volumes.
func (n *node) podGone(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.workers[uid]; w != nil {
		w.end()
		delete(n.workers, uid)
	}
	for target := range n.volumes {
		if owner, _ := fromTargetPath(target); owner == uid {
			delete(n.volumes, target)
		}
	}
}

func (n *node) workerOf(namespace, pod string) *worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.workers {
		if w.is(namespace, pod) {
			return w
		}
	}
	return nil
}

func (n *node) statusSeen(status *PodStatus) {
	if p := n.running(); p != nil {
		p.syncQueue.Add(keyOf(status))
	}
}

// poll rotates all pods, in either generation's way.
func (n *node) poll() {
	if p := n.running(); p != nil {
		p.model.poll(p)
	}
}

func (n *node) pollPod(namespace, pod string) {
	if p := n.running(); p != nil {
		p.model.pollPod(p, namespace, pod)
	}
}

func (n *node) resync() {
	if p := n.running(); p != nil {
		for _, status := range p.statuses() {
			p.syncQueue.Add(keyOf(status))
		}
	}
}

func (n *node) resyncPod(namespace, pod string) {
	if p := n.running(); p != nil {
		for _, status := range p.statusesOf(namespace, pod) {
			p.syncQueue.Add(keyOf(status))
		}
	}
}

// look makes the kubelet look at its running pods now: all, or those that match.
func (n *node) look(match func(*worker) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.workers {
		if match(w) {
			w.look()
		}
	}
}
