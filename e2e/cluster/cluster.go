// Package cluster boots a real Kubernetes control plane on loopback with
// nothing but Go: no containers, no root, no images.
//
//	Binaries   builds etcd, kube-apiserver, kube-controller-manager,
//	           kube-scheduler, kubectl and kwok from the modules pinned in
//	           controlplane/go.mod (minutes, once; kept in the cache folder)
//	Start      keys and certificates -> etcd -> API server, ready
//	           -> controller manager, scheduler, kwok -> nodes, ready
//	           what kubelet would start again when it ends, is started again
//	Stop       everything ends; so it does when the context ends, when the test
//	           panics, and (on Linux) when the test is killed
//	Adopt      or none of this: a cluster that runs already, of somebody else
//
// RBAC is on, all default admission plugins are, and ServiceAccount tokens are
// real, so that what runs against the cluster under a ServiceAccount of the
// manifests proves their roles.
//
// What is not real are nodes. kwok plays kubelet: a pod that is bound to a node
// becomes Ready at once, a Job's pod completes, a deleted pod goes away. Pods
// whose start depends on content (a volume of the Secrets Store CSI driver, or
// anything from a Secret) stay Pending until e2e/driver starts them.
//
// controlplane is a module of its own, so that the versions of the control
// plane and those that the suite is compiled with stay out of each other's way:
// a new test dependency must not rebuild Kubernetes.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"keyroll.dev/e2e/internal/daemon"
)

// Cluster is a running control plane. Its methods may be called from any goroutine.
type Cluster struct {
	options Options
	bin     string // folder of the binaries
	run     *runFolder
	logs    string
	ports   ports
	ca      *authority
	adopted *adopted // nil: all of it is ours
	admin   *rest.Config
	client  kubernetes.Interface

	ended chan struct{} // closed when Stop has done its work
	lost  chan struct{} // closed when a component has ended that nothing replaces; nil: the cluster is not ours

	mu      sync.Mutex
	running map[string]*daemon.Process
	atStop  []func()
	stopped bool
	cause   error // why it is lost
}

// ports that a cluster listens on, all on loopback.
type ports struct{ etcd, etcdPeer, api int }

// Start boots a cluster. It stops when ctx ends, or by Stop. The error of a
// cluster that does not come up ends with what the component at fault had logged.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o = o.withDefaults()
	bin, err := Binaries(ctx, o.Out)
	if err != nil {
		return nil, fmt.Errorf("binaries of the control plane: %w", err)
	}
	// A port that was free a moment ago may be taken by another process: try again with others.
	const attempts = 3
	for attempt := 1; ; attempt++ {
		c, err := start(ctx, o, bin)
		if err == nil || attempt == attempts || !errors.Is(err, errPortTaken) {
			return c, err
		}
	}
}

func start(ctx context.Context, o Options, bin string) (*Cluster, error) {
	run, err := newRunFolder()
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		options: o,
		bin:     bin,
		run:     run,
		logs:    o.LogDir,
		running: map[string]*daemon.Process{},
		ended:   make(chan struct{}),
		lost:    make(chan struct{}),
	}
	if c.logs == "" {
		c.logs = run.path("logs")
	}
	context.AfterFunc(ctx, c.Stop)
	if err := c.boot(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) boot(ctx context.Context) error {
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startAll(c.etcd(), c.apiServer()); err != nil {
		return err
	}
	if err := c.waitForAPIServer(ctx); err != nil {
		return err
	}
	if c.options.APIOnly {
		return nil
	}
	if err := c.startAll(c.controllerManager(), c.scheduler(), c.kwok()); err != nil {
		return err
	}
	return c.settle(ctx)
}

// prepare chooses ports and writes all files that components read.
func (c *Cluster) prepare() error {
	free, err := FreePorts(3)
	if err != nil {
		return err
	}
	c.ports = ports{etcd: free[0], etcdPeer: free[1], api: free[2]}
	if c.ca, err = newAuthority(); err != nil {
		return err
	}
	if err := c.writeSecrets(); err != nil {
		return err
	}
	if err := c.writeKubeconfigs(); err != nil {
		return err
	}
	return writeFiles(map[string][]byte{
		c.run.path("stages.yaml"): []byte(stages()),
		c.run.path("audit.yaml"):  []byte(auditPolicy),
	})
}

// settle waits until the cluster can be used as one that has long been there:
// the nodes are ready, and the default namespace has its ServiceAccount.
func (c *Cluster) settle(ctx context.Context) error {
	for i := 1; i <= c.options.Nodes; i++ {
		if err := c.createNode(ctx, nodeName(i)); err != nil {
			return err
		}
	}
	for i := 1; i <= c.options.Nodes; i++ {
		if err := c.waitForNode(ctx, nodeName(i)); err != nil {
			return err
		}
	}
	return c.waitForDefaultAccount(ctx, metav1.NamespaceDefault)
}

// Namespace creates a namespace and returns once pods can be created in it.
func (c *Cluster) Namespace(ctx context.Context, name string, labels map[string]string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return c.waitForDefaultAccount(ctx, name)
}

func (c *Cluster) waitForDefaultAccount(ctx context.Context, namespace string) error {
	return c.await(ctx, "ServiceAccount default in "+namespace, func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// Stop ends everything that the cluster started, newest first, and removes its
// files, but for the logs in Options.LogDir. Nothing is left when it returns.
// What AtStop was given is called first.
func (c *Cluster) Stop() {
	c.mu.Lock()
	first := !c.stopped
	c.stopped = true
	hooks := c.atStop
	c.mu.Unlock()
	if !first {
		<-c.ended
		return
	}
	defer close(c.ended)
	for i := len(hooks) - 1; i >= 0; i-- {
		hooks[i]()
	}
	// The data ends with the cluster: nothing is gained by a graceful end.
	for _, name := range []string{nameKwok, nameScheduler, nameControllerManager, nameAPIServer, nameEtcd} {
		if p := c.process(name); p != nil {
			p.Kill()
		}
	}
	if c.adopted == nil {
		c.run.remove()
	}
}

// AtStop has f called when the cluster stops, while its API server still
// answers. It is for processes that work against the cluster.
func (c *Cluster) AtStop(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.atStop = append(c.atStop, f)
}

func (c *Cluster) process(name string) *daemon.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[name]
}

var errStopped = errors.New("the cluster is stopped")

// startAll starts components, and starts them again where they may end by themselves.
func (c *Cluster) startAll(specs ...daemon.Spec) error {
	for _, spec := range specs {
		p, err := c.start(spec)
		if err != nil {
			return err
		}
		go c.lookAfter(p)
	}
	return nil
}

// start starts a component, unless Stop came first.
func (c *Cluster) start(spec daemon.Spec) (*daemon.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, errStopped
	}
	p, err := daemon.Start(spec)
	if err == nil {
		c.running[spec.Name] = p
	}
	return p, err
}

func (c *Cluster) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// patience with what takes seconds on an idle machine: tests run on busy ones too.
const patience = 2 * time.Minute

// await polls until ready returns nil. It gives up when the cluster is lost, and
// tells then what the component at fault had logged.
func (c *Cluster) await(ctx context.Context, what string, ready func(context.Context) error) error {
	const poll = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if dead := c.dead(); dead != nil {
			return fmt.Errorf("wait for %s: %w", what, dead)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w\n%s", what, ctx.Err(), err, c.tails())
		case <-time.After(poll):
		}
	}
}

func (c *Cluster) tails() string {
	const lines = 8
	c.mu.Lock()
	defer c.mu.Unlock()
	var all string
	for _, name := range []string{nameEtcd, nameAPIServer, nameControllerManager, nameScheduler, nameKwok} {
		if p := c.running[name]; p != nil {
			all += p.Tail(lines)
		}
	}
	return all
}

// FreePorts are n loopback ports that nobody listens on now.
func FreePorts(n int) ([]int, error) {
	found := make([]int, n)
	for i := range found {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
		if err != nil {
			return nil, err
		}
		defer listener.Close() //nolint:errcheck // held until all are found, so that no two are the same
		found[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return found, nil
}

// LogDir is where the components' logs are while the cluster runs.
func (c *Cluster) LogDir() string { return c.logs }

// Bin is the path of one of the control plane's binaries.
func (c *Cluster) Bin(name string) string {
	if c.adopted != nil && name == nameKubectl {
		return c.adopted.kubectl
	}
	return filepath.Join(c.bin, name)
}
