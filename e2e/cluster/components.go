package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"keyroll.dev/e2e/internal/daemon"
)

// Names of the components: of their binaries, logs and kubeconfigs.
const (
	nameEtcd              = "etcd"
	nameAPIServer         = "kube-apiserver"
	nameControllerManager = "kube-controller-manager"
	nameScheduler         = "kube-scheduler"
	nameKwok              = "kwok"
)

// Ranges of addresses that nothing routes: Services and pods have them on paper only.
const (
	serviceRange = "10.0.0.0/24"
	serviceIP    = "10.0.0.1" // of Service kubernetes: the range's first
	podRange     = "10.64.0.1/12"
)

func (c *Cluster) spec(name string, args ...string) daemon.Spec {
	return daemon.Spec{
		Name: name,
		Path: c.Bin(name),
		Args: args,
		Env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.run.dir}, // no kubeconfig of the user's
		Dir:  c.run.dir,
		Logs: c.logs,
	}
}

func loopback(scheme string, port int) string {
	return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func (c *Cluster) etcd() daemon.Spec {
	client, peer := loopback("http", c.ports.etcd), loopback("http", c.ports.etcdPeer)
	return c.spec(nameEtcd,
		"--data-dir="+c.run.path("etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer,
		"--initial-cluster=default="+peer,
		"--unsafe-no-fsync", // the data need not survive the machine
		"--log-level=warn",
	)
}

func (c *Cluster) apiServer() daemon.Spec {
	args := []string{
		"--etcd-servers=" + loopback("http", c.ports.etcd),
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(c.ports.api),
		"--endpoint-reconciler-type=none", // endpoints may not be loopback addresses
		"--tls-cert-file=" + c.run.path("apiserver.crt"), "--tls-private-key-file=" + c.run.path("apiserver.key"),
		"--client-ca-file=" + c.run.path("ca.crt"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + c.run.path("tokens.key"),
		"--service-account-key-file=" + c.run.path("tokens.pub"),
		"--service-cluster-ip-range=" + serviceRange,
		"--allow-privileged=true",
		"--shutdown-watch-termination-grace-period=1s", // else a restart waits a minute for watchers to go
	}
	if c.options.AuditPolicy {
		const oneFile = "--audit-log-maxsize=100000" // MB: Requests reads no other
		args = append(args, "--audit-policy-file="+c.run.path("audit.yaml"), "--audit-log-path="+c.auditPath(), oneFile)
	}
	return c.spec(nameAPIServer, append(args, c.options.APIServerArgs...)...)
}

// Controllers and scheduler may ask as fast as they can: what stories wait for
// should be the product, not the client-side limits of a small cluster.
const fast = "--kube-api-qps=500 --kube-api-burst=1000 --leader-elect=false --secure-port=0"

func (c *Cluster) controllerManager() daemon.Spec {
	args := append(strings.Fields(fast),
		"--kubeconfig="+c.kubeconfigOf(nameControllerManager),
		"--service-account-private-key-file="+c.run.path("tokens.key"),
		"--root-ca-file="+c.run.path("ca.crt"),
		"--use-service-account-credentials=true",
	)
	return c.spec(nameControllerManager, append(args, c.options.ControllerManagerArgs...)...)
}

func (c *Cluster) scheduler() daemon.Spec {
	return c.spec(nameScheduler, append(strings.Fields(fast), "--kubeconfig="+c.kubeconfigOf(nameScheduler))...)
}

func (c *Cluster) kwok() daemon.Spec {
	return c.spec(nameKwok,
		"--kubeconfig="+c.kubeconfigOf(nameKwok),
		"--config="+c.run.path("stages.yaml"),
		"--manage-all-nodes=true",
		"--node-lease-duration-seconds=40",
		"--node-ip=127.0.0.1",
		"--cidr="+podRange,
	)
}

// writeSecrets writes the keys and certificates that components are given as files.
func (c *Cluster) writeSecrets() error {
	serving, err := c.ca.server(
		[]string{"kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost"},
		[]net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceIP)},
	)
	if err != nil {
		return err
	}
	private, public, err := signingKey()
	if err != nil {
		return err
	}
	return writeFiles(map[string][]byte{
		c.run.path("ca.crt"):        c.ca.pem,
		c.run.path("apiserver.crt"): serving.cert,
		c.run.path("apiserver.key"): serving.key,
		c.run.path("tokens.key"):    private,
		c.run.path("tokens.pub"):    public,
	})
}

func (c *Cluster) waitForAPIServer(ctx context.Context) error {
	return c.await(ctx, "API server ready", func(ctx context.Context) error {
		_, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// RestartAPIServer ends the API server as a rolling update of it would, and
// starts it again on the same port and data. In between nothing answers.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.StopAPIServer(); err != nil {
		return err
	}
	return c.StartAPIServer(ctx)
}

// StopAPIServer ends the API server until StartAPIServer. Requests under way are answered first.
func (c *Cluster) StopAPIServer() error {
	const grace = time.Minute
	return c.process(nameAPIServer).Stop(grace)
}

// StartAPIServer starts the API server again, and returns when it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if err := c.startAll(c.apiServer()); err != nil {
		return err
	}
	return c.waitForAPIServer(ctx)
}

var errPortTaken = errors.New("a port was taken by another process")

func portTaken(err error) error {
	if strings.Contains(err.Error(), "address already in use") {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}
