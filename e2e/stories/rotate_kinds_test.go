package stories

import (
	"context"
	"fmt"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/annotation"
)

// kinds has workloads that are rolled beside workloads that must not be, each
// of which has an answer of its own.
func kinds(t *testing.T, g generation) {
	rolls := fleet{
		raise(t, "kind-set"+g.end).statefulSet(appName, 3, asksForFiles),
		raise(t, "kind-set-env"+g.end).statefulSet(appName, 2, asksForEnv()),
		raise(t, "kind-daemon"+g.end).daemonSet(appName, asksForEnv()),
	}
	rolls[1].env, rolls[2].env = bothInEnv, bothInEnv
	if shared.Modelled() { // nobody else can tell the watcher of another kind
		rolls = append(rolls, raise(t, "kind-rollout"+g.end).rollout(appName, 3, asksForEnv()))
		rolls[3].env = bothInEnv
	}

	never := maps.Clone(asksForFiles)
	never[annotation.Restart] = annotation.RestartIsNever
	paused := raise(t, "kind-paused"+g.end).deployed(appName, 2, asksForFiles, nil)
	zero := raise(t, "kind-zero"+g.end).deployed(appName, 2, asksForFiles, nil)
	byHand := raise(t, "kind-by-hand"+g.end).statefulSet(appName, 2, asksForFiles, func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	below := raise(t, "kind-below"+g.end).statefulSet(appName, 2, asksForFiles, func(s *appsv1.StatefulSet) {
		partition := int32(2)
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	asked := raise(t, "kind-never"+g.end).deployed(appName, 2, never, nil)
	stays := fleet{paused, zero, byHand, below, asked}

	bare := raise(t, "kind-bare"+g.end)
	bareUID := bare.createBare("lonely")

	all := append(append(fleet{}, rolls...), stays...)
	all.settled(t, "deployed")
	eventually(t, "the bare pod runs", func(context.Context) string { return bare.outdated(nil) })
	paused.kubectl("rollout", "pause", "deployment/"+appName, "--namespace="+paused.ns)
	zero.kubectl("scale", "deployment/"+appName, "--replicas=0", "--namespace="+zero.ns)
	paused.counted.Generation++
	zero.counted.Generation++
	all.rolled(t, "a deployment rolls nothing by itself", 0)

	all.rotate("db-password")
	bare.rotate("db-password")
	rolls.settled(t, "rotated")
	stays.holding(t, "db-password")
	all[:len(rolls)].rolled(t, "one rollout", 1)
	stays.rolled(t, "none", 0)
	for w, reason := range map[*target]string{paused: "Paused", byHand: "OnDelete", below: "BelowPartition", asked: "RestartNever"} {
		w.told(t, w.kind, w.name, reason)
	}
	bare.told(t, "Pod", "lonely", "NotRestartable")
	if pod, err := bare.Client().CoreV1().Pods(bare.ns).Get(t.Context(), "lonely", metav1.GetOptions{}); err != nil || string(pod.UID) != bareUID {
		t.Errorf("the bare pod is not the one that it was: %v", err)
	}

	t.Run("pods made again under their names", func(t *testing.T) {
		for _, w := range rolls[:2] {
			w.t = t
			w.kubectl("delete", "pod", w.name+"-0", "--namespace="+w.ns)
		}
		rolls.settled(t, "made again")
		rolls.rolled(t, "no rollout", 0)
	})
	t.Run("people make way", func(t *testing.T) {
		for _, w := range stays {
			w.t = t
		}
		paused.kubectl("rollout", "resume", "deployment/"+appName, "--namespace="+paused.ns)
		zero.kubectl("scale", "deployment/"+appName, "--replicas=2", "--namespace="+zero.ns)
		byHand.kubectl("delete", "pod", "--all", "--namespace="+byHand.ns)
		paused.counted.Generation++ // by those who resumed it
		zero.counted.Generation++
		fleet{paused, zero, byHand}.settled(t, "on the newest content")
		fleet{paused}.rolled(t, "one rollout once it is resumed", 1)
		fleet{zero, byHand}.rolled(t, "no rollout", 0)
	})
}

// createBare makes a pod that nobody owns and returns its UID.
func (s *story) createBare(name string) string {
	s.t.Helper()
	pod := s.pod(name)
	pod.Annotations = s.inVault(asksForFiles)
	made, err := s.Client().CoreV1().Pods(s.ns).Create(s.t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(fmt.Errorf("bare pod: %w", err))
	}
	return string(made.UID)
}
