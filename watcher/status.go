package watcher

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/kube"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/rollout"
)

// status is the view of a SecretProviderClassPodStatus.
type status struct {
	object

	pod      string // its name
	class    string
	owner    types.UID
	target   types.UID
	changed  time.Time
	versions *versions
}

// versions are those of a mount's objects, by id. Shared by mounts that hold the
// same, and with rollout states: never changed.
type versions map[string]string

// slimStatus views a status as a part of what else was reported.
func (r *reported) slimStatus(s *secretsstore.SecretProviderClassPodStatus) *status {
	slim := &status{
		object:   objectOf(&s.ObjectMeta),
		pod:      s.Status.PodName,
		class:    shared(s.Status.SecretProviderClassName),
		target:   targetOf(s.Status.TargetPath),
		changed:  writtenBy(s.ManagedFields, secretsstore.FieldManager),
		versions: r.share(s.Status.Objects),
	}
	for _, ref := range s.OwnerReferences {
		if ref.Kind == "Pod" {
			slim.owner = shared(ref.UID)
		}
	}
	return slim
}

// reported are the versions that statuses hold, each set once: the mounts of a
// class mostly report the same. Safe for concurrent use.
type reported struct {
	mu  sync.Mutex
	all map[string]*versions
}

// maxReported bounds what is remembered to be shared. Not to share is no harm,
// growing for ever is.
const maxReported = 4096

func (r *reported) share(objects []secretsstore.SecretProviderClassObject) *versions {
	set := make(versions, len(objects))
	for _, object := range objects {
		set[object.ID] = object.Version
	}
	var text []byte
	for _, id := range slices.Sorted(maps.Keys(set)) {
		for _, part := range []string{id, set[id]} {
			text = binary.AppendUvarint(text, uint64(len(part)))
			text = append(text, part...)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if same := r.all[string(text)]; same != nil {
		return same
	}
	if r.all == nil || len(r.all) >= maxReported {
		r.all = map[string]*versions{}
	}
	r.all[string(text)] = &set
	return &set
}

// writtenBy answers when the manager last changed something in an object by an
// update, zero for never. Updates that change nothing leave the time alone
// (apimachinery pkg/util/managedfields/internal/managedfieldsupdater.go).
func writtenBy(entries []metav1.ManagedFieldsEntry, manager string) time.Time {
	var latest time.Time
	for i := range entries {
		e := &entries[i]
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Time != nil && e.Time.After(latest) {
			latest = e.Time.Time
		}
	}
	return latest
}

// targetOf answers the UID of the pod whose directory a target path lies in:
// kubelet mounts at .../pods/UID/volumes/kubernetes.io~csi/VOLUME/mount, with
// backslashes on Windows.
func targetOf(path string) types.UID {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
	for i := len(parts) - 2; i > 0; i-- {
		if parts[i] == "volumes" && i >= 2 && parts[i-2] == "pods" {
			return shared(types.UID(parts[i-1])) // not a part of the path, which would be kept
		}
	}
	return ""
}

// toldStatus answers the status in the words of the decision.
func (c *caches) toldStatus(s *status) rollout.Status {
	told := rollout.Status{
		Generation: s.Generation,
		Created:    s.CreationTimestamp.Time,
		Changed:    s.changed,
		Owner:      s.owner,
		Target:     s.target,
		Versions:   *s.versions,
	}
	if c.uncounted {
		told.Generation = 0
	}
	return told
}

// hasStatusSubresource reports whether the driver's CRD is one by which changes
// of a status do not count up metadata.generation. None of the driver's
// releases is; one that is not installed yet is taken for one of them.
func hasStatusSubresource(ctx context.Context, client *kube.Client) (bool, error) {
	list, err := client.Served(ctx, secretsstore.GroupVersion)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the driver's resources: %w", err)
	}
	for _, r := range list.APIResources {
		if r.Name == secretsstore.PodStatusResource.Resource+"/status" {
			return true, nil
		}
	}
	return false, nil
}
