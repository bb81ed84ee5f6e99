package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"keyroll.dev/e2e/internal/repo"
)

// TestTheStoriesOfRotationFromOutside leaves the demo running, as KEEP=1 does,
// and has make e2e-cluster tell the stories of rotation to its cluster, as to any.
func TestTheStoriesOfRotationFromOutside(t *testing.T) {
	if os.Getenv("KEYROLL_SOAK") == "" {
		t.Skip("takes minutes: make soak")
	}
	ctx, stop := context.WithCancel(t.Context())
	var out page
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, strings.NewReader(""), &out, true) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	environment, kubectl := out.exports(t, ended)

	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	stories := exec.CommandContext(ctx, "make", "-C", root, "e2e-cluster")
	stories.Env = append(os.Environ(), append(environment, "KEYROLL_SOAK=")...)
	told, err := stories.CombinedOutput()
	t.Logf("%s", told)
	if err != nil {
		t.Error(err)
	}

	left := exec.CommandContext(ctx, kubectl, "get", "namespaces", "-o",
		"go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{println}}{{end}}{{end}}")
	left.Env = stories.Env
	names, err := left.CombinedOutput()
	if err != nil || !strings.Contains(string(names), "shop") || strings.Contains(string(names), "e2e-") {
		t.Errorf("the namespaces that are left are not the demo's: %v\n%s", err, names)
	}
}

// page is output that is read while it is written.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

var (
	exported     = regexp.MustCompile(`(?m)^ *export (E2E_\w+)='(.*)'$`)
	toTheCluster = regexp.MustCompile(`(?m)^export KUBECONFIG=(\S+) PATH=(\S+):\$PATH$`)
)

// exports waits until the demo is left running, and answers the environment that
// it prints, and its kubectl.
func (p *page) exports(t *testing.T, ended <-chan error) (environment []string, kubectl string) {
	t.Helper()
	for !strings.Contains(p.String(), "Ctrl-C ends everything") {
		select {
		case err := <-ended:
			t.Fatalf("the demo has ended: %v\n%s", err, p.String())
		case <-time.After(time.Second):
		}
	}
	reach := toTheCluster.FindStringSubmatch(p.String())
	variables := exported.FindAllStringSubmatch(p.String(), -1)
	if reach == nil || len(variables) == 0 {
		t.Fatalf("the demo does not say how to reach it:\n%s", p.String())
	}
	environment = []string{"KUBECONFIG=" + reach[1], "PATH=" + reach[2] + ":" + os.Getenv("PATH")}
	for _, v := range variables {
		environment = append(environment, v[1]+"="+v[2])
	}
	return environment, filepath.Join(reach[2], "kubectl")
}
