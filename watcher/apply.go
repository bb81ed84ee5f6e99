package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"keyroll.dev/internal/annotation"
)

// applier writes to workloads. Both of its patches name the UID and the
// resourceVersion that were decided upon, so that the API server refuses them
// with a conflict when the workload has changed since, or is another one.
type applier struct {
	client    metadata.Interface
	resources map[schema.GroupKind]schema.GroupVersionResource
}

// merge is a JSON merge patch of a workload.
type merge struct {
	Metadata mergeMetadata `json:"metadata"`
	Spec     *mergeSpec    `json:"spec,omitempty"`
}

type mergeMetadata struct {
	UID             types.UID         `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

type mergeSpec struct {
	Template struct {
		Metadata mergeMetadata `json:"metadata"`
	} `json:"template"`
}

// errStripped is a patch that was accepted and left the spec as it was.
var errStripped = errors.New("something takes " + annotation.Content + " off the pod template again: a mutating policy or webhook")

// roll stamps the pod template, which makes the workload's controller replace
// its pods, and notes the cause for kubectl rollout history. No new generation
// means no new spec. (A Deployment's goes up for the cause as well; that such a
// patch was for nothing is told by the next one, whose cause is there already.)
func (a *applier) roll(ctx context.Context, w *workload, stamp, cause string) (*metav1.PartialObjectMetadata, error) {
	patch := guarded(w)
	if w.cause == nil || strings.HasPrefix(*w.cause, annotation.CausePrefix) {
		patch.Metadata.Annotations = map[string]string{annotation.ChangeCause: cause}
	}
	patch.Spec = &mergeSpec{}
	patch.Spec.Template.Metadata.Annotations = map[string]string{annotation.Content: stamp}
	patched, err := a.patch(ctx, w, patch, fieldManager)
	if err == nil && patched.Generation <= w.Generation {
		err = errStripped
	}
	return patched, err
}

// resubmit changes nothing, and so has the webhook look at the workload again.
func (a *applier) resubmit(ctx context.Context, w *workload) (*metav1.PartialObjectMetadata, error) {
	return a.patch(ctx, w, guarded(w), mendManager)
}

// templateWriter answers who of all others wrote into a pod template last, "" where
// nothing tells. Taking away what others wrote counts for nothing here.
func templateWriter(entries []metav1.ManagedFieldsEntry) string {
	var last metav1.ManagedFieldsEntry
	for _, e := range entries {
		ours := e.Manager == fieldManager || e.Manager == mendManager
		wrote := e.Subresource == "" && strings.Contains(e.FieldsV1.GetRawString(), `"f:template"`)
		if !ours && wrote && !e.Time.Before(last.Time) {
			last = e
		}
	}
	return last.Manager
}

func guarded(w *workload) merge {
	return merge{Metadata: mergeMetadata{UID: w.UID, ResourceVersion: w.ResourceVersion}}
}

func (a *applier) patch(ctx context.Context, w *workload, patch merge, manager string) (*metav1.PartialObjectMetadata, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	return a.client.Resource(a.resources[w.kind.GroupKind()]).Namespace(w.Namespace).
		Patch(ctx, w.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: manager})
}
