package stories

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/e2e/world"
	"keyroll.dev/internal/annotation"
)

// thereAndBack has a secret that gets the value that it had before. One workload
// fills a Secret and is never rolled; another takes from it, and mounts nothing.
func thereAndBack(t *testing.T, g generation) {
	s := raise(t, "back"+g.end)
	s.set("db-password", "A")
	s.create(s.deployment("feeder", 2, map[string]string{
		annotation.Objects: "db-password", annotation.ServiceAccount: account,
		annotation.Secret: "kept", annotation.Restart: annotation.RestartIsNever,
	}))
	feeder := s.target("Deployment", "feeder", nil)
	d := s.deployment("reader", 2, map[string]string{annotation.RestartOn: "secret/kept"})
	d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "DB_PASSWORD", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "kept"}, Key: "db-password"},
	}}}
	s.create(d)
	reader := s.target("Deployment", "reader", nil)
	f := fleet{reader}
	reads := func(value string) {
		t.Helper()
		eventually(t, "every reader started with "+value, func(ctx context.Context) string {
			if lacking := reader.unfinished(ctx); lacking != "" {
				return lacking
			}
			return s.everyContainer(func(c world.Container) string {
				if got, reader := c.Env["DB_PASSWORD"]; reader && got != value {
					return fmt.Sprintf("started with %q, want %q", got, value)
				}
				return ""
			})
		})
	}
	fills := func(value string) {
		t.Helper()
		fleet{feeder}.holding(t, "db-password")
		eventually(t, "the Secret holds "+value, func(ctx context.Context) string {
			got, err := s.Kubectl(ctx, "get", "secret", "kept", "--namespace="+s.ns, "-o", "go-template={{index .data \"db-password\" | base64decode}}")
			if err != nil || got != value {
				return fmt.Sprintf("%s %v", got, err)
			}
			return ""
		})
	}
	reads("A")
	f.rolled(t, "a deployment rolls nothing by itself", 0)
	s.set("db-password", "B")
	reads("B")
	f.rolledSoFar(t, "there", 1)
	s.set("db-password", "A")
	reads("A")
	f.rolled(t, "and back, each a rollout", 1)

	f.unmoved(t, "back before a rollout", func() {
		s.kubectl("rollout", "pause", "deployment/reader", "--namespace="+s.ns)
		s.set("db-password", "B")
		fills("B")
		s.set("db-password", "A")
		fills("A")
		s.kubectl("rollout", "resume", "deployment/reader", "--namespace="+s.ns)
		reader.counted.Generation += 2 // theirs
	})
	reads("A")
	fleet{feeder}.rolledSoFar(t, "it asks never to be rolled", 0)
}
