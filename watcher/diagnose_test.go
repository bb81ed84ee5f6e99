package watcher

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

func TestHinders(t *testing.T) {
	const mine, other = "22222222-2222-2222-2222-222222222222", "33333333-3333-3333-3333-333333333333"
	class := func(change ...func(*secretsstore.SecretProviderClass)) *secretsstore.SecretProviderClass {
		c := syncingClass("files", "app-secrets")
		c.Spec.Parameters["clientID"] = mine
		for _, f := range change {
			f(c)
		}
		return c
	}
	account := func(clientID string) *corev1.ServiceAccount {
		a := &corev1.ServiceAccount{ObjectMeta: meta("web")}
		a.Annotations = map[string]string{annotation.IdentityClientID: clientID}
		return a
	}
	failure := &corev1.Event{ObjectMeta: meta("web-1-a.1"), InvolvedObject: corev1.ObjectReference{Name: "web-1-a", UID: "web-1-a-uid"}}
	failure.Message = "failed to get objectType:secret, objectName:db-pasword, objectVersion:: ERROR CODE: SecretNotFound"
	mounted, inherited := podStatus("web-1-a", "files", "v1", 1, noon), podStatus("web-1-a", "files", "v1", 1, noon)
	inherited.OwnerReferences[0].UID = "of a pod that had the name before"
	pulling := func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "a message may quote anything"},
		}}}
	}
	alsoMounts := func(class string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, csiVolume("more", class))
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "more", MountPath: "/mnt/more"})
		}
	}
	more := class(func(c *secretsstore.SecretProviderClass) { c.Name = "more" })
	tests := map[string]struct {
		objects []runtime.Object
		pod     func(*corev1.Pod)
		want    string
		// what a stuck rollout waits for, where it is not what the mounts wait for
		wantStuckOn string
	}{
		"all that can be seen is right": {objects: []runtime.Object{class(), account(mine)}},
		"the class is missing": {
			objects: []runtime.Object{account(mine)},
			want:    "SecretProviderClass files does not exist",
		},
		"the account is missing": {
			objects: []runtime.Object{class()},
			want:    "ServiceAccount web does not exist",
		},
		"the class names nobody": {
			objects: []runtime.Object{class(func(c *secretsstore.SecretProviderClass) { delete(c.Spec.Parameters, "clientID") }), account("")},
			want:    "SecretProviderClass files names no clientID",
		},
		"the class names nobody, and uses the node's identity": {
			objects: []runtime.Object{class(func(c *secretsstore.SecretProviderClass) {
				c.Spec.Parameters = map[string]string{"useVMManagedIdentity": "true"}
			}), account("")},
		},
		"class and account name different identities": {
			objects: []runtime.Object{class(), account(other)},
			want: "SecretProviderClass files names another clientID than ServiceAccount web: " +
				"its identity must trust system:serviceaccount:shop:web",
		},
		"kubelet tells of the object": {
			objects: []runtime.Object{class(), account(mine), failure},
			want:    "secret/db-pasword could not be read: SecretNotFound",
		},
		"the image cannot be pulled": {
			objects:     []runtime.Object{class(), account(mine)},
			pod:         pulling,
			wantStuckOn: "ImagePullBackOff (container app)",
		},
		"kubelet told of a mount that has been made since": {
			objects: []runtime.Object{class(), account(mine), failure, mounted},
		},
		"kubelet told of a mount that has been made since, and the image cannot be pulled": {
			objects:     []runtime.Object{class(), account(mine), failure, mounted},
			pod:         pulling,
			wantStuckOn: "ImagePullBackOff (container app)",
		},
		"kubelet told of mounts that have all been made since": {
			objects: []runtime.Object{class(), more, account(mine), failure, mounted, podStatus("web-1-a", "more", "v1", 1, noon)},
			pod:     alsoMounts("more"),
		},
		"kubelet tells of one of two mounts": {
			objects: []runtime.Object{class(), more, account(mine), failure, mounted},
			pod:     alsoMounts("more"),
			want:    "secret/db-pasword could not be read: SecretNotFound",
		},
		"kubelet tells of a mount that an earlier pod of the name had": {
			objects: []runtime.Object{class(), account(mine), failure, inherited},
			want:    "secret/db-pasword could not be read: SecretNotFound",
		},
		"class and account name different identities, and that has worked": {
			objects:     []runtime.Object{class(), account(other), mounted},
			pod:         pulling,
			wantStuckOn: "ImagePullBackOff (container app)",
		},
		"the class of a mount is missing": { // kubelet asks the driver again and again, and unmounts when that fails
			objects: []runtime.Object{account(mine), mounted},
			want:    "SecretProviderClass files does not exist",
		},
		"another provider's class is not looked into": {
			objects: []runtime.Object{class(func(c *secretsstore.SecretProviderClass) { c.Spec.Provider = "vault" })},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := injectedPod("web-1-a", "web-1", "files", func(p *corev1.Pod) {
				p.Spec.ServiceAccountName, p.Status.ContainerStatuses = "web", nil
				if test.pod != nil {
					test.pod(p)
				}
			})
			c := cached(t, append([]runtime.Object{enabledNamespace(), deployment(), replicaSet("web-1", "1"), pod}, test.objects...)...)
			w := c.workload(key{deployments.GroupKind(), shop, "web"})
			if got := c.examine(noon, w).hinders; got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			want := test.want + test.wantStuckOn
			if want != "" {
				want = "Pod web-1-a does not start: " + want
			}
			if got := c.stuckOn(w); got != want {
				t.Errorf("stuck on %q\nwant     %q", got, want)
			}
		})
	}
}

func TestExamineFindsTheSameEachTime(t *testing.T) {
	waiting := func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }
	objects := []runtime.Object{enabledNamespace(), deployment(), replicaSet("web-1", "1")}
	for _, name := range []string{"a", "b"} { // of pods, classes and objects
		failure := &corev1.Event{ObjectMeta: meta(name), InvolvedObject: corev1.ObjectReference{Name: "web-1-a", UID: "web-1-a-uid"}}
		failure.Message = "failed to get objectType:secret, objectName:" + name + ", objectVersion:"
		objects = append(objects, failure, injectedPod("web-1-"+name, "web-1", name, waiting))
	}
	c := cached(t, objects...)
	w := c.workload(key{deployments.GroupKind(), shop, "web"})
	want := health{slow: "web-1-a", hinders: "SecretProviderClass a does not exist; secret/a could not be read; secret/b could not be read"}
	for range 50 {
		if diff := cmp.Diff(want, c.examine(noon, w), cmp.AllowUnexported(health{})); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	}
}

func TestExamineWaitsForPodsThatHaveJustBeenMade(t *testing.T) {
	pod := injectedPod("web-1-a", "web-1", "files", func(p *corev1.Pod) { p.Status.ContainerStatuses = nil })
	pod.CreationTimestamp = metav1.NewTime(noon.Add(-20 * time.Second))
	c := cached(t, enabledNamespace(), deployment(), replicaSet("web-1", "1"), pod)
	got := c.examine(noon, c.workload(key{deployments.GroupKind(), shop, "web"}))
	if diff := cmp.Diff(health{again: 40 * time.Second}, got, cmp.AllowUnexported(health{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestWhatKubeletTellsLateIsTold: nothing else happens to the pods, so kubelet's
// Event has to bring the look about.
func TestWhatKubeletTellsLateIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class, account := syncingClass("files", "app-secrets"), &corev1.ServiceAccount{ObjectMeta: meta("web")}
		class.Spec.Parameters["clientID"] = "22222222-2222-2222-2222-222222222222"
		account.Annotations = map[string]string{annotation.IdentityClientID: class.Spec.Parameters["clientID"]}
		objects := []runtime.Object{class, account}
		for _, o := range shopObjects() {
			if p, ok := o.(*corev1.Pod); ok {
				p.Spec.ServiceAccountName, p.Status.ContainerStatuses = "web", nil
			}
			if _, mounted := o.(*secretsstore.SecretProviderClassPodStatus); !mounted {
				objects = append(objects, o)
			}
		}
		c := start(t, objects)
		defer c.stop()
		fails := func(name, message string) {
			event := &corev1.Event{
				ObjectMeta: meta(name), Type: warning, Reason: "FailedMount", Message: message, Count: 1,
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: shop, Name: "web-1-a", UID: "web-1-a-uid"},
			}
			_, err := c.kube.CoreV1().Events(shop).Create(t.Context(), event, metav1.CreateOptions{})
			c.must(err)
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Minute)
		fails("another-volume", `MountVolume.SetUp failed for volume "config" : configmap "web" not found`)
		if got := c.told(reasonNotStarting); got != 0 {
			t.Errorf("told %d times before anything of the vault fails", got)
		}
		fails("of-the-vault", "failed to get objectType:secret, objectName:db-pasword, objectVersion:: ERROR CODE: SecretNotFound")
		fails("the-same", "failed to get objectType:secret, objectName:db-pasword, objectVersion:: ERROR CODE: SecretNotFound")
		time.Sleep(time.Hour)
		events, err := c.kube.CoreV1().Events(shop).List(t.Context(), metav1.ListOptions{})
		c.must(err)
		var got []string
		for _, e := range events.Items {
			if e.Reason == reasonNotStarting {
				got = append(got, fmt.Sprintf("%s %s/%s %d: %s", e.Type, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Count, e.Message))
			}
		}
		want := []string{"Warning Deployment/web 1: Pod web-1-a does not start: secret/db-pasword could not be read: SecretNotFound"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestAMissedInjectionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		for _, o := range objects {
			if p, ok := o.(*corev1.Pod); ok {
				p.Labels, p.Annotations[annotation.Objects] = nil, "db-password"
			}
		}
		c := start(t, objects)
		defer c.stop()
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"Warning InjectionMissed Deployment/web"}, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
		if got := testutil.ToFloat64(c.controller.metrics.missed); got != 2 {
			t.Errorf("%v pods counted, want 2", got)
		}
	})
}

func TestAChangedDefaultRollsNothingAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := shopObjects()
		objects[1] = asking("db-password")
		c := start(t, objects)
		defer c.stop()
		time.Sleep(time.Hour)
		if len(c.patches()) > 0 {
			t.Errorf("%d patches", len(c.patches()))
		}
		if diff := cmp.Diff([]string{"Normal DefaultsChanged Deployment/web"}, c.events()); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}
