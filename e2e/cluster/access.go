package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// AdminUser is the name that Admin's requests come under.
const AdminUser = "keyroll-e2e-admin"

const (
	nameAdmin   = "admin"
	nameKubectl = "kubectl"
	userAgent   = "keyroll-e2e"
)

// users are those who come with a certificate. kwok may do what nodes do, for
// all nodes at once, which no built-in role allows.
var users = map[string]struct {
	user   string
	groups []string
}{
	nameAdmin:             {AdminUser, []string{"system:masters"}},
	nameControllerManager: {"system:kube-controller-manager", nil},
	nameScheduler:         {"system:kube-scheduler", nil},
	nameKwok:              {"kwok", []string{"system:masters"}},
}

func (c *Cluster) kubeconfigOf(name string) string { return c.run.path(name + ".kubeconfig") }

func (c *Cluster) writeKubeconfigs() error {
	for name, u := range users {
		pair, err := c.ca.client(u.user, u.groups...)
		if err != nil {
			return err
		}
		identity := &clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key}
		if err := c.writeKubeconfig(c.kubeconfigOf(name), identity); err != nil {
			return err
		}
	}
	admin, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return err
	}
	admin.QPS = -1 // no limit: a story should not wait for itself
	admin.UserAgent = userAgent
	c.admin = admin
	c.client, err = kubernetes.NewForConfig(admin)
	return err
}

func (c *Cluster) writeKubeconfig(path string, identity *clientcmdapi.AuthInfo) error {
	const name = "keyroll-e2e"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{
		Server:                   c.url(),
		CertificateAuthorityData: c.ca.pem,
	}
	config.AuthInfos[name] = identity
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path)
}

func (c *Cluster) url() string { return loopback("https", c.ports.api) }

// Admin may do everything. It is a copy: change it as you like.
func (c *Cluster) Admin() *rest.Config { return rest.CopyConfig(c.admin) }

// Client is a client of Admin's.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Kubeconfig is the path of Admin's kubeconfig, good as long as the cluster runs.
func (c *Cluster) Kubeconfig() string {
	if c.adopted != nil {
		return c.adopted.kubeconfig
	}
	return c.kubeconfigOf(nameAdmin)
}

// Kubectl runs kubectl as admin and returns what it printed on standard output.
// The error holds what it printed on standard error.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := c.KubectlCommand(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// KubectlCommand is for who needs more: standard input, the warnings on
// standard error, or output as it comes.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Bin(nameKubectl), args...)
	if c.adopted != nil {
		cmd.Env = c.adopted.environment()
		return cmd
	}
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.run.dir, "KUBECACHEDIR="+c.run.path("kubectl-cache"))
	return cmd
}

// tokenLifetime is longer than any run: nothing refreshes these tokens.
const tokenLifetime = 7 * 24 * time.Hour

// ServiceAccountConfig acts as a ServiceAccount, by a token that the API server
// issued for it. It has client-go's usual limits, as in a pod.
func (c *Cluster) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	token, err := c.token(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            c.url(),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.pem},
	}, nil
}

// ServiceAccountKubeconfig writes a kubeconfig of ServiceAccountConfig's identity and returns its path.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	token, err := c.token(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	path := c.run.path(namespace + "." + name + ".kubeconfig")
	return path, c.writeKubeconfig(path, &clientcmdapi.AuthInfo{Token: token})
}

func (c *Cluster) token(ctx context.Context, namespace, name string) (string, error) {
	seconds := int64(tokenLifetime / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return answer.Status.Token, nil
}
