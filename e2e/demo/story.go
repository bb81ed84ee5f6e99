package main

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/e2e/vault"
)

const (
	namespace = "shop"
	vaultName = "shop-kv"
	tenantID  = "11111111-2222-3333-4444-555555555555"
	clientID  = "99999999-8888-7777-6666-555555555555"
	replicas  = 3
)

// tell plays the story: each step prints, acts, and checks what came of it.
func tell(ctx context.Context, s *stage) error {
	for _, step := range []func(context.Context, *stage) error{prepare, label, annotate, showPod, rotate, history, settled} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	s.say("Done: one label, one annotation, one rotation, one rollout")
	return nil
}

// prepare makes what a user has before Keyroll: a vault, an identity, an application.
func prepare(ctx context.Context, s *stage) error {
	s.say("A user's namespace, a ServiceAccount with a managed identity, and a Deployment of %d replicas", replicas)
	s.rotate("db-username")
	s.rotate("db-password")
	s.world.Vault.Allow(vault.Identity{
		TenantID: tenantID, ClientID: clientID,
		Subjects: []string{vault.Subject(namespace, "web")}, Vaults: []string{vaultName},
	})
	return s.commands(ctx,
		"create namespace "+namespace,
		"-n "+namespace+" create serviceaccount web",
		"-n "+namespace+" annotate serviceaccount web azure.workload.identity/client-id="+clientID+" azure.workload.identity/tenant-id="+tenantID,
		fmt.Sprintf("-n %s create deployment web --image=shop/web:1 --replicas=%d", namespace, replicas),
		"-n "+namespace+" rollout status deployment web --timeout=90s",
	)
}

func label(ctx context.Context, s *stage) error {
	s.say("Label the namespace, name the vault")
	if err := s.commands(ctx,
		"label namespace "+namespace+" keyroll.dev/injection=enabled",
		"annotate namespace "+namespace+" keyroll.dev/vault="+vaultName,
	); err != nil {
		return err
	}
	pod := corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop/web:1"}}}
	return s.wait(ctx, "the webhook has heard of it", func() string {
		return s.world.Unheard(ctx, namespace, pod, "web", clientID)
	})
}

func annotate(ctx context.Context, s *stage) error {
	s.say("Annotate the Deployment: files and an environment variable")
	return s.commands(ctx,
		"-n "+namespace+" annotate deployment web keyroll.dev/objects=db-username,db-password keyroll.dev/service-account=web keyroll.dev/env=DB_PASSWORD=db-password",
		"-n "+namespace+" rollout status deployment web --timeout=90s",
	)
}

// showPod prints what the webhook added to a pod.
func showPod(ctx context.Context, s *stage) error {
	s.say("What a pod got")
	pods, err := s.world.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web,keyroll.dev/injected=true"})
	if err != nil {
		return err
	}
	if len(pods.Items) == 0 {
		return fmt.Errorf("no pod of Deployment web is injected")
	}
	name := "pod/" + pods.Items[0].Name
	for _, show := range []struct{ what, path string }{
		{"identity label", `{.metadata.labels.azure\.workload\.identity/use}`},
		{"ServiceAccount", `{.spec.serviceAccountName}`},
		{"volume", `{.spec.volumes[?(@.csi)]}`},
		{"mount", `{.spec.containers[0].volumeMounts[?(@.mountPath=="/mnt/secrets")]}`},
		{"environment", `{.spec.containers[0].env}`},
		{"record", `{.metadata.annotations.keyroll\.dev/dependencies}`},
	} {
		out, err := s.kubectl(ctx, "-n", namespace, "get", name, "-o", "jsonpath="+show.path)
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "" {
			return fmt.Errorf("%s has no %s", name, show.what)
		}
	}
	return nil
}

// rotate sets a new version and waits until the driver has seen it.
func rotate(ctx context.Context, s *stage) error {
	version := s.rotate("db-password")
	s.say("db-password rotates in the vault: version %s. The driver writes it into its status of each pod:", short(version))
	if err := s.wait(ctx, "the driver has seen the new version", func() string {
		out, err := s.world.Kubectl(ctx, "-n", namespace, "get", "secretproviderclasspodstatuses", "-o", "jsonpath={.items[*].status.objects}")
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(out, version) {
			return "no status holds " + version
		}
		return ""
	}); err != nil {
		return err
	}
	_, err := s.kubectl(ctx, "-n", namespace, "get", "secretproviderclasspodstatuses", "-o",
		`jsonpath={range .items[*]}{.status.podName}{"  "}{.status.objects[?(@.id=="secret/db-password")].version}{"\n"}{end}`)
	return err
}

// history waits for the rollout and shows how it is told.
func history(ctx context.Context, s *stage) error {
	s.say("The watcher rolls the Deployment, once")
	const cause = "keyroll: secret/db-password changed"
	if err := s.wait(ctx, "the rollout has begun", func() string {
		out, err := s.world.Kubectl(ctx, "-n", namespace, "rollout", "history", "deployment", "web")
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(out, cause) {
			return "its history has no " + cause
		}
		return ""
	}); err != nil {
		return err
	}
	return s.commands(ctx,
		"-n "+namespace+" rollout status deployment web --timeout=90s",
		"-n "+namespace+" rollout history deployment web",
		"-n "+namespace+" events --for deployment/web",
	)
}

// settled checks the truth: what each running container started with, and how
// many rollouts there were.
func settled(ctx context.Context, s *stage) error {
	s.say("What the driver delivered to each running container at its start")
	newest, _ := s.world.Vault.Newest(vaultName, vault.Secret, "db-password")
	lacking := func() string {
		holdings := s.world.Driver.Current(namespace)
		if len(holdings) != replicas {
			return fmt.Sprintf("%d containers run, not %d", len(holdings), replicas)
		}
		for _, h := range holdings {
			if h.Start.Versions()[newest.ID()] != newest.Version || h.Env["DB_PASSWORD"] != newest.Value {
				return "container of " + h.Pod + " started on old content"
			}
		}
		return ""
	}
	if err := s.wait(ctx, "every container started on the new version", lacking); err != nil {
		return err
	}
	for _, h := range s.world.Driver.Current(namespace) {
		s.printf("      %s  file db-password %s  $DB_PASSWORD is the newest: %t\n",
			h.Pod, short(h.Start.Versions()[newest.ID()]), h.Env["DB_PASSWORD"] == newest.Value)
	}
	d, err := s.world.Client().AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	// Created, annotated, rotated.
	if want := int64(3); d.Generation != want {
		return fmt.Errorf("the Deployment's generation is %d, want %d: a rotation is one rollout", d.Generation, want)
	}
	return nil
}
