package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"keyroll.dev/e2e/internal/repo"
)

// argoRollouts are where Argo Rollouts has its workloads.
var argoRollouts = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}

// podTemplateHash tells the pods of one template, as Argo labels them.
const podTemplateHash = "rollouts-pod-template-hash"

// ownerKinds brings Argo's kind to the cluster, and has watchers look after it
// from now on, with the role and the flag that the chart renders for it.
func ownerKinds(t *testing.T) {
	t.Helper()
	needsModel(t, "give the watcher another flag")
	ctx, after := t.Context(), context.WithoutCancel(t.Context())
	crds, err := apiextensions.NewForConfig(shared.Admin())
	if err != nil {
		t.Fatal(err)
	}
	crd, err := argoKind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := crds.CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = crds.CustomResourceDefinitions().Delete(after, crd.Name, metav1.DeleteOptions{}) })
	eventually(t, "Rollouts are served", func(ctx context.Context) string {
		_, err := shared.Kubectl(ctx, "get", "rollouts."+argoRollouts.Group)
		return text(err)
	})

	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	variant, err := os.ReadFile(filepath.Join(root, "manifests", "testdata", "everything.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	undo, err := shared.Keyroll.OwnerKinds(ctx, variant)
	if err != nil {
		t.Fatal(err)
	}
	again := func(ctx context.Context) {
		if err := shared.StopWatcher(ctx); err != nil {
			t.Fatal(err)
		}
		if err := shared.StartWatcher(ctx); err != nil {
			t.Fatal(err)
		}
	}
	again(ctx)
	t.Cleanup(func() {
		if err := undo(after); err != nil {
			t.Error(err)
		}
		again(after)
	})
}

// rollout makes a Rollout, and plays the controller that runs its pods until the test ends.
func (s *story) rollout(name string, replicas int32, annotations map[string]string) *target {
	s.t.Helper()
	d := s.deployment(name, replicas, nil)
	d.Spec.Template.Annotations = s.inVault(annotations)
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d.Spec)
	if err != nil {
		s.t.Fatal(err)
	}
	spec["strategy"] = map[string]any{"canary": map[string]any{}} // all that one may leave out of it
	client, err := dynamic.NewForConfig(s.Admin())
	if err != nil {
		s.t.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": argoRollouts.GroupVersion().String(), "kind": "Rollout",
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
	rollouts := client.Resource(argoRollouts).Namespace(s.ns)
	if _, err := rollouts.Create(s.t.Context(), object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
		s.t.Fatal(err)
	}
	c := rolloutController{story: s, rollouts: rollouts}
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(ctx, name)
	}()
	s.t.Cleanup(func() {
		stop()
		<-ended
	})
	w := s.target("Rollout", name, nil)
	w.rolloutsOf = rollouts
	return w
}

// rolloutController does for the one Rollout of a story what Argo's controller
// does: one ReplicaSet for each template, the newest scaled up, then the others down.
type rolloutController struct {
	*story
	rollouts dynamic.ResourceInterface
}

func (c rolloutController) run(ctx context.Context, name string) {
	for {
		_ = c.sync(ctx, name) // what failed is tried again at the next turn
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c rolloutController) sync(ctx context.Context, name string) error {
	object, err := c.rollouts.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	var spec appsv1.DeploymentSpec
	found, _, err := unstructured.NestedMap(object.Object, "spec")
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found, &spec); err != nil {
		return err
	}
	newest, err := c.replicaSet(ctx, object, spec)
	if err != nil {
		return err
	}
	status := map[string]any{
		"observedGeneration": fmt.Sprint(object.GetGeneration()), // Argo writes it as text
		"currentPodHash":     newest.Labels[podTemplateHash],
		"replicas":           int64(newest.Status.Replicas), "updatedReplicas": int64(newest.Status.Replicas),
		"availableReplicas": int64(newest.Status.AvailableReplicas),
	}
	if newest.Status.AvailableReplicas == *spec.Replicas {
		if err := c.scaleDownOthers(ctx, newest); err != nil {
			return err
		}
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = c.rollouts.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict}, "status")
	return err
}

// replicaSet is the one for the newest template, made if there is none.
func (c rolloutController) replicaSet(ctx context.Context, owner *unstructured.Unstructured, spec appsv1.DeploymentSpec) (*appsv1.ReplicaSet, error) {
	text, err := json.Marshal(spec.Template)
	if err != nil {
		return nil, err
	}
	sum := fnv.New32a()
	_, _ = sum.Write(text)
	hash := fmt.Sprintf("%08x", sum.Sum32())
	sets := c.Client().AppsV1().ReplicaSets(c.ns)
	set, err := sets.Get(ctx, owner.GetName()+"-"+hash, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return set, err
	}
	labels := map[string]string{podTemplateHash: hash}
	for k, v := range spec.Selector.MatchLabels {
		labels[k] = v
	}
	template := *spec.Template.DeepCopy()
	template.Labels = labels
	return sets.Create(ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: owner.GetName() + "-" + hash, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, argoRollouts.GroupVersion().WithKind("Rollout"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: spec.Replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}, metav1.CreateOptions{})
}

func (c rolloutController) scaleDownOthers(ctx context.Context, newest *appsv1.ReplicaSet) error {
	sets := c.Client().AppsV1().ReplicaSets(c.ns)
	list, err := sets.List(ctx, metav1.ListOptions{LabelSelector: podTemplateHash})
	if err != nil {
		return err
	}
	for i := range list.Items {
		set := &list.Items[i]
		if set.UID == newest.UID || *set.Spec.Replicas == 0 {
			continue
		}
		set.Spec.Replicas = ptr.To[int32](0)
		if _, err := sets.Update(ctx, set, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}
