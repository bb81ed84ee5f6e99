package install

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/e2e/balancer"
	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/internal/daemon"
	"keyroll.dev/manifests"
)

// Names of the Deployments in the manifests.
const (
	webhookName = "keyroll-webhook"
	watcherName = "keyroll-watcher"
)

// webhookHost is what the API server calls the webhook by.
const webhookHost = "localhost"

// Options of an installation. The zero value installs what users get.
type Options struct {
	// Manifests to apply. Default: manifests.Install.
	Manifests []byte
	// Race builds the binaries with the race detector; a race ends the process.
	Race bool
	// Clocks builds what StartWebhookWithClock runs, too.
	Clocks bool
	// WebhookArgs and WatcherArgs come after the arguments of the Deployments
	// and win over them. Defaults: FastWebhook, FastWatcher.
	WebhookArgs, WatcherArgs []string
}

// FastWebhook does not wait for the API server to close idle connections.
var FastWebhook = []string{"--linger=0s"}

// FastWatcher shortens what a story would have to wait for: the lease of a
// watcher that was killed, and the window that gathers what rotates together.
var FastWatcher = []string{
	"--lease-duration=10s", "--renew-deadline=8s", "--retry-period=500ms",
	"--settle=1s", "--rotation-interval=2s",
}

// Installation is Keyroll in a cluster.
type Installation struct {
	cluster  *cluster.Cluster
	options  Options
	rendered *rendered
	service  *balancer.Balancer // where the API server calls the webhook
	binaries map[string]string

	mu        sync.Mutex
	processes []*Process
}

// Apply installs the manifests and builds both binaries. Nothing of ours runs
// yet when it returns: start the webhook and the watcher.
func Apply(ctx context.Context, c *cluster.Cluster, o Options) (*Installation, error) {
	if o.Manifests == nil {
		o.Manifests = manifests.Install
	}
	i, err := New(ctx, c, o)
	if err != nil {
		return nil, err
	}
	if i.rendered, err = render(o.Manifests, i.WebhookAddress()); err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	return i, i.apply(ctx)
}

// New builds both binaries and applies nothing: whoever does, points the webhooks
// to WebhookAddress by [Redirect], and then calls [Installation.Adopt].
func New(ctx context.Context, c *cluster.Cluster, o Options) (*Installation, error) {
	if o.WebhookArgs == nil {
		o.WebhookArgs = FastWebhook
	}
	if o.WatcherArgs == nil {
		o.WatcherArgs = FastWatcher
	}
	service, err := balancer.Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c.AtStop(service.Close)
	i := &Installation{cluster: c, options: o, service: service}
	how := shipped
	if o.Race {
		how = racing
	}
	if i.binaries, err = build(ctx, how, webhookName, watcherName); err != nil {
		return nil, err
	}
	if o.Clocks {
		if i.binaries[clockedName], err = buildWithClock(ctx); err != nil {
			return nil, err
		}
	}
	c.AtStop(i.stopAll)
	return i, nil
}

func (i *Installation) apply(ctx context.Context) error {
	if _, err := i.kubectl(ctx, i.rendered.objects, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	deployments, err := toUnstructured(i.rendered.deployments)
	if err != nil {
		return err
	}
	// With a warning, such as that of Pod Security, users would not be content either.
	warnings, err := i.kubectl(ctx, deployments, "apply", "--server-side", "--dry-run=server", "-f", "-")
	if err == nil && warnings != "" {
		err = fmt.Errorf("the Deployments: %s", warnings)
	}
	return err
}

func toUnstructured(deployments map[string]*appsv1.Deployment) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for _, d := range deployments {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
		if err != nil {
			return nil, err
		}
		unstructured.RemoveNestedField(object, "status") // not a part of what is applied
		all = append(all, &unstructured.Unstructured{Object: object})
	}
	return all, nil
}

// kubectl gives objects to kubectl's standard input and returns what it warned of.
func (i *Installation) kubectl(ctx context.Context, objects []*unstructured.Unstructured, args ...string) (warnings string, err error) {
	text, err := encode(objects)
	if err != nil {
		return "", err
	}
	cmd := i.cluster.KubectlCommand(ctx, args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(errs.String()), nil
}

// Uninstall stops our processes and removes what Apply made, the webhook
// configuration first: from then on no admission waits for us.
func (i *Installation) Uninstall(ctx context.Context) error {
	isHook := func(o *unstructured.Unstructured) bool { return o.GetKind() == "MutatingWebhookConfiguration" }
	others := slices.DeleteFunc(slices.Clone(i.rendered.objects), isHook)
	hooks := slices.DeleteFunc(slices.Clone(i.rendered.objects), func(o *unstructured.Unstructured) bool { return !isHook(o) })
	slices.Reverse(others) // the namespace, which comes first, goes last
	remove := func(objects []*unstructured.Unstructured) error {
		_, err := i.kubectl(ctx, objects, "delete", "--ignore-not-found", "-f", "-")
		return err
	}
	if err := remove(hooks); err != nil {
		return err
	}
	i.stopAll()
	return remove(others)
}

// Namespace is the release namespace.
func (i *Installation) Namespace() string { return i.rendered.namespace }

// WebhookAddress is where the API server calls the webhook, host:port: the
// replicas that are ready are behind it.
func (i *Installation) WebhookAddress() string {
	_, port, _ := net.SplitHostPort(i.service.Address()) // it is one
	return net.JoinHostPort(webhookHost, port)
}

// Deployment is that of one of our two parts, webhook or watcher, as the
// manifests have it.
func (i *Installation) Deployment(part string) *appsv1.Deployment {
	return i.rendered.deployments["keyroll-"+part].DeepCopy()
}

// User is the name under which the API server knows one of our two processes,
// webhook or watcher: what its audit log says.
func (i *Installation) User(part string) string {
	account := i.rendered.deployments["keyroll-"+part].Spec.Template.Spec.ServiceAccountName
	return "system:serviceaccount:" + i.Namespace() + ":" + account
}

// StartWebhook starts a replica of the webhook; there may be any number. It is
// called when it is ready: see WaitReady.
func (i *Installation) StartWebhook(ctx context.Context, extraArgs ...string) (*Process, error) {
	return i.startWebhook(ctx, i.binaries[webhookName], nil, extraArgs)
}

func (i *Installation) startWebhook(ctx context.Context, binary string, env, extraArgs []string) (*Process, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := slices.Concat([]string{"--listen=" + listen, "--dns-names=" + webhookHost}, i.options.WebhookArgs, extraArgs)
	p, err := i.start(ctx, webhookName, binary, env, args)
	if err != nil {
		return nil, err
	}
	p.listen, p.serves = listen, func() bool { return i.service.Serves(listen) }
	i.service.Add(balancer.Replica{Address: listen, Ready: p.Ready, Gone: p.Done()})
	return p, nil
}

// StartWatcher starts a replica of the watcher, which leads or stands by.
func (i *Installation) StartWatcher(ctx context.Context, extraArgs ...string) (*Process, error) {
	return i.start(ctx, watcherName, i.binaries[watcherName], nil, slices.Concat(i.watcherArgs(), extraArgs))
}

// StartReady starts a webhook and a watcher, and returns when both are ready.
func (i *Installation) StartReady(ctx context.Context) (webhook, watcher *Process, err error) {
	if webhook, err = i.StartWebhook(ctx); err != nil {
		return nil, nil, err
	}
	if watcher, err = i.StartWatcher(ctx); err != nil {
		return nil, nil, err
	}
	if err := webhook.WaitReady(ctx); err != nil {
		return nil, nil, err
	}
	return webhook, watcher, watcher.WaitReady(ctx)
}

// start runs a Deployment's container as a process. Flags are given in this
// order, and the last one wins: the Deployment's, loopback's, then args.
func (i *Installation) start(ctx context.Context, name, binary string, env, args []string) (*Process, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	pod := fmt.Sprintf("%s-%d", name, i.countOf(name)+1)
	run, err := commandOf(i.rendered.deployments[name], pod)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := i.cluster.ServiceAccountKubeconfig(ctx, i.Namespace(), run.account)
	if err != nil {
		return nil, err
	}
	observe, err := freeAddress()
	if err != nil {
		return nil, err
	}
	loopback := []string{"--kubeconfig=" + kubeconfig, "--observe=" + observe}
	p, err := daemon.Start(daemon.Spec{
		Name: pod,
		Path: binary,
		Args: slices.Concat(run.args, loopback, args),
		Env:  slices.Concat(run.env, []string{"PATH=" + os.Getenv("PATH"), "HOSTNAME=" + pod, "GORACE=halt_on_error=1"}, env),
		Logs: i.cluster.LogDir(),
	})
	if err != nil {
		return nil, err
	}
	process := &Process{Process: p, observe: observe}
	i.processes = append(i.processes, process)
	return process, nil
}

func freeAddress() (string, error) {
	ports, err := cluster.FreePorts(1)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), nil
}

func (i *Installation) countOf(name string) int {
	count := 0
	for _, p := range i.processes {
		if strings.HasPrefix(p.Name(), name+"-") {
			count++
		}
	}
	return count
}

// Processes are all that were started, in this order; they may have ended.
func (i *Installation) Processes() []*Process {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.processes)
}

func (i *Installation) stopAll() {
	var all sync.WaitGroup
	for _, p := range i.Processes() {
		all.Go(func() { _ = p.Stop() }) // one that had to be killed has its story in its log
	}
	all.Wait()
}

// Failing is the part of *testing.T that ShowLogs needs.
type Failing interface {
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Helper()
}

// ShowLogs prints the end of our processes' logs if the test fails. Those that
// ended by themselves are told in any case.
func (i *Installation) ShowLogs(t Failing) {
	t.Helper()
	const lines = 60
	t.Cleanup(func() {
		for _, p := range i.Processes() {
			if err := p.Err(); err != nil {
				t.Logf("%v", err)
			}
			if t.Failed() {
				t.Logf("%s", p.Tail(lines))
			}
		}
	})
}
