package stories

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/internal/annotation"
)

// notMounted has pods that wait for a class that does not exist, for an object that
// the vault does not have, and for a class that names an identity which the vault does
// not know, until people mend it.
func notMounted(t *testing.T, g generation) {
	s := raise(t, "hindered"+g.end)
	s.classOf("theirs", "12345678-1234-1234-1234-123456789abc")
	f := fleet{
		s.deployed("no-class", 1, map[string]string{annotation.SecretProviderClass: "late", annotation.ServiceAccount: account}, nil),
		s.deployed("no-object", 1, map[string]string{annotation.Objects: "db-password,late", annotation.ServiceAccount: account}, nil),
		s.deployed("no-identity", 1, map[string]string{annotation.SecretProviderClass: "theirs", annotation.ServiceAccount: account}, nil),
	}
	for i, why := range []string{
		"SecretProviderClass late does not exist", s.id("late") + " could not be read: SecretNotFound",
		"SecretProviderClass theirs names another clientID than ServiceAccount " + account,
	} {
		f[i].toldThat(t, "SecretsNotMounted", why)
	}
	quiet(t)
	before := f.warnings(t)
	s.classOf("late", s.Identity.ClientID)
	s.rotate("late")
	s.classOf("theirs", s.Identity.ClientID)
	f.settled(t, "mended")
	f.rolled(t, "no rollout", 0)
	if after := f.warnings(t); after != before {
		t.Errorf("Warnings after it was mended:%s\nbefore:%s", after, before)
	}
}

// classOf writes a class over db-username that is read as this identity.
func (s *story) classOf(name, clientID string) {
	s.t.Helper()
	parameters := s.parameters("array:\n" + s.object("db-username", ""))
	parameters["clientID"] = clientID
	s.class(name, map[string]any{"provider": "azure", "parameters": parameters})
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
