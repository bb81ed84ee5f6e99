package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// model is what differs between the generations of the driver.
type model interface {
	// publish answers NodePublishVolume.
	publish(ctx context.Context, p *plugin, r publishRequest) error
	// keeps reports whether the sync controller leaves alone a Secret that its cache holds.
	keeps() bool
	// write puts a synced Secret to the API server.
	write(ctx context.Context, p *plugin, secret *corev1.Secret) error
	// run does what the driver does by itself until ctx ends.
	run(ctx context.Context, p *plugin)
	// poll and pollPod rotate now what is due: on the node, or of one pod.
	poll(p *plugin)
	pollPod(p *plugin, namespace, pod string)
}

func newModel(n *node, g Generation) (model, error) {
	if g == Republishing {
		return republishing{}, nil
	}
	return newPolling(n)
}

// plugin is the driver's process on one node.
type plugin struct {
	d      *Driver
	node   *node
	model  model
	client *client
	events *events

	// syncing is held by the sync controller and by the patcher of owners in turn.
	syncing   sync.Mutex
	syncQueue workqueue.TypedRateLimitingInterface[types.NamespacedName]

	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newPlugin(n *node, g Generation) (*plugin, error) {
	c, err := newClient(n.d.cfg.REST, pluginAgent("controller", g.String()))
	if err != nil {
		return nil, err
	}
	m, err := newModel(n, g)
	if err != nil {
		return nil, err
	}
	return &plugin{
		d: n.d, node: n, model: m, client: c,
		events:    newEvents(c, corev1.EventSource{Component: "csi-secrets-store-controller"}, 25),
		syncQueue: newQueue(),
	}, nil
}

func newQueue() workqueue.TypedRateLimitingInterface[types.NamespacedName] {
	return workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[types.NamespacedName]())
}

// start runs the process; its first list of statuses wakes the sync controller for each.
func (p *plugin) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	for _, status := range p.statuses() {
		p.syncQueue.Add(keyOf(status))
	}
	p.done.Go(func() { p.syncSecrets(ctx) })
	p.done.Go(func() { p.patchOwners(ctx) })
	p.done.Go(func() { p.model.run(ctx, p) })
}

func (p *plugin) end() {
	p.cancel()
	p.syncQueue.ShutDown()
	p.done.Wait()
	p.events.end()
}

// publishRequest is what a kubelet sends with NodePublishVolume.
type publishRequest struct {
	pod     *corev1.Pod
	volume  *corev1.Volume
	secrets map[string]string // of nodePublishSecretRef
}

func (r publishRequest) target() string { return targetPath(r.pod.UID, r.volume.Name) }

// attributes are the volume's own and the pod information of podInfoOnMount.
func (r publishRequest) attributes() map[string]string {
	a := maps.Clone(r.volume.CSI.VolumeAttributes)
	if a == nil {
		a = map[string]string{}
	}
	maps.Copy(a, podInfo(r.pod))
	a["csi.storage.k8s.io/ephemeral"] = "true"
	return a
}

func podInfo(pod *corev1.Pod) map[string]string {
	return map[string]string{
		"csi.storage.k8s.io/pod.name":            pod.Name,
		"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
		"csi.storage.k8s.io/pod.uid":             string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
	}
}

// rpcError is an error with a gRPC code, told as gRPC tells it.
type rpcError struct {
	code string
	text string
}

func (e rpcError) Error() string { return "rpc error: code = " + e.code + " desc = " + e.text }

// asRPC is how an error of one side reaches the other: with the code of a gRPC
// error inside it, and its whole text.
func asRPC(err error) error {
	if e, ok := err.(rpcError); ok { //nolint:errorlint // a wrapped one keeps its wrapping, below
		return e
	}
	if e, ok := errors.AsType[rpcError](err); ok {
		return rpcError{e.code, err.Error()}
	}
	return rpcError{"Unknown", err.Error()}
}

// prepare makes the provider's request from class and volume, or says why not
// (nodeserver.go, NodePublishVolume up to the mount).
func (p *plugin) prepare(r publishRequest) (*Class, mountRequest, error) {
	name := r.volume.CSI.VolumeAttributes[ClassAttribute]
	if name == "" {
		return nil, mountRequest{}, errors.New("secretProviderClass is not set")
	}
	class, err := p.class(r.pod.Namespace, name)
	if err != nil {
		return nil, mountRequest{}, fmt.Errorf("failed to get secretproviderclass %s/%s, error: %w", r.pod.Namespace, name, err)
	}
	switch {
	case class.Spec.Provider == "":
		return nil, mountRequest{}, fmt.Errorf("provider not set in %s/%s", class.Namespace, class.Name)
	case len(class.Spec.Parameters) == 0:
		return nil, mountRequest{}, fmt.Errorf("parameters not set in %s/%s", class.Namespace, class.Name)
	case r.volume.CSI.ReadOnly == nil || !*r.volume.CSI.ReadOnly:
		return nil, mountRequest{}, rpcError{"InvalidArgument", "Readonly is not true in request"}
	}
	parameters := maps.Clone(class.Spec.Parameters)
	maps.Copy(parameters, r.attributes())
	return class, p.mountRequest(r.pod, parameters, r.secrets), nil
}

func (p *plugin) mountRequest(pod *corev1.Pod, parameters, secrets map[string]string) mountRequest {
	return mountRequest{
		parameters: parameters, secrets: secrets, audiences: p.d.tokenAudiences(),
		namespace: pod.Namespace, account: pod.Spec.ServiceAccountName,
	}
}

// deliver calls the provider, writes the files and then the status. Files
// written before a failure stay written.
func (p *plugin) deliver(ctx context.Context, r publishRequest, class *Class, m mountRequest) error {
	versions, err := p.mountContent(class, m, p.node.volume(r.target()))
	if err != nil {
		return fmt.Errorf("failed to mount secrets store objects for pod %s/%s, err: %w", r.pod.Namespace, r.pod.Name, err)
	}
	if err := p.writeStatus(ctx, r, class.Name, versions); err != nil {
		return fmt.Errorf("failed to create secret provider class pod status for pod %s/%s, err: %w", r.pod.Namespace, r.pod.Name, err)
	}
	return nil
}

// mountContent has the provider fetch everything and writes the files
// (provider_client.go, MountContent). Of one id delivered twice the last version counts.
func (p *plugin) mountContent(class *Class, m mountRequest, v *volume) (map[string]string, error) {
	if class.Spec.Provider != "azure" {
		return nil, fmt.Errorf("error connecting to provider %q: provider not found: provider %q", class.Spec.Provider, class.Spec.Provider)
	}
	delivered, err := p.d.azure.mount(m)
	if err != nil {
		return nil, rpcError{"Unknown", "failed to mount objects, error: " + err.Error()}
	}
	if len(delivered) == 0 {
		return nil, errors.New("missing object versions")
	}
	versions, files := map[string]string{}, map[string]File{}
	for _, f := range delivered {
		versions[f.id] = f.version
		files[f.path] = File{ID: f.id, Version: f.version, Value: f.content}
	}
	return versions, v.write(p.node.now(), files)
}

// writeStatus creates the pod's status, or takes over one of that name: left
// by a pod of the same name, or written before (utils.go,
// createOrUpdateSecretProviderClassPodStatus).
func (p *plugin) writeStatus(ctx context.Context, r publishRequest, class string, versions map[string]string) error {
	want := &PodStatus{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.pod.Namespace, Name: r.pod.Name + "-" + r.pod.Namespace + "-" + class,
			Labels:          map[string]string{NodeLabel: p.node.name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: r.pod.Name, UID: r.pod.UID}},
		},
		Status: PodStatusStatus{
			PodName: r.pod.Name, ClassName: class, Mounted: true, TargetPath: r.target(), Objects: sortedVersions(versions),
		},
	}
	statuses := p.client.podStatuses(r.pod.Namespace)
	_, err := statuses.Create(ctx, want, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	have := p.status(keyOf(want))
	if have == nil { // labelled for another node, or not seen yet
		if have, err = statuses.Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	if have.Labels == nil {
		return rpcError{"Unavailable", "error reading from server: EOF"} // the driver panics here
	}
	have.Labels[NodeLabel] = p.node.name
	have.Status, have.OwnerReferences = want.Status, want.OwnerReferences
	_, err = statuses.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

func sortedVersions(versions map[string]string) []ObjectVersion {
	var objects []ObjectVersion
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		objects = append(objects, ObjectVersion{ID: strings.TrimSpace(id), Version: strings.TrimSpace(versions[id])})
	}
	return objects
}

// What the process sees: the classes of all namespaces, pods and statuses of its node, managed Secrets.

func (p *plugin) class(namespace, name string) (*Class, error) {
	o, found, err := p.d.classes.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !found {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: GroupVersion.Group, Resource: "SecretProviderClass"}, name)
	}
	return deepCopy(o.(*Class)), nil
}

func (p *plugin) pod(namespace, name string) (*corev1.Pod, error) {
	o, found, err := p.d.pods.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !found || o.(*corev1.Pod).Spec.NodeName != p.node.name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "Pod"}, name)
	}
	return o.(*corev1.Pod), nil
}

// secret returns a copy of a managed Secret, or nil.
func (p *plugin) secret(namespace, name string) *corev1.Secret {
	o, found, err := p.d.secrets.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !found {
		return nil
	}
	return o.(*corev1.Secret).DeepCopy()
}

// status returns a copy of a status of the node, or nil.
func (p *plugin) status(key types.NamespacedName) *PodStatus {
	o, found, err := p.d.statuses.GetStore().GetByKey(key.String())
	if err != nil || !found || o.(*PodStatus).Labels[NodeLabel] != p.node.name {
		return nil
	}
	return deepCopy(o.(*PodStatus))
}

// statuses returns the node's, which are not to be changed, in the order of their names.
func (p *plugin) statuses() []*PodStatus {
	return p.statusesWhere(func(*PodStatus) bool { return true })
}

func (p *plugin) statusesOf(namespace, pod string) []*PodStatus {
	return p.statusesWhere(func(s *PodStatus) bool { return s.Namespace == namespace && s.Status.PodName == pod })
}

func (p *plugin) statusesWhere(match func(*PodStatus) bool) []*PodStatus {
	var some []*PodStatus
	for _, o := range p.d.statuses.GetStore().List() {
		if s := o.(*PodStatus); s.Labels[NodeLabel] == p.node.name && match(s) {
			some = append(some, s)
		}
	}
	slices.SortFunc(some, func(a, b *PodStatus) int { return strings.Compare(keyOf(a).String(), keyOf(b).String()) })
	return some
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// errTimedOut is what five attempts end with.
var errTimedOut = errors.New("timed out waiting for the condition")

// attempt tries five times, a millisecond apart, as the driver does with every write.
func attempt(ctx context.Context, do func() error) error {
	for range 5 {
		if do() == nil {
			return nil
		}
		if !sleep(ctx, time.Millisecond) {
			break
		}
	}
	return errTimedOut
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// finished reports whether the driver no longer cares for a pod.
func finished(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
