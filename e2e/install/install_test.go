package install

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
)

var (
	shared    *cluster.Cluster
	installed *Installation
)

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{AuditPolicy: true}, func(ctx context.Context, c *cluster.Cluster) (err error) {
		shared = c
		if err := driver.InstallAlone(ctx, c.Admin()); err != nil {
			return err
		}
		installed, err = Apply(ctx, c, Options{})
		return err
	}))
}

func TestBothBinariesBecomeReadyUnderTheirRoles(t *testing.T) {
	ctx, since := t.Context(), time.Now()
	installed.ShowLogs(t)
	webhook, watcher, err := installed.StartReady(ctx)
	if err != nil {
		t.Fatal(err)
	}

	// The API server's answer shows that it reaches the webhook and trusts it.
	if err := shared.Namespace(ctx, "shop", map[string]string{"keyroll.dev/injection": "enabled"}); err != nil {
		t.Fatal(err)
	}
	tries := 0
	for ; ; tries++ { // its caches may not have the namespace yet
		_, err = shared.Kubectl(ctx, "-n", "shop", "run", "web", "--image=web", "--annotations=keyroll.dev/objects=db_password")
		if tries == 20 || err == nil || !strings.Contains(err.Error(), "is not known here yet") {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "denied the request") || !strings.Contains(err.Error(), "keyroll.dev/objects: ") {
		t.Errorf("a pod with a bad annotation: %v", err)
	}
	if calls, err := shared.WebhookCalls(ctx, "pods.keyroll.dev"); err != nil || calls != tries+1 {
		t.Errorf("calls of the webhook: %d, want %d (%v)", calls, tries+1, err)
	}

	for part, p := range map[string]*Process{"webhook": webhook, "watcher": watcher} {
		if m, err := p.Metrics(ctx); err != nil || len(m) == 0 {
			t.Errorf("metrics of the %s: %d (%v)", part, len(m), err)
		}
		if err := p.Stop(); err != nil || p.ExitCode() != 0 {
			t.Errorf("%s stopped with exit code %d (%v)", part, p.ExitCode(), err)
		}
		if err := p.Ready(ctx); err == nil {
			t.Errorf("%s is stopped and ready", part)
		}
		requests, err := shared.Requests(since)
		if err != nil {
			t.Fatal(err)
		}
		ours := requests.By(installed.User(part))
		if len(ours) == 0 {
			t.Errorf("nothing was asked as %s", installed.User(part))
		}
		for _, r := range ours.Where(func(r cluster.Request) bool { return r.Code == 403 }) {
			t.Errorf("%s may not %s %s (%s)", part, r.Verb, r.Resource, r.URI)
		}
	}
}

func TestAProcessThatCannotStartSaysWhy(t *testing.T) {
	p, err := installed.StartWatcher(t.Context(), "--no-such-flag")
	if err != nil {
		t.Fatal(err)
	}
	err = p.WaitReady(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Fatalf("error without the log: %v", err)
	}
}

func TestTheServiceAccountsAreThoseOfTheManifests(t *testing.T) {
	ctx := t.Context()
	for _, name := range []string{webhookName, watcherName} {
		config, err := shared.ServiceAccountConfig(ctx, installed.Namespace(), name)
		if err != nil {
			t.Fatal(err)
		}
		client := kubernetes.NewForConfigOrDie(config)
		if _, err := client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{}); name == webhookName && !apierrors.IsForbidden(err) {
			t.Errorf("%s lists Secrets of kube-system: %v", name, err)
		}
		if _, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s lists ClusterRoles: %v", name, err)
		}
	}
}

// Uninstall comes last: tests run in the order of the files and in the files.
func TestUninstallLeavesNothing(t *testing.T) {
	ctx := t.Context()
	running, err := installed.StartWatcher(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := installed.Uninstall(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-running.Done():
	default:
		t.Error("the watcher runs on")
	}
	out, err := shared.Kubectl(ctx, "get", "namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations", "-o", "name")
	if err != nil || strings.Contains(out, "keyroll") {
		t.Errorf("%v\n%s", err, out)
	}
}
