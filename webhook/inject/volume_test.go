package inject

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/golden"
)

// The webhook plans anew for the same pod while it waits for its caches.
func TestAPlanLeavesItsPodAsItIs(t *testing.T) {
	raw := golden.Read(t, filepath.Join("testdata", "pod-copied-after-defaults-changed.in.yaml"))[0].JSON
	pod, err := decodePod(raw)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	in := Input{Pod: pod, Namespace: c.namespace, Accounts: c.account, Classes: c.class, Fallback: c.fallback}
	first, second := NewPlan(in).Patch(), NewPlan(in).Patch()
	if diff := cmp.Diff(first, second); diff != "" || len(first) == 0 {
		t.Errorf("%d operations, then others (-first +second):\n%s", len(first), diff)
	}
}
