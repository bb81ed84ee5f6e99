package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
)

// upToDate wants the Deployment web complete, on the newest content.
func (s *story) upToDate(ctx context.Context) string {
	if lacking := s.complete(ctx, appName); lacking != "" {
		return lacking
	}
	return s.run(deployment.pods, s.injected)(ctx)
}

// rollOnce rotates db-password and waits for the one rollout that follows. It
// returns the stamp.
func (s *story) rollOnce() string {
	s.t.Helper()
	before := s.rollouts(appName)
	s.rotate("db-password")
	eventually(s.t, "the rotation has rolled the Deployment", s.upToDate)
	s.wantRollouts("after a rotation", before.and(1))
	stamp := s.stamp()
	if stamp == "" {
		s.t.Error("the template has no stamp after a rotation")
	}
	return stamp
}

func (s *story) stamp() string {
	s.t.Helper()
	return deployment.annotationsOf(s.live(deployment))[annotation.Content]
}

func (s *story) wantStamp(when, want string) {
	s.t.Helper()
	if got := s.stamp(); got != want {
		s.t.Errorf("%s the stamp is %q, want %q", when, got, want)
	}
}

func (s *story) wantRollouts(when string, want rollouts) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.rollouts(appName)); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// newestCause is what kubectl rollout history says of the newest revision.
func (s *story) newestCause() string {
	s.t.Helper()
	lines := strings.Split(strings.TrimSpace(s.do(nil, "rollout", "history", "deployment/"+appName).out), "\n")
	_, cause, _ := strings.Cut(strings.TrimSpace(lines[len(lines)-1]), " ")
	return strings.TrimSpace(cause)
}

// TestInjectAppliedAgain applies the same manifest ten times, as people and
// pipelines do, before and after a rollout of the watcher's. Then the manifest
// changes.
func TestInjectAppliedAgain(t *testing.T) {
	for manner, apply := range map[string][]string{
		"client": {"apply", "-f", "-"},
		"server": {"apply", "--server-side", "-f", "-"},
	} {
		t.Run(manner, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, "applied-"+manner)
			manifest := deployment.object(asks, nil)
			again := func(times int, want rollouts) {
				t.Helper()
				for range times {
					s.do(manifest, apply...)
				}
				s.wantRollouts(fmt.Sprintf("after %d times the same manifest", times), want)
			}
			s.do(manifest, apply...)
			eventually(t, "injected pods run", s.upToDate)
			first := rollouts{Generation: 1, ReplicaSets: 1}
			again(5, first)
			s.wantTemplate(deployment, copied())

			stamp := s.rollOnce()
			again(5, first.and(1))
			s.wantStamp("after the same manifest", stamp)

			s.do(deployment.withImage(manifest, "shop/app:2"), apply...)
			eventually(t, "the new image runs", s.upToDate)
			s.wantRollouts("after a new image", first.and(2))
			s.wantStamp("after a new image", stamp)
			if cause := s.newestCause(); cause != "<none>" {
				t.Errorf("the new image's rollout is said to be caused by %q", cause)
			}

			manifest = deployment.object(nil, nil)
			s.do(deployment.withImage(manifest, "shop/app:2"), apply...)
			eventually(t, "plain pods run", s.run(deployment.pods, plain))
			s.wantRollouts("after the annotations left the manifest", first.and(3))
		})
	}
}

// TestInjectGitOps has a controller that heals itself: it applies its manifest
// every moment, by force, while the watcher rolls.
func TestInjectGitOps(t *testing.T) {
	t.Parallel()
	s := prepare(t, "gitops")
	manifest := deployment.object(asks, nil)
	body, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	resource, force := s.resource(deployment), true
	apply := func(ctx context.Context) error {
		_, err := resource.Patch(ctx, appName, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "gitops", Force: &force})
		return err
	}
	if err := apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "injected pods run", s.upToDate)

	ctx, stop := context.WithCancel(t.Context())
	healed := make(chan error, 1)
	go func() { healed <- heal(ctx, apply) }()
	stamp := s.rollOnce()
	quiet(t)
	stop()
	if err := <-healed; err != nil {
		t.Error(err)
	}
	s.wantRollouts("while the manifest was applied all the time", rollouts{Generation: 2, ReplicaSets: 2})
	s.wantStamp("while the manifest was applied all the time", stamp)
	s.wantTemplate(deployment, with(copied(), annotation.Content, stamp))
}

// heal applies several times a second until ctx ends.
func heal(ctx context.Context, apply func(context.Context) error) error {
	for {
		switch err := apply(ctx); {
		case ctx.Err() != nil:
			return nil
		case err != nil && !apierrors.IsConflict(err): // of many writers: its next turn comes soon
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(150 * time.Millisecond):
		}
	}
}

func with(m map[string]string, key, value string) map[string]string {
	m[key] = value
	return m
}

// replace is kubectl replace, which reads the version that it is to replace and
// does not try again when a controller has written another one meanwhile, as a
// Deployment's does of each pod that ends.
func (s *story) replace(manifest *unstructured.Unstructured) {
	s.t.Helper()
	eventually(s.t, "kubectl replaces the object", func(context.Context) string {
		p := s.try(manifest, "replace", "-f", "-")
		switch {
		case p.err == nil:
			return ""
		case !strings.Contains(p.errs, "(Conflict)"):
			s.t.Fatalf("kubectl replace: %v: %s", p.err, p.errs)
		}
		return p.errs
	})
}

// TestInjectReplace replaces the whole object by its manifest, as kubectl
// replace and helm upgrade --force do. The stamp is not in the manifest.
func TestInjectReplace(t *testing.T) {
	t.Parallel()
	s := prepare(t, "replaced")
	manifest := deployment.object(asks, nil)
	s.do(manifest, "create", "-f", "-")
	eventually(t, "injected pods run", s.upToDate)
	stamp := s.rollOnce()

	// A Deployment's generation also counts changes of its own annotations, such
	// as the loss of those that its controller writes.
	s.replace(manifest)
	rolled := rollouts{Generation: 3, ReplicaSets: 2}
	s.wantRollouts("after the same manifest", rolled)
	s.wantStamp("after the same manifest", stamp)

	manifest = deployment.withImage(manifest, "shop/app:2")
	s.replace(manifest)
	eventually(t, "the new image runs", s.upToDate)
	quiet(t)
	s.wantRollouts("after a new image", rolled.and(1))
	s.wantStamp("after a new image", "")
	if cause := s.newestCause(); cause != "<none>" {
		t.Errorf("the new image's rollout is said to be caused by %q", cause)
	}
	s.rollOnce()

	s.do(manifest, "replace", "--force", "--grace-period=1", "-f", "-")
	eventually(t, "the new object's pods run", s.upToDate)
	quiet(t)
	s.wantRollouts("after another object of the same name", rollouts{Generation: 1, ReplicaSets: 1})

	// The annotations that kubectl annotate put there are not in this manifest.
	s.replace(deployment.object(nil, nil))
	s.wantTemplate(deployment, nil)
	eventually(t, "plain pods run", s.run(deployment.pods, plain))
}

// TestInjectUndo goes back and forth over the revisions of a Deployment, which
// bring their own annotations along.
func TestInjectUndo(t *testing.T) {
	t.Parallel()
	s := prepare(t, "undone")
	undo := func(to ...string) { s.do(nil, append([]string{"rollout", "undo", "deployment/" + appName}, to...)...) }
	s.do(deployment.object(nil, nil), "apply", "-f", "-")
	eventually(t, "plain pods run", s.run(deployment.pods, plain))
	s.do(nil, annotate(deployment)...)
	eventually(t, "injected pods run", s.upToDate)

	undo()
	s.wantTemplate(deployment, nil)
	eventually(t, "plain pods run", s.run(deployment.pods, plain))
	s.wantRollouts("back to before the annotations", rollouts{Generation: 3, ReplicaSets: 2})
	undo()
	s.wantTemplate(deployment, copied())
	eventually(t, "injected pods run", s.upToDate)
	at := rollouts{Generation: 4, ReplicaSets: 2}
	s.wantRollouts("forth to the annotations", at)

	// A rotation cannot be undone: the vault has moved on. Only the Deployment's
	// own annotations go back, which its generation counts.
	stamp := s.rollOnce()
	undo()
	s.wantRollouts("after the rotation was undone", rollouts{Generation: at.Generation + 2, ReplicaSets: at.ReplicaSets + 1})
	s.wantStamp("after the rotation was undone", stamp)

	// A revision from before the rotation starts with what the vault has now.
	s.do(nil, "set", "image", "deployment/"+appName, "app=shop/app:2")
	eventually(t, "the new image runs", s.upToDate)
	s.rollOnce()
	undo("--to-revision=4") // injected, before both rotations
	eventually(t, "the old revision runs on the newest content", s.upToDate)
	quiet(t)
	s.wantRollouts("an old revision", rollouts{Generation: 9, ReplicaSets: 5})
}

// TestInjectUndoOfTheTemplate: kubectl rollout undo brings back the template
// alone for StatefulSets and DaemonSets; what the workload asks for stands.
func TestInjectUndoOfTheTemplate(t *testing.T) {
	for _, k := range []kind{statefulSet, daemonSet} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, "undone-"+strings.ToLower(k.name))
			s.do(k.object(nil, nil), "apply", "-f", "-")
			eventually(t, "plain pods run", s.run(k.pods, plain))
			s.do(nil, annotate(k)...)
			eventually(t, "injected pods run", s.run(k.pods, s.injected))
			s.do(nil, "rollout", "undo", k.name+"/"+appName)
			s.wantTemplate(k, copied())
			if got := s.live(k).GetGeneration(); got != 2 {
				t.Errorf("generation %d after the undo, want 2", got)
			}
		})
	}
}

// TestInjectMended annotates workloads in a namespace that is labelled only
// afterwards. Nobody applies them again.
func TestInjectMended(t *testing.T) {
	t.Parallel()
	s := prepare(t, "mended", func(n *corev1.Namespace) { delete(n.Labels, annotation.InjectionLabel) })
	s.do(deployment.object(asks, nil), "apply", "-f", "-")
	eventually(t, "plain pods run", s.run(deployment.pods, plain))
	s.do(nil, "label", "namespace", s.ns, annotation.InjectionLabel+"="+annotation.InjectionEnabled)
	eventually(t, "injected pods run", s.upToDate)
	s.wantTemplate(deployment, copied())
	s.wantRollouts("after the namespace was labelled", rollouts{Generation: 2, ReplicaSets: 2})
}

// TestInjectMissed annotates while no webhook answers: the workload is let in,
// and pods that ask are not.
func TestInjectMissed(t *testing.T) {
	s := prepare(t, "missed")
	s.do(deployment.object(nil, nil), "apply", "-f", "-")
	eventually(t, "plain pods run", s.run(deployment.pods, plain))
	if err := s.Webhook.Stop(); err != nil {
		t.Fatal(err)
	}
	restart := sync.OnceValue(func() error {
		ctx := context.WithoutCancel(t.Context()) // other stories need it, too
		var err error
		if shared.Webhook, err = s.Keyroll.StartWebhook(ctx); err != nil {
			return err
		}
		return shared.Webhook.WaitReady(ctx)
	})
	t.Cleanup(func() { _ = restart() }) // the story has told of the error
	s.do(nil, annotate(deployment)...)
	s.wantTemplate(deployment, nil)
	pod := s.pod("asks")
	pod.Annotations = asks
	if _, err := s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{}); err == nil {
		t.Error("a pod that asks was let in without a webhook")
	}
	if _, err := s.Client().CoreV1().Pods(s.ns).Create(t.Context(), s.pod("bystander"), metav1.CreateOptions{}); err != nil {
		t.Errorf("a pod that does not ask: %v", err)
	}

	if err := restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "injected pods run", s.upToDate)
	s.wantTemplate(deployment, copied())
	// The first new generation is kubectl annotate's own.
	s.wantRollouts("after the webhook was back", rollouts{Generation: 3, ReplicaSets: 2})
}
