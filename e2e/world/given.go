package world

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
)

// Given describes a cluster that runs already: with the driver, its rotation
// switched on, with Keyroll, and with an identity that may read a vault.
//
// Commands are run by sh, and find what they are about in their environment.
type Given struct {
	Kubeconfig string
	Vault      string
	Identity   Identity
	Poll       time.Duration // how often the driver looks at the vault
	Image      string        // of the stories' pods: something with sleep and env

	Rotate      string // gives secret NAME of VAULT the value VALUE, and prints its new version
	Federate    string // lets ServiceAccount SERVICE_ACCOUNT of NAMESPACE be the identity; "": it may already
	StopWatcher string // returns when none runs
	Watch       string // starts it again

	// NoExec is for pods in which nothing can be run: what they have in their
	// environment is then concluded from what the Secret held when they started.
	NoExec bool
}

// Defaults of a Given.
const (
	defaultPoll  = 2 * time.Minute
	defaultImage = "busybox:1.37"
	stopWatcher  = "kubectl -n keyroll-system scale deployment/keyroll-watcher --replicas=0 && " +
		"kubectl -n keyroll-system wait pod -l app.kubernetes.io/component=watcher --for=delete --timeout=2m"
	watch = "kubectl -n keyroll-system scale deployment/keyroll-watcher --replicas=2 && " +
		"kubectl -n keyroll-system rollout status deployment/keyroll-watcher --timeout=2m"
)

// GivenBy reads a Given from variables, as docs/testing.md names them. Without
// E2E_ROTATE nothing is given.
func GivenBy(getenv func(string) string) (*Given, error) {
	g := &Given{
		Kubeconfig:  getenv("KUBECONFIG"),
		Vault:       getenv("E2E_VAULT"),
		Identity:    Identity{TenantID: getenv("E2E_TENANT_ID"), ClientID: getenv("E2E_CLIENT_ID")},
		Poll:        defaultPoll,
		Image:       cmp.Or(getenv("E2E_IMAGE"), defaultImage),
		Rotate:      getenv("E2E_ROTATE"),
		Federate:    getenv("E2E_FEDERATE"),
		StopWatcher: cmp.Or(getenv("E2E_STOP_WATCHER"), stopWatcher),
		Watch:       cmp.Or(getenv("E2E_START_WATCHER"), watch),
		NoExec:      getenv("E2E_NO_EXEC") != "",
	}
	if g.Rotate == "" {
		return nil, nil
	}
	var errs []error
	for name, value := range map[string]string{
		"KUBECONFIG": g.Kubeconfig, "E2E_VAULT": g.Vault, "E2E_TENANT_ID": g.Identity.TenantID, "E2E_CLIENT_ID": g.Identity.ClientID,
	} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is not set", name))
		}
	}
	if poll := getenv("E2E_POLL"); poll != "" {
		var err error
		if g.Poll, err = time.ParseDuration(poll); err != nil || g.Poll <= 0 {
			errs = append(errs, fmt.Errorf("E2E_POLL=%s is no time such as 2m", poll))
		}
	}
	return g, errors.Join(errs...)
}

// Adopt answers the world that is given. It is checked to have a driver and
// Keyroll; nothing is installed.
func Adopt(ctx context.Context, g *Given) (*World, error) {
	c, err := cluster.Adopt(g.Kubeconfig)
	if err != nil {
		return nil, err
	}
	w := &World{Cluster: c, Pace: paceOf(g.Poll), Identity: g.Identity, given: g}
	if _, err := c.Client().StorageV1().CSIDrivers().Get(ctx, driver.Name, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("the driver: %w", err)
	}
	const hook = "akv-keyroll"
	if _, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, hook, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("keyroll: %w", err)
	}
	w.Content, err = newDelivered(ctx, w)
	return w, err
}

// Names that a story of a given world makes its own: all share one vault.

// NamespaceOf is the namespace of a story.
func (w *World) NamespaceOf(story string) string {
	if w.Modelled() {
		return story
	}
	return "e2e-" + story
}

// VaultOf is the vault of a story.
func (w *World) VaultOf(story string) string {
	if w.Modelled() {
		return "kv-" + strings.TrimSuffix(fmt.Sprintf("%.20s", story), "-")
	}
	return w.given.Vault
}

// SecretOf is the name in its vault of a secret of a story.
func (w *World) SecretOf(story, name string) string {
	if w.Modelled() {
		return name
	}
	return w.NamespaceOf(story) + "-" + name
}

// Image is one that runs until it is ended; the models do not look at it.
func (w *World) Image() string {
	if w.Modelled() {
		return "shop/app:1"
	}
	return w.given.Image
}

func (g *Given) stopWatcher(ctx context.Context) error {
	_, err := g.run(ctx, g.StopWatcher)
	return err
}

func (g *Given) startWatcher(ctx context.Context) error {
	_, err := g.run(ctx, g.Watch)
	return err
}

// rotate runs the command, and finds the version in what it prints: the last
// word of 32 hexadecimal digits, as in the id that az prints.
func (g *Given) rotate(ctx context.Context, vault, name, value string) (version string, err error) {
	out, err := g.run(ctx, g.Rotate, "VAULT="+vault, "NAME="+name, "VALUE="+value)
	if err != nil {
		return "", err
	}
	versions := versionForm.FindAllString(out, -1)
	if len(versions) == 0 {
		return "", fmt.Errorf("the command that rotates prints no version: %s", out)
	}
	return versions[len(versions)-1], nil
}

var versionForm = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

func (g *Given) run(ctx context.Context, command string, environment ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+g.Kubeconfig), environment...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// logs are the last lines of webhook and watcher.
func (*Given) logs(c *cluster.Cluster) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := c.Kubectl(ctx, "-n", "keyroll-system", "logs", "--prefix", "--tail=60", "-l", "app.kubernetes.io/name=keyroll")
	return errors.Join(errors.New(out), err).Error()
}
