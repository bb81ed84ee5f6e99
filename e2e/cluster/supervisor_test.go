package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lossVariable makes the test binary run a test that waits for ever in a cluster
// whose etcd is killed; its value is the folder of the logs.
const lossVariable = "KEYROLL_TEST_LOSS"

type waits struct{ of *Cluster }

func (w *waits) Run() int {
	w.of.killed(nameEtcd)
	select {}
}

func beLost(logs string) {
	tests := &waits{}
	os.Exit(Main(tests, Options{APIOnly: true, LogDir: logs}, func(_ context.Context, c *Cluster) error {
		tests.of = c
		return nil
	}))
}

// killed kills a component behind the cluster's back, and answers its pid.
func (c *Cluster) killed(name string) int {
	pid := c.process(name).Pid()
	_ = syscall.Kill(pid, syscall.SIGKILL) // a process that is not there is what is wanted
	return pid
}

func TestTestsEndWithTheCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run := exec.CommandContext(ctx, os.Args[0])
	run.Env = append(os.Environ(), lossVariable+"="+t.TempDir())
	out, err := run.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the tests ended by %v:\n%s", err, out)
	}
	for _, want := range []string{"lost with it: etcd ended by itself: signal: killed", "the tests end here"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("they do not say %q:\n%s", want, out)
		}
	}
}

func TestControllersAndSchedulerAreStartedAgain(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	for name := range startedAgain {
		before := shared.killed(name)
		eventually(t, name+" runs again", func() (bool, string) {
			now := shared.process(name).Pid()
			return now != before, fmt.Sprint(now)
		})
	}
	if _, err := shared.Client().AppsV1().Deployments(ns).Create(ctx, deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := shared.Kubectl(ctx, "-n", ns, "rollout", "status", "deployment/web", "--timeout=120s"); err != nil {
		t.Fatal(out, err)
	}
}

func TestAComponentThatDoesNotStartIsTold(t *testing.T) {
	var out strings.Builder
	_, err := Start(t.Context(), Options{Out: &out, ControllerManagerArgs: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "kube-controller-manager ended by itself") || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Fatalf("error: %v", err)
	}
}
