package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const failedToCreateSecret = "FailedToCreateSecret"

// syncSecrets is the sync controller: one worker that makes Secrets from the
// files of the pods whose statuses appear or change
// (controllers/secretproviderclasspodstatus_controller.go).
func (p *plugin) syncSecrets(ctx context.Context) {
	for {
		key, shutdown := p.syncQueue.Get()
		if shutdown || ctx.Err() != nil {
			return
		}
		again, err := p.syncStatus(ctx, key)
		switch {
		case err != nil:
			p.syncQueue.AddRateLimited(key)
		case again > 0:
			p.syncQueue.Forget(key)
			p.syncQueue.AddAfter(key, again)
		default:
			p.syncQueue.Forget(key)
		}
		p.syncQueue.Done(key)
	}
}

// syncStatus looks at one status; again says when to look once more.
func (p *plugin) syncStatus(ctx context.Context, key types.NamespacedName) (again time.Duration, err error) {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	status := p.status(key)
	if status == nil {
		return 0, nil
	}
	pod, err := p.pod(key.Namespace, status.Status.PodName)
	if err != nil {
		return p.d.timings.SyncRetry, nil
	}
	if finished(pod) {
		return 0, nil
	}
	class, err := p.class(key.Namespace, status.Status.ClassName)
	if err != nil {
		return p.d.timings.SyncRetry, nil
	}
	if len(class.Spec.SecretObjects) == 0 {
		return 0, nil
	}
	if err := checkTarget(pod, class.Name, status); err != nil {
		return 0, err
	}
	files, mounted := p.node.mountedFiles(status.Status.TargetPath)
	if !mounted {
		err := fmt.Errorf("failed to get mounted files, err: open %s: no such file or directory", status.Status.TargetPath)
		p.events.Event(pod, corev1.EventTypeWarning, failedToCreateSecret, err.Error())
		return 0, err
	}
	if err := p.syncObjects(ctx, pod, class, files); err != nil {
		return 0, err
	}
	return p.d.timings.Resync, nil
}

// checkTarget says whether the status is about the class's volume in this very pod.
func checkTarget(pod *corev1.Pod, class string, status *PodStatus) error {
	v := classVolume(pod, class)
	uid, name := fromTargetPath(status.Status.TargetPath)
	switch {
	case v == nil:
		return fmt.Errorf("failed to find secret provider class pod status volume for pod %s/%s", pod.Namespace, pod.Name)
	case uid != pod.UID:
		return fmt.Errorf("secret provider class pod status targetPath did not match pod UID for pod %s/%s", pod.Namespace, pod.Name)
	case name != v.Name:
		return fmt.Errorf("secret provider class pod status volume name did not match pod Volume for pod %s/%s", pod.Namespace, pod.Name)
	}
	return nil
}

// syncObjects writes the class's Secrets. What is wrong with one Secret's data
// passes to the next; a write that fails ends the round.
func (p *plugin) syncObjects(ctx context.Context, pod *corev1.Pod, class *Class, files map[string]File) error {
	var errs []error
	for _, o := range class.Spec.SecretObjects {
		name := strings.TrimSpace(o.SecretName)
		if err := checkSecretObject(o); err != nil {
			errs = append(errs, fmt.Errorf("failed to validate secret object in spc %s/%s, err: %w", class.Namespace, class.Name, err))
			continue
		}
		if p.model.keeps() && p.secret(pod.Namespace, name) != nil {
			continue
		}
		secret, err := secretFor(pod.Namespace, o, files)
		if err != nil {
			err = fmt.Errorf("failed to get data in spc %s/%s for secret %s, err: %w", class.Namespace, class.Name, name, err)
			p.events.Event(pod, corev1.EventTypeWarning, failedToCreateSecret, err.Error())
			errs = append(errs, err)
			continue
		}
		if err := attempt(ctx, func() error { return p.model.write(ctx, p, secret) }); err != nil {
			p.events.Event(pod, corev1.EventTypeWarning, failedToCreateSecret, err.Error())
			return err
		}
	}
	return errors.Join(errs...)
}

// patchOwners is the patcher: it gives the synced Secrets their owners again and again.
func (p *plugin) patchOwners(ctx context.Context) {
	if p.d.timings.OwnerPatch <= 0 {
		return
	}
	for sleep(ctx, p.d.timings.OwnerPatch) {
		if err := p.patchAll(ctx); err != nil {
			p.d.cfg.Log.Debug("Patching owners ended early", "node", p.node.name, "error", err)
		}
	}
}

// patchAll ends at the first status whose pod or class is not there: no
// Secret of the node gets owners then.
func (p *plugin) patchAll(ctx context.Context) error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	owners, order := map[types.NamespacedName][]metav1.OwnerReference{}, []types.NamespacedName{}
	for _, status := range p.statuses() {
		class, err := p.class(status.Namespace, status.Status.ClassName)
		if err != nil {
			return fmt.Errorf("failed to get spc %s, err: %w", status.Status.ClassName, err)
		}
		pod, err := p.pod(status.Namespace, status.Status.PodName)
		if err != nil {
			return fmt.Errorf("failed to fetch pod during patching, err: %w", err)
		}
		for _, o := range class.Spec.SecretObjects {
			key := types.NamespacedName{Namespace: status.Namespace, Name: o.SecretName}
			if _, known := owners[key]; !known {
				order = append(order, key)
			}
			owners[key] = append(owners[key], ownersOf(pod, status)...)
		}
	}
	for _, key := range order {
		if err := attempt(ctx, func() error { return p.patchOwner(ctx, key, owners[key]) }); err != nil {
			return err
		}
	}
	return nil
}

// ownersOf returns the pod's owners without their flags, or the status for a bare pod.
func ownersOf(pod *corev1.Pod, status *PodStatus) []metav1.OwnerReference {
	var owners []metav1.OwnerReference
	for _, o := range pod.OwnerReferences {
		owners = append(owners, metav1.OwnerReference{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: o.UID})
	}
	if len(owners) == 0 {
		owners = []metav1.OwnerReference{{
			APIVersion: GroupVersion.String(), Kind: "SecretProviderClassPodStatus", Name: status.Name, UID: status.UID,
		}}
	}
	return owners
}

// patchOwner adds owners that the Secret does not name yet. By name only: an
// owner made anew under its old name keeps the dead one's UID.
func (p *plugin) patchOwner(ctx context.Context, key types.NamespacedName, owners []metav1.OwnerReference) error {
	secret := p.secret(key.Namespace, key.Name)
	if secret == nil {
		return nil
	}
	have := secret.OwnerReferences
	known := map[string]bool{}
	for _, o := range have {
		known[o.Name] = true
	}
	for _, o := range owners {
		if !known[o.Name] {
			known[o.Name] = true
			have = append(have, o)
		}
	}
	if len(have) == len(secret.OwnerReferences) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"ownerReferences": have, "resourceVersion": secret.ResourceVersion,
	}})
	if err != nil {
		return err
	}
	_, err = p.client.CoreV1().Secrets(key.Namespace).Patch(ctx, key.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
