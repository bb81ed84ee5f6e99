package stories

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/internal/annotation"
)

// notMounted has pods that wait for a class that does not exist, and for an object
// that the vault does not have, until people mend it.
func notMounted(t *testing.T, g generation) {
	s := raise(t, "hindered"+g.end)
	f := fleet{
		s.deployed("no-class", 1, map[string]string{annotation.SecretProviderClass: "late", annotation.ServiceAccount: account}, nil),
		s.deployed("no-object", 1, map[string]string{annotation.Objects: "db-password,late", annotation.ServiceAccount: account}, nil),
	}
	for i, why := range []string{"SecretProviderClass late does not exist", s.id("late") + " could not be read: SecretNotFound"} {
		f[i].toldThat(t, "SecretsNotMounted", why)
	}
	quiet(t)
	before := f.warnings(t)
	s.class("late", map[string]any{"provider": "azure", "parameters": s.parameters("array:\n" + s.object("db-username", ""))})
	s.rotate("late")
	f.settled(t, "mended")
	f.rolled(t, "no rollout", 0)
	if after := f.warnings(t); after != before {
		t.Errorf("Warnings after it was mended:%s\nbefore:%s", after, before)
	}
}

// warnings are those on the workloads, one a line.
func (f fleet) warnings(t *testing.T) string {
	t.Helper()
	text := ""
	for _, w := range f {
		events, err := w.eventsOn(t.Context(), w.kind, w.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Type == corev1.EventTypeWarning {
				text += fmt.Sprintf("\n  %s, %d times: %s: %s", w.name, max(e.Count, 1), e.Reason, e.Message)
			}
		}
	}
	return text
}
