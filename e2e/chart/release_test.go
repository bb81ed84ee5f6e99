package chart

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/e2e/install"
)

const configuration = "akv-keyroll"

// release is Keyroll as Helm installs it, with processes in place of its pods.
type release struct {
	t                *testing.T
	keyroll          *install.Installation
	webhook, watcher *install.Process
}

// A release is installed, upgraded, led through its modes and removed, while pods
// that ask for secrets are created. From the moment that it is installed none of
// them fails.
func TestReleaseFromInstallToUninstall(t *testing.T) {
	openShop(t)
	ensureNamespace(t)
	keyroll, err := install.New(t.Context(), shared, install.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keyroll.ShowLogs(t)
	r := &release{t: t, keyroll: keyroll}

	r.helm("install", "keyroll", chartFolder(t), "--wait")
	r.roll()
	r.wantInjected(true)
	pods := beginAdmissions(t)

	r.step("upgrade", func() {
		before := bundle(t)
		r.upgrade("--set=logLevel=debug")
		if !bytes.Equal(before, bundle(t)) {
			t.Error("the upgrade changed the caBundle")
		}
	})
	r.step("without the Secret trigger", func() {
		r.upgrade("--set=watcher.secretTrigger=false")
		if r.watcherListsSecrets() {
			t.Error("the watcher still lists Secrets")
		}
	})
	r.step("with the Secret trigger again", func() {
		r.upgrade()
		if !r.watcherListsSecrets() {
			t.Error("the watcher does not list Secrets")
		}
	})
	r.step("to cert-manager", r.changeToCertManager)
	r.step("renewed by cert-manager", r.renewByCertManager)
	r.step("back to an authority of its own", func() {
		issued := r.served()
		r.upgrade()
		if bytes.Equal(r.served(), issued) {
			t.Error("the certificate is still cert-manager's")
		}
		if _, err := shared.Kubectl(t.Context(), "-n", namespace, "get", "certificates", "keyroll-webhook-tls"); err == nil {
			t.Error("the Certificate is still there")
		}
	})
	r.step("uninstall", r.uninstall)
	r.wantInjected(false)
	if count := pods.end(); count == 0 {
		t.Error("no pod was created")
	} else {
		t.Logf("%d pods were admitted meanwhile", count)
	}
	wantNothingLeft(t)
}

func (r *release) step(name string, f func()) {
	r.t.Helper()
	started := time.Now()
	f()
	if r.t.Failed() {
		r.t.Fatalf("failed in step: %s", name)
	}
	r.t.Logf("%s: %s", name, time.Since(started).Round(100*time.Millisecond))
}

func (r *release) helm(args ...string) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	args = append(args, "--namespace="+namespace)
	if args[0] != "uninstall" {
		args = append(args, "--post-renderer="+self)
	}
	if _, err := helm(r.t, []string{postRender + "=" + r.keyroll.WebhookAddress()}, args...); err != nil {
		r.t.Fatal(err)
	}
}

// upgrade gives the release other values: the chart's and those named.
func (r *release) upgrade(values ...string) {
	r.t.Helper()
	r.helmUpgrade(values...)
	r.roll()
}

func (r *release) helmUpgrade(values ...string) {
	r.t.Helper()
	r.helm(append([]string{"upgrade", "keyroll", chartFolder(r.t), "--reset-values", "--wait"}, values...)...)
}

// roll replaces the processes as the Deployments' pods are replaced: a new one is
// there before the old one is told to end.
func (r *release) roll() {
	r.t.Helper()
	ctx := r.t.Context()
	if err := r.keyroll.Adopt(ctx, namespace); err != nil {
		r.t.Fatal(err)
	}
	oldWebhook, oldWatcher := r.webhook, r.watcher
	var err error
	if r.webhook, r.watcher, err = r.keyroll.StartReady(ctx); err != nil {
		r.t.Fatal(err)
	}
	for _, old := range []*install.Process{oldWebhook, oldWatcher} {
		if old == nil {
			continue
		}
		if err := old.Stop(); err != nil || old.ExitCode() != 0 {
			r.t.Errorf("%s ended with exit code %d (%v)", old.Name(), old.ExitCode(), err)
		}
	}
}

// changeToCertManager: the replicas of the old mode serve until cert-manager has
// done its part and those of the new mode are ready.
func (r *release) changeToCertManager() {
	manager := newCertManager(r.t)
	r.helmUpgrade("--set=certificates.mode=cert-manager")
	manager.issue("keyroll-webhook-issuer")
	leaf := manager.issue("keyroll-webhook-tls")
	manager.inject(configuration)
	r.roll()
	if !bytes.Equal(r.served(), der(leaf)) {
		r.t.Error("what is served is not what cert-manager has issued")
	}
}

func (r *release) renewByCertManager() {
	manager := newCertManager(r.t)
	renewed := manager.issue("keyroll-webhook-tls")
	r.waitServed(renewed)

	// Another authority: its certificate is held back until it is trusted.
	manager.issue("keyroll-webhook-issuer")
	rotated := manager.issue("keyroll-webhook-tls")
	const longEnoughToMistake = time.Second
	time.Sleep(longEnoughToMistake)
	if !bytes.Equal(r.served(), der(renewed)) {
		r.t.Error("a certificate is served that the API server does not trust")
	}
	manager.inject(configuration)
	r.waitServed(rotated)
}

// uninstall has our processes killed as soon as their Deployments are gone: a
// kubelet would be no quicker.
func (r *release) uninstall() {
	ctx, stop := context.WithCancel(r.t.Context())
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for ctx.Err() == nil {
			_, err := shared.Client().AppsV1().Deployments(namespace).Get(ctx, "keyroll-webhook", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				r.webhook.Kill()
				r.watcher.Kill()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	r.helm("uninstall", "keyroll")
	select {
	case <-killed:
	case <-time.After(time.Minute):
		r.t.Error("the Deployment of the webhook is still there")
	}
	stop()
	<-killed
}

func (r *release) wantInjected(want bool) {
	r.t.Helper()
	if injected, err := admit(r.t.Context()); err != nil || injected != want {
		r.t.Fatalf("a pod that asks for secrets is injected: %t, want %t (%v)", injected, want, err)
	}
}

func (r *release) watcherListsSecrets() bool {
	r.t.Helper()
	config, err := shared.ServiceAccountConfig(r.t.Context(), namespace, "keyroll-watcher")
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = kubernetes.NewForConfigOrDie(config).CoreV1().Secrets(shop).List(r.t.Context(), metav1.ListOptions{})
	if err != nil && !apierrors.IsForbidden(err) {
		r.t.Fatal(err)
	}
	return err == nil
}

// served is the certificate that the webhook presents, in DER.
func (r *release) served() []byte {
	r.t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it is looked at, not trusted
	conn, err := dialer.DialContext(r.t.Context(), "tcp", r.keyroll.WebhookAddress())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
}

func (r *release) waitServed(leaf []byte) {
	r.t.Helper()
	const patience, poll = time.Minute, 50 * time.Millisecond
	for end := time.Now().Add(patience); !bytes.Equal(r.served(), der(leaf)); time.Sleep(poll) {
		if time.Now().After(end) {
			r.t.Fatalf("the certificate is not served that was issued: %v", r.webhook.Ready(r.t.Context()))
		}
	}
}

func der(chain []byte) []byte {
	leaf, _ := pem.Decode(chain)
	return leaf.Bytes
}

// bundle is what the first entry of the configuration trusts; all have the same.
func bundle(t *testing.T) []byte {
	t.Helper()
	found, err := shared.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), configuration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Webhooks[0].ClientConfig.CABundle
}

// wantNothingLeft: but for what the processes themselves have made, which
// docs/install.md tells of.
func wantNothingLeft(t *testing.T) {
	t.Helper()
	global := kubectl(t, "get", "clusterroles,clusterrolebindings,mutatingwebhookconfigurations", "-o", "name")
	local := kubectl(t, "-n", namespace, "get", "deployments,services,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,issuers,certificates", "-o", "name")
	if strings.Contains(global+local, "keyroll") {
		t.Errorf("left:\n%s%s", global, local)
	}
}
