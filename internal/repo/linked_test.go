package repo

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The clientset, each typed client and the discovery client of client-go register
// every kind of Kubernetes when a program starts, which costs 7 MiB.
func TestTheWatcherLinksNoClientset(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/watcher")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, "k8s.io/client-go/rest") {
		t.Fatal("the watcher links no client at all")
	}
	if slices.Contains(linked, "k8s.io/client-go/kubernetes/scheme") {
		t.Error("the watcher links k8s.io/client-go/kubernetes/scheme; keyroll.dev/internal/kube does without")
	}
}
