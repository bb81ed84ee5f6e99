package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
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
	patches  []merge // as they were sent
	// refuse answers the patch with an error, where it is not nil.
	refuse     func(name string) error
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
		Kube: c.kube, Metadata: metadataClient, Driver: driverClient,
		Namespace: "keyroll-system",
		// Renewals cost more than all else in these tests, so they are rare.
		Lease:          Lease{Name: "keyroll-watcher", Identity: "a", Duration: 6 * time.Hour, Renew: 5 * time.Hour, Retry: 2 * time.Hour},
		Rollout:        rollout.Options{Settle: 2 * time.Second, SettleMax: 4 * time.Minute, ClockSkew: time.Minute, StuckAfter: 10 * time.Minute, MaxParallel: 10},
		ClassRetention: time.Hour,
		SecretTrigger:  true,
		Log:            slog.New(slog.NewJSONHandler(io.Discard, nil)),
		Registerer:     prometheus.NewRegistry(),
	}
	for _, f := range change {
		f(&config)
	}
	controller, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	c.controller = controller
	ctx, cancel := context.WithCancel(process.WithLogger(t.Context(), config.Log))
	ended := make(chan error, 1)
	go func() { ended <- controller.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}
	return c
}

// patch does with a Deployment what the API server does: guards, merge, generation.
func (c *cluster) patch(action clienttesting.Action) (bool, runtime.Object, error) {
	patch := action.(clienttesting.PatchActionImpl)
	var sent merge
	if err := json.Unmarshal(patch.Patch, &sent); err != nil {
		return true, nil, err
	}
	c.patches = append(c.patches, sent)
	if c.refuse != nil {
		if err := c.refuse(patch.Name); err != nil {
			return true, nil, err
		}
	}
	ctx := context.Background()
	d, err := c.kube.AppsV1().Deployments(patch.Namespace).Get(ctx, patch.Name, metav1.GetOptions{})
	if err != nil {
		return true, nil, err
	}
	if d.UID != sent.Metadata.UID || d.ResourceVersion != sent.Metadata.ResourceVersion {
		return true, nil, apierrors.NewConflict(appsv1.Resource("deployments"), d.Name, errors.New("changed meanwhile"))
	}
	set(&d.Annotations, sent.Metadata.Annotations)
	set(&d.Spec.Template.Annotations, sent.Spec.Template.Metadata.Annotations)
	d.Generation++
	d.ResourceVersion += "0"
	now := metav1.Now()
	d.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &now}}
	if _, err := c.kube.AppsV1().Deployments(patch.Namespace).Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		return true, nil, err
	}
	return true, &metav1.PartialObjectMetadata{ObjectMeta: d.ObjectMeta}, nil
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
		status := podStatus(p.Name, "files", "v2", 1, time.Now())
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

// shopObjects are Deployment web with two injected pods on v1 since an hour.
func shopObjects() []runtime.Object {
	hourAgo := time.Now().Add(-time.Hour)
	objects := []runtime.Object{enabledNamespace(), deployment(), replicaSet("web-1", "1")}
	for _, name := range []string{"web-1-a", "web-1-b"} {
		p := injectedPod(name, "web-1", "files", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", hourAgo)}
			p.CreationTimestamp = metav1.NewTime(hourAgo)
		})
		status := podStatus(name, "files", "v1", 1, hourAgo)
		status.CreationTimestamp = metav1.NewTime(hourAgo)
		objects = append(objects, p, status)
	}
	return objects
}

func TestOneRotationIsOneRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		time.Sleep(time.Minute)
		if len(c.patches) > 0 {
			t.Fatalf("nothing rotated, and %d patches were sent", len(c.patches))
		}
		c.rotate("files", "v2", 20*time.Second)
		time.Sleep(10 * time.Second)
		c.rollOut("web")
		time.Sleep(time.Hour)

		d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "web", metav1.GetOptions{})
		c.must(err)
		stamp := d.Spec.Template.Annotations[annotation.Content]
		want := []merge{{
			Metadata: mergeMetadata{UID: "web-uid", ResourceVersion: "1", Annotations: map[string]string{changeCause: d.Annotations[changeCause]}},
			Spec:     &mergeSpec{},
		}}
		want[0].Spec.Template.Metadata.Annotations = map[string]string{annotation.Content: stamp}
		if diff := cmp.Diff(want, c.patches); diff != "" || stamp == "" {
			t.Errorf("patches (-want +got)\n%s", diff)
		}
		if cause := d.Annotations[changeCause]; !strings.HasPrefix(cause, "keyroll: secret/db-password changed") {
			t.Errorf("change-cause is %q", cause)
		}
		wantEvents := []string{"Normal ContentRollout Deployment/web", "Normal ContentRolledOut Deployment/web"}
		if diff := cmp.Diff(wantEvents, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestARotationWhileTheWatcherWasDownIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		for _, o := range objects {
			if s, ok := o.(*secretsstore.SecretProviderClassPodStatus); ok {
				rotated := metav1.NewTime(time.Now().Add(-10 * time.Minute))
				s.Generation, s.ManagedFields[0].Time, s.Status.Objects[0].Version = 2, &rotated, "v2"
			}
		}
		c := start(t, objects)
		defer c.stop()
		time.Sleep(10 * time.Second)
		if len(c.patches) != 1 {
			t.Errorf("%d patches were sent, want 1", len(c.patches))
		}
	})
}

func TestAUsersOwnChangeCauseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		objects[1].(*appsv1.Deployment).Annotations[changeCause] = "image of the week"
		c := start(t, objects)
		defer c.stop()
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		if len(c.patches) != 1 || c.patches[0].Metadata.Annotations != nil {
			t.Errorf("patches %+v, want one without annotations on the workload", c.patches)
		}
	})
}

func TestARefusedRolloutIsTriedAgainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		c.refuse = func(string) error {
			return apierrors.NewForbidden(appsv1.Resource("deployments"), "web", errors.New("policy says no"))
		}
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(24 * time.Hour)
		refused := len(c.patches)
		// The delay doubles from 500 ms to 5 minutes: 10 tries to get there, 12 an hour after.
		if refused < 250 || refused > 330 {
			t.Errorf("%d tries in a day", refused)
		}
		if underway, waiting := c.controller.pace.counts(); underway+waiting > 0 {
			t.Errorf("the workload holds %d places and %d turns", underway, waiting)
		}
		c.refuse = nil
		time.Sleep(6 * time.Minute)
		if len(c.patches) != refused+1 {
			t.Errorf("%d patches after it was allowed, want 1", len(c.patches)-refused)
		}
		want := []string{"Warning ContentRolloutRefused Deployment/web", "Normal ContentRollout Deployment/web"}
		if diff := cmp.Diff(want, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestAConflictIsDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, shopObjects())
		defer c.stop()
		conflicts := 0
		c.refuse = func(name string) error {
			if conflicts++; conflicts > 2 {
				return nil
			}
			return apierrors.NewConflict(appsv1.Resource("deployments"), name, errors.New("changed meanwhile"))
		}
		time.Sleep(time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Second)
		if len(c.patches) != 3 {
			t.Errorf("%d patches were sent, want two conflicts and one rollout", len(c.patches))
		}
	})
}

// classesOf answers the generated classes that exist.
func (c *cluster) classesOf() map[string]secretsstore.SecretProviderClassSpec {
	c.t.Helper()
	list, err := c.controller.config.Driver.Classes(shop).List(c.t.Context(), metav1.ListOptions{})
	c.must(err)
	specs := map[string]secretsstore.SecretProviderClassSpec{}
	for _, class := range list.Items {
		specs[class.Name] = class.Spec
	}
	return specs
}

func asking(objects string) *appsv1.Deployment {
	return deployment(func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{
			annotation.Objects: objects, annotation.ClientID: "22222222-2222-2222-2222-222222222222",
		}
	})
}

func TestAClassIsProvidedHealedAndCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, []runtime.Object{enabledNamespace(), asking("db-password")})
		defer c.stop()
		time.Sleep(time.Second)
		created := c.classesOf()
		if len(created) != 1 {
			t.Fatalf("classes %v, want one", created)
		}
		var name string
		for name = range created {
		}
		classes := c.controller.config.Driver.Classes(shop)

		edited, err := classes.Get(t.Context(), name, metav1.GetOptions{})
		c.must(err)
		edited.Spec.Parameters["keyvaultName"] = "another"
		_, err = classes.Update(t.Context(), edited, metav1.UpdateOptions{})
		c.must(err)
		time.Sleep(time.Second)
		if diff := cmp.Diff(created, c.classesOf()); diff != "" {
			t.Errorf("after an edit (-want +got)\n%s", diff)
		}

		c.must(classes.Delete(t.Context(), name, metav1.DeleteOptions{}))
		time.Sleep(time.Second)
		if diff := cmp.Diff(created, c.classesOf()); diff != "" {
			t.Errorf("after a deletion (-want +got)\n%s", diff)
		}

		c.must(c.kube.AppsV1().Deployments(shop).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		time.Sleep(59 * time.Minute)
		if len(c.classesOf()) != 1 {
			t.Error("the class went before its retention")
		}
		time.Sleep(2 * time.Minute)
		if left := c.classesOf(); len(left) != 0 {
			t.Errorf("classes %v are left after the retention", left)
		}
	})
}

func TestWhatKeepsAClass(t *testing.T) {
	record := dependency.Record{V: dependency.Version, Vault: "shop-kv", Objects: []string{"secret/db-password"}, ClientID: "22222222-2222-2222-2222-222222222222", TenantID: "11111111-1111-1111-1111-111111111111"}
	record.SecretProviderClass = record.ClassName()
	tests := map[string]struct {
		objects []runtime.Object
		want    bool
	}{
		"nothing":                          {nil, false},
		"a status of the driver":           {[]runtime.Object{podStatus("gone", record.ClassName(), "v1", 1, noon)}, true},
		"a pod that mounts it":             {[]runtime.Object{injectedPod("some", "web-1", record.ClassName())}, true},
		"not being Keyroll's":              {[]runtime.Object{foreign(record.Class(shop))}, true},
		"not being named as Keyroll names": {[]runtime.Object{renamed(record.Class(shop), "mine")}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := append([]runtime.Object{enabledNamespace()}, test.objects...)
				if len(test.objects) == 0 || !isClass(test.objects[0]) {
					objects = append(objects, record.Class(shop))
				}
				c := start(t, objects)
				defer c.stop()
				time.Sleep(2 * time.Hour)
				if kept := len(c.classesOf()) == 1; kept != test.want {
					t.Errorf("kept %t, want %t", kept, test.want)
				}
			})
		})
	}
}

func isClass(o runtime.Object) bool {
	_, is := o.(*secretsstore.SecretProviderClass)
	return is
}

func foreign(c *secretsstore.SecretProviderClass) *secretsstore.SecretProviderClass {
	c.Labels = nil
	return c
}

func renamed(c *secretsstore.SecretProviderClass, name string) *secretsstore.SecretProviderClass {
	c.Name = name
	return c
}

func TestAPodsRecordIsBelievedOnlyWhereItMayBe(t *testing.T) {
	record := dependency.Record{V: dependency.Version, Vault: "shop-kv", Objects: []string{"secret/db-password"}, ClientID: "22222222-2222-2222-2222-222222222222", TenantID: "11111111-1111-1111-1111-111111111111"}
	record.SecretProviderClass = record.ClassName()
	recorded := func(text string) *corev1.Pod {
		p := injectedPod("job-a", "none", record.ClassName())
		p.OwnerReferences = nil
		p.Annotations[annotation.Dependencies] = text
		return p
	}
	otherVault := enabledNamespace()
	otherVault.Annotations[annotation.AllowedVaults] = "other-kv"
	tests := map[string]struct {
		namespace   *corev1.Namespace
		pod         *corev1.Pod
		wantClass   bool
		wantWarning bool
	}{
		"a record in an opted-in namespace":   {enabledNamespace(), recorded(record.Encode()), true, false},
		"a namespace that is not opted in":    {&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}, recorded(record.Encode()), false, false},
		"a vault that is not allowed":         {otherVault, recorded(record.Encode()), false, true},
		"another content under the same name": {enabledNamespace(), recorded(strings.Replace(record.Encode(), "shop-kv", "evil-kv", 1)), false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, []runtime.Object{test.namespace, test.pod})
				defer c.stop()
				time.Sleep(time.Minute)
				if made := len(c.classesOf()) == 1; made != test.wantClass {
					t.Errorf("class made: %t, want %t", made, test.wantClass)
				}
				var want []string
				if test.wantWarning {
					want = []string{"Warning DependenciesNotBelieved Pod/job-a"}
				}
				if diff := cmp.Diff(want, c.events()); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
			})
		})
	}
}
