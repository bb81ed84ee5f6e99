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

// Names that may be megabytes long, since nobody has looked at the pod before,
// are not repeated as often as there are problems.
func TestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	var unknown []string
	for i := range 100 {
		unknown = append(unknown, fmt.Sprintf("other%d", i))
	}
	pod := func(containers string) []byte {
		return fmt.Appendf(nil, `{"metadata":{"annotations":{"keyroll.dev/objects":"db-password","keyroll.dev/env":"A=db-password","keyroll.dev/containers":%q}},
			"spec":{"serviceAccountName":"web","containers":[{"name":%q,"env":[{"name":"A","value":"a"}],"volumeMounts":[{"name":%[2]q,"mountPath":"/mnt/secrets"}]},{"name":"app"}]}}`,
			containers, long)
	}
	c := newCluster(t)
	for _, containers := range []string{strings.Join(unknown, ","), strings.Join(unknown[1:], ",") + ",app"} {
		p := c.plan(t, pod(containers))
		size := len(p.Problems.Error())
		for _, w := range p.Warnings {
			size += len(w)
		}
		if size == 0 || size > 100_000 {
			t.Errorf("%d bytes of messages", size)
		}
	}
}
