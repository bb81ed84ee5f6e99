package dependency

import (
	"testing"

	"keyroll.dev/internal/annotation"
)

func TestAccountName(t *testing.T) {
	const conflict = `keyroll.dev/service-account: "own": is not the pod's serviceAccountName "pod"; remove one of the two`
	cases := map[string]struct {
		own, namespace, pod string
		want                string
		problem             string
	}{
		"nobody says anything":                           {want: "default"},
		"the pod's default":                              {pod: "default", want: "default"},
		"the pod's own":                                  {pod: "pod", want: "pod"},
		"the namespace's, where the pod says nothing":    {namespace: "ns", want: "ns"},
		"the namespace's, where the pod says default":    {namespace: "ns", pod: "default", want: "ns"},
		"the pod's, before the namespace's":              {namespace: "ns", pod: "pod", want: "pod"},
		"the workload's, before the namespace's":         {own: "own", namespace: "ns", want: "own"},
		"the workload's, where the pod says default":     {own: "own", pod: "default", want: "own"},
		"the workload's, where the pod says the same":    {own: "own", pod: "own", want: "own"},
		"the workload's, where the pod says another one": {own: "own", pod: "pod", want: "pod", problem: conflict},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, problems := AccountName(annotation.Settings{ServiceAccount: tc.own}, annotation.Defaults{ServiceAccount: tc.namespace}, tc.pod)
			if got != tc.want {
				t.Errorf("runs as %q, want %q", got, tc.want)
			}
			problem := ""
			if err := problems.Err(); err != nil {
				problem = err.Error()
			}
			if problem != tc.problem {
				t.Errorf("problem %q, want %q", problem, tc.problem)
			}
		})
	}
}

func TestNamespaceEnabled(t *testing.T) {
	for value, want := range map[string]bool{"enabled": true, "": false, "true": false, "Enabled": false} {
		n := Namespace{Labels: map[string]string{annotation.InjectionLabel: value}}
		if got := n.Enabled(); got != want {
			t.Errorf("label %q: enabled is %v, want %v", value, got, want)
		}
	}
	if (Namespace{}).Enabled() {
		t.Error("a namespace without labels is enabled")
	}
}
