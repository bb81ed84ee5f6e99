package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"keyroll.dev/internal/annotation"
	kubefake "keyroll.dev/internal/kube/fake"
	"keyroll.dev/internal/process"
	"keyroll.dev/internal/secretsstore"
	driverfake "keyroll.dev/internal/secretsstore/fake"
	"keyroll.dev/watcher/rollout"
)

// cluster serves a controller under test from memory.
type cluster struct {
	t        *testing.T
	kube     *fake.Clientset
	driver   *clienttesting.Fake
	statuses clienttesting.ObjectTracker
	version  string // what the vault holds since the last rotation

	mu        sync.Mutex
	sent      []merge                  // patches, as they were sent
	targets   []string                 // resource/name of each
	refusal   func(name string) error  // answers a patch with an error, where it is not nil
	admission func(*appsv1.Deployment) // the webhook

	config     Config
	controller *Controller
	stop       func()
}

// start runs a controller over the objects; it must be called in a synctest
// bubble, whose clock starts in the year 2000.
func start(t *testing.T, objects []runtime.Object, change ...func(*Config)) *cluster {
	t.Helper()
	var kubeObjects, driverObjects []runtime.Object
	for _, o := range objects {
		switch o.(type) {
		case *secretsstore.SecretProviderClass, *secretsstore.SecretProviderClassPodStatus:
			driverObjects = append(driverObjects, o)
		default:
			kubeObjects = append(kubeObjects, o)
		}
	}
	c := &cluster{t: t, kube: fake.NewClientset(kubeObjects...)}
	var driverClient *secretsstore.Client
	driverClient, c.driver, c.statuses = driverfake.New(driverObjects...)
	metadataClient := metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())
	metadataClient.PrependReactor("patch", "*", c.patch)
	config := Config{
		Kube: kubefake.New(c.kube), Metadata: metadataClient, Driver: driverClient,
		Namespace: "keyroll-system",
		// Renewals cost more than all else in these tests, so they are rare.
		Lease:          Lease{Name: "keyroll-watcher", Identity: "a", Duration: 6 * time.Hour, Renew: 5 * time.Hour, Retry: 2 * time.Hour},
		Rollout:        rollout.Options{Settle: 2 * time.Second, SettleMax: 4 * time.Minute, ClockSkew: time.Minute, StuckAfter: 10 * time.Minute, MaxParallel: 10},
		ClassRetention: time.Hour,
		SecretTrigger:  true,
		Rotation:       2 * time.Minute,
		Log:            slog.New(slog.NewJSONHandler(io.Discard, nil)),
	}
	for _, f := range change {
		f(&config)
	}
	c.config = config
	c.restart()
	return c
}

// restart runs another controller, which knows what the cluster holds.
func (c *cluster) restart() {
	c.t.Helper()
	c.config.Registerer = prometheus.NewRegistry()
	controller, err := New(c.t.Context(), c.config)
	c.must(err)
	c.controller = controller
	ctx, cancel := context.WithCancel(process.WithLogger(c.t.Context(), c.config.Log))
	ended := make(chan error, 1)
	go func() { ended <- controller.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("Run ended with %v", err)
		}
	}
}

// patch does with a Deployment what the API server does: guards, merge, generation.
func (c *cluster) patch(action clienttesting.Action) (bool, runtime.Object, error) {
	patch := action.(clienttesting.PatchActionImpl)
	var sent merge
	if err := json.Unmarshal(patch.Patch, &sent); err != nil {
		return true, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, sent)
	c.targets = append(c.targets, patch.Resource.Resource+"/"+patch.Name)
	if c.refusal != nil {
		if err := c.refusal(patch.Name); err != nil {
			return true, nil, err
		}
	}
	if patch.Resource.Resource != "deployments" {
		return true, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: patch.Namespace, Name: patch.Name, Generation: 2}}, nil
	}
	ctx := context.Background()
	d, err := c.kube.AppsV1().Deployments(patch.Namespace).Get(ctx, patch.Name, metav1.GetOptions{})
	if err != nil {
		return true, nil, err
	}
	if d.UID != sent.Metadata.UID || d.ResourceVersion != sent.Metadata.ResourceVersion {
		return true, nil, apierrors.NewConflict(appsv1.Resource("deployments"), d.Name, errors.New("changed meanwhile"))
	}
	before := d.DeepCopy()
	if sent.Spec != nil {
		set(&d.Annotations, sent.Metadata.Annotations)
		set(&d.Spec.Template.Annotations, sent.Spec.Template.Metadata.Annotations)
	}
	if c.admission != nil {
		c.admission(d)
	}
	if equality.Semantic.DeepEqual(before, d) {
		return true, &metav1.PartialObjectMetadata{ObjectMeta: before.ObjectMeta}, nil
	}
	d.Generation++
	d.ResourceVersion += "0"
	manager := fieldManager // the fake client for metadata keeps no options
	if sent.Spec == nil {
		manager = mendManager
	}
	if d, err = c.kube.AppsV1().Deployments(patch.Namespace).Update(ctx, d, metav1.UpdateOptions{FieldManager: manager}); err != nil {
		return true, nil, err
	}
	return true, &metav1.PartialObjectMetadata{ObjectMeta: d.ObjectMeta}, nil
}

// patches answers those that were sent.
func (c *cluster) patches() []merge {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

// patched answers what they were sent to.
func (c *cluster) patched() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.targets)
}

// refuse has f answer every patch.
func (c *cluster) refuse(f func(name string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = f
}

// forbidden is how the API server refuses a patch of a Deployment.
func forbidden(name string) error {
	return apierrors.NewForbidden(appsv1.Resource("deployments"), name, errors.New("policy says no"))
}

// admit has f stand for the webhook.
func (c *cluster) admit(f func(*appsv1.Deployment)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admission = f
}

func set(to *map[string]string, from map[string]string) {
	if *to == nil {
		*to = map[string]string{}
	}
	for key, value := range from {
		(*to)[key] = value
	}
}

// rollOut is the Deployment controller with all that comes after it: new pods
// stand in the place of the old ones.
func (c *cluster) rollOut(name string) {
	c.t.Helper()
	ctx := c.t.Context()
	d, err := c.kube.AppsV1().Deployments(shop).Get(ctx, name, metav1.GetOptions{})
	c.must(err)
	number := fmt.Sprint(d.Generation)
	set := replicaSet(name+"-"+number, number)
	_, err = c.kube.AppsV1().ReplicaSets(shop).Create(ctx, set, metav1.CreateOptions{})
	c.must(err)
	for _, old := range c.pods() {
		c.must(c.kube.CoreV1().Pods(shop).Delete(ctx, old.Name, metav1.DeleteOptions{}))
	}
	for _, letter := range []string{"a", "b"} {
		p := injectedPod(set.Name+"-"+letter, set.Name, "files")
		p.CreationTimestamp = metav1.Now()
		p.Annotations[annotation.Content] = d.Spec.Template.Annotations[annotation.Content]
		p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", time.Now())}
		_, err := c.kube.CoreV1().Pods(shop).Create(ctx, p, metav1.CreateOptions{})
		c.must(err)
		status := podStatus(p.Name, "files", c.version, 1, time.Now())
		status.CreationTimestamp = metav1.Now()
		c.must(c.statuses.Create(secretsstore.PodStatusResource, status, shop))
	}
	d.Annotations[revisionAnnotation] = number
	d.Status.ObservedGeneration = d.Generation
	d.ResourceVersion += "0"
	_, err = c.kube.AppsV1().Deployments(shop).Update(ctx, d, metav1.UpdateOptions{})
	c.must(err)
}

func (c *cluster) pods() []corev1.Pod {
	c.t.Helper()
	pods, err := c.kube.CoreV1().Pods(shop).List(c.t.Context(), metav1.ListOptions{})
	c.must(err)
	return pods.Items
}

// rotate is the driver that polls one pod after the other.
func (c *cluster) rotate(class, version string, spread time.Duration) {
	c.t.Helper()
	c.version = version
	for _, p := range c.pods() {
		time.Sleep(spread)
		status := podStatus(p.Name, class, version, 2, time.Now())
		c.must(c.statuses.Update(secretsstore.PodStatusResource, status, shop))
	}
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// events answers what was told, as kubectl shows it.
func (c *cluster) events() []string {
	c.t.Helper()
	events, err := c.kube.CoreV1().Events("").List(c.t.Context(), metav1.ListOptions{})
	c.must(err)
	var lines []string
	for _, e := range events.Items {
		lines = append(lines, e.Type+" "+e.Reason+" "+e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name)
	}
	return lines
}

// told answers how often something was told for a reason.
func (c *cluster) told(reason string) (times int32) {
	c.t.Helper()
	events, err := c.kube.CoreV1().Events("").List(c.t.Context(), metav1.ListOptions{})
	c.must(err)
	for _, e := range events.Items {
		if e.Reason == reason {
			times += e.Count
		}
	}
	return times
}

// changePods changes every pod of the shop.
func (c *cluster) changePods(change func(*corev1.Pod)) {
	c.t.Helper()
	for _, p := range c.pods() {
		change(&p)
		_, err := c.kube.CoreV1().Pods(shop).Update(c.t.Context(), &p, metav1.UpdateOptions{})
		c.must(err)
	}
}
