package inject

import (
	"fmt"
	"strings"
	"testing"
)

// Mounts and variables multiply: what comes of a small pod is bounded.
func TestAdditionsAreBounded(t *testing.T) {
	pod := func(containers, variables int) []byte {
		var list, env []string
		for i := range containers {
			list = append(list, fmt.Sprintf(`{"name":"c%d"}`, i))
		}
		for i := range variables {
			env = append(env, fmt.Sprintf("V%d=db-password", i))
		}
		return fmt.Appendf(nil, `{"metadata":{"annotations":{"keyroll.dev/objects":"db-password","keyroll.dev/env":%q}},"spec":{"serviceAccountName":"web","containers":[%s]}}`,
			strings.Join(env, ","), strings.Join(list, ","))
	}
	c := newCluster(t)
	if p := c.plan(t, pod(100, 99)); p.Reason != Injected {
		t.Errorf("%d additions: %s, %v", maxAdditions, p.Reason, p.Problems)
	}
	p := c.plan(t, pod(100, 100))
	if p.Reason != PodConflict || len(p.Problems) != 1 || len(p.Patch()) > 0 {
		t.Errorf("more than %d additions: %s, %v, %d operations", maxAdditions, p.Reason, p.Problems, len(p.Patch()))
	}
}
