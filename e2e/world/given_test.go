package world

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestGivenBy(t *testing.T) {
	valid := map[string]string{
		"KUBECONFIG": "/home/me/config", "E2E_ROTATE": "rotate", "E2E_VAULT": "kv", "E2E_TENANT_ID": "t", "E2E_CLIENT_ID": "c",
	}
	for name, c := range map[string]struct {
		change    func(map[string]string)
		wantPoll  time.Duration
		wantError []string
		wantNone  bool
	}{
		"what is needed, and defaults for the rest":    {change: func(map[string]string) {}, wantPoll: 2 * time.Minute},
		"a driver that polls at another interval":      {change: func(e map[string]string) { e["E2E_POLL"] = "30s" }, wantPoll: 30 * time.Second},
		"without a command that rotates none is given": {change: func(e map[string]string) { delete(e, "E2E_ROTATE") }, wantNone: true},
		"everything that lacks is told at once": {
			change:    func(e map[string]string) { delete(e, "E2E_VAULT"); delete(e, "KUBECONFIG"); e["E2E_POLL"] = "soon" },
			wantError: []string{"E2E_VAULT", "KUBECONFIG", "E2E_POLL=soon"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			environment := map[string]string{}
			for k, v := range valid {
				environment[k] = v
			}
			c.change(environment)
			g, err := GivenBy(func(name string) string { return environment[name] })
			for _, want := range c.wantError {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v does not name %s", err, want)
				}
			}
			switch {
			case len(c.wantError) > 0:
			case err != nil:
				t.Error(err)
			case (g == nil) != c.wantNone:
				t.Errorf("given: %+v", g)
			case g != nil && g.Poll != c.wantPoll:
				t.Errorf("polls every %s, want %s", g.Poll, c.wantPoll)
			}
		})
	}
}

func TestTheCommandThatRotates(t *testing.T) {
	const version = "0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct{ command, wantVersion, wantError string }{
		"prints the version alone": {`echo ` + version, version, ""},
		"prints what az prints": {
			`printf '{"id": "https://%s.vault.azure.net/secrets/%s/` + version + `", "value": "%s"}' "$VAULT" "$NAME" "$VALUE"`, version, "",
		},
		"is told vault, name and value": {`test "$VAULT/$NAME=$VALUE" = "kv/db-password=it's new" && echo ` + version, version, ""},
		"prints no version":             {`echo done`, "", "prints no version"},
		"fails":                         {`echo no permission >&2; exit 3`, "", "exit status 3: no permission"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Given{Rotate: c.command}
			got, err := g.rotate(t.Context(), "kv", "db-password", "it's new")
			if got != c.wantVersion {
				t.Errorf("version %q, want %q", got, c.wantVersion)
			}
			if (err == nil) != (c.wantError == "") || err != nil && !strings.Contains(err.Error(), c.wantError) {
				t.Errorf("error %v, want %q", err, c.wantError)
			}
		})
	}
}

// TestWhatAContainerTookFromASecret has containers that started before and after
// a Secret was given another value.
func TestWhatAContainerTookFromASecret(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	s := &sightings{seen: map[string][]sighting{}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Data: map[string][]byte{"password": []byte("old")}}
	s.note(secret, time.Time{})
	secret.Data["password"] = []byte("new")
	s.note(secret, noon.Add(300*time.Millisecond))
	s.note(secret, noon.Add(time.Minute)) // made again with equal data
	secret.Data["password"] = []byte("old")
	s.note(secret, noon.Add(time.Hour))

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "db"}, Key: "password"},
	}}}}}
	for name, c := range map[string]struct {
		startedAt time.Time
		want      string
	}{
		"started before":                {noon.Add(-time.Second), "old"},
		"started in the same second":    {noon, "new"},
		"started after":                 {noon.Add(time.Second), "new"},
		"started after it had returned": {noon.Add(2 * time.Hour), "old"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.environment(pod, "app", c.startedAt)
			if diff := cmp.Diff(map[string]string{"PASSWORD": c.want}, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSinceWhenAMountHasItsContent(t *testing.T) {
	changed := metav1.NewTime(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		generation int64
		manager    string
		want       time.Time
	}{
		"never changed":                   {1, "csi-secrets-store", time.Time{}},
		"changed by the driver":           {2, "csi-secrets-store", changed.Time},
		"labelled by somebody, no change": {1, "kubectl", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := mountOf(statusFor(c.generation, c.manager, changed))
			if err != nil {
				t.Fatal(err)
			}
			if !m.changed.Equal(c.want) {
				t.Errorf("changed at %s, want %s", m.changed, c.want)
			}
			if got := m.status.Objects[0].Version; got != "v2" {
				t.Errorf("version %q", got)
			}
		})
	}
}

func statusFor(generation int64, manager string, at metav1.Time) unstructured.Unstructured {
	return unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{
			"name": "web-0-shop-db", "generation": generation,
			"managedFields": []any{map[string]any{"manager": manager, "operation": "Update", "time": at.UTC().Format(time.RFC3339)}},
		},
		"status": map[string]any{"objects": []any{map[string]any{"id": "secret/db-password", "version": "v2"}}},
	}}
}
