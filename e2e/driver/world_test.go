package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/vault"
)

// shared is the control plane of all tests of the package. One driver runs
// against it at a time, so the tests do not run side by side.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Nodes: len(nodeNames)}, func(_ context.Context, c *cluster.Cluster) error {
		shared = c
		return nil
	}))
}

var nodeNames = []string{"node-1", "node-2", "node-3"}

// world is a driver with a vault and a namespace for one test.
type world struct {
	t     *testing.T
	d     *Driver
	vault *vault.Service
	kube  kubernetes.Interface
	ns    string
}

// newWorld starts a driver that rotates only when told, unless tweak says otherwise.
func newWorld(t *testing.T, tweak func(*Config)) *world {
	t.Helper()
	w := &world{t: t, vault: vault.New(), kube: shared.Client(), ns: namespaceName(t)}
	cfg := Config{REST: shared.Admin(), Vault: w.vault, Nodes: nodeNames, RotationEnabled: true, Timings: Manual()}
	if tweak != nil {
		tweak(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.d = d
	if err := shared.Namespace(t.Context(), w.ns, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.clean)
	return w
}

// clean removes the namespace's pods, so that the next test's driver does not meet them.
func (w *world) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if w.t.Failed() {
		w.dump(ctx)
	}
	// A namespace takes some seconds to begin deleting; its pods are gone sooner when asked to.
	for what, err := range map[string]error{
		"namespace":    w.kube.CoreV1().Namespaces().Delete(ctx, w.ns, metav1.DeleteOptions{}),
		"deployments":  w.kube.AppsV1().Deployments(w.ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		"replica sets": w.kube.AppsV1().ReplicaSets(w.ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		"pods":         w.kube.CoreV1().Pods(w.ns).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}, metav1.ListOptions{}),
	} {
		if err != nil {
			w.t.Errorf("delete %s: %v", what, err)
		}
	}
	for {
		pods, err := w.kube.CoreV1().Pods(w.ns).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) == 0 {
			break
		}
		if !sleep(ctx, 100*time.Millisecond) {
			w.t.Error("the namespace's pods are not gone")
			break
		}
	}
	w.d.Stop()
}

func (w *world) dump(ctx context.Context) {
	events, err := w.kube.CoreV1().Events(w.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, e := range events.Items {
		w.t.Logf("event: %s %s/%s %s: %s", e.Source.Component, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

func namespaceName(t *testing.T) string {
	name := strings.Trim(notName.ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	if len(name) > 50 {
		name = name[len(name)-50:]
	}
	return fmt.Sprintf("%s-%d", strings.Trim(name, "-"), time.Now().UnixMilli()%100000)
}

// until waits for ok, which says what it still waits for.
func (w *world) until(what string, ok func() string) {
	w.t.Helper()
	const patience = 2 * time.Minute
	lacks := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if lacks = ok(); lacks == "" {
			return
		}
	}
	w.t.Fatalf("%s: not seen in %s: %s", what, patience, lacks)
}

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	clientID = "22222222-2222-2222-2222-222222222222"
	keyVault = "shop-kv"
)

// class makes a class over secrets of the vault; with a Secret's name it also syncs each under its own name.
func (w *world) class(name, secret string, objects ...string) *Class {
	w.t.Helper()
	c := &Class{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec: ClassSpec{Provider: "azure", Parameters: map[string]string{
			"keyvaultName": keyVault, "tenantID": tenant, "clientID": clientID, "objects": objectsText(objects...),
		}},
	}
	if secret != "" {
		o := SecretObject{SecretName: secret, Type: "Opaque"}
		for _, name := range objects {
			o.Data = append(o.Data, SecretObjectData{ObjectName: name, Key: name})
		}
		c.Spec.SecretObjects = []SecretObject{o}
	}
	return w.create(c)
}

func (w *world) create(c *Class) *Class {
	w.t.Helper()
	c, err := w.d.kubelet.classes(w.ns).Create(w.t.Context(), c, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func objectsText(names ...string) string {
	var list struct {
		Array []string `json:"array"`
	}
	for _, name := range names {
		entry, _ := json.Marshal(map[string]string{"objectName": name, "objectType": "secret"})
		list.Array = append(list.Array, string(entry))
	}
	text, _ := json.Marshal(list)
	return string(text)
}

// mountOf is a pod that mounts the class; env maps a variable to "secret/key".
func mountOf(class string, env map[string]string) corev1.PodSpec {
	c := corev1.Container{Name: "app", Image: "app:1", VolumeMounts: []corev1.VolumeMount{{Name: "vault", MountPath: "/mnt/secrets", ReadOnly: true}}}
	for name, from := range env {
		secret, key, _ := strings.Cut(from, "/")
		c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key,
		}}})
	}
	return corev1.PodSpec{
		Containers: []corev1.Container{c},
		Volumes: []corev1.Volume{{Name: "vault", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
			Driver: Name, ReadOnly: ptr.To(true), VolumeAttributes: map[string]string{ClassAttribute: class},
		}}}},
		TerminationGracePeriodSeconds: ptr.To(int64(0)),
	}
}

func (w *world) pod(name string, spec corev1.PodSpec) *corev1.Pod {
	w.t.Helper()
	pod, err := w.kube.CoreV1().Pods(w.ns).Create(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return pod
}

func (w *world) deployment(name string, replicas int32, spec corev1.PodSpec) {
	w.t.Helper()
	labels := map[string]string{"app": name}
	_, err := w.kube.AppsV1().Deployments(w.ns).Create(w.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.until("deployment "+name+" ready", func() string {
		d, err := w.kube.AppsV1().Deployments(w.ns).Get(w.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if d.Status.ReadyReplicas != replicas {
			return fmt.Sprintf("%d of %d ready", d.Status.ReadyReplicas, replicas)
		}
		return ""
	})
}

func (w *world) getPod(name string) *corev1.Pod {
	w.t.Helper()
	pod, err := w.kube.CoreV1().Pods(w.ns).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return pod
}

func (w *world) ready(pod string) *corev1.Pod {
	w.t.Helper()
	w.until("pod "+pod+" ready", func() string {
		for _, c := range w.getPod(pod).Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return "not ready"
	})
	return w.getPod(pod)
}

func (w *world) statusOf(pod, class string) *PodStatus {
	w.t.Helper()
	s, err := w.d.kubelet.podStatuses(w.ns).Get(w.t.Context(), pod+"-"+w.ns+"-"+class, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	s, err := w.kube.CoreV1().Secrets(w.ns).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) secretHolds(name, key, value string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s in Secret %s", value, name), func() string {
		s, err := w.kube.CoreV1().Secrets(w.ns).Get(w.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if got := string(s.Data[key]); got != value {
			return "it holds " + got
		}
		return ""
	})
}

func (w *world) generation(pod, class string, want int64) *PodStatus {
	w.t.Helper()
	w.until(fmt.Sprintf("generation %d of %s's status", want, pod), func() string {
		if got := w.statusOf(pod, class).Generation; got != want {
			return fmt.Sprintf("it is %d", got)
		}
		return ""
	})
	return w.statusOf(pod, class)
}

// events returns the messages of a reason about a pod.
func (w *world) events(pod, reason string) []string {
	w.t.Helper()
	list, err := w.kube.CoreV1().Events(w.ns).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var messages []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name == pod && e.Reason == reason {
			messages = append(messages, e.Message)
		}
	}
	slices.Sort(messages)
	return messages
}

func (w *world) event(pod, reason, message string) {
	w.t.Helper()
	w.until(reason+" about "+pod, func() string {
		got := w.events(pod, reason)
		if slices.Contains(got, message) {
			return ""
		}
		return fmt.Sprintf("there is only %q", got)
	})
}

// turn makes pods rotate and waits until the vault has been asked for n more objects.
func (w *world) turn(reads int, poll func()) {
	w.t.Helper()
	before := w.vault.Reads(keyVault)
	poll()
	w.until("the turn", func() string {
		if got := w.vault.Reads(keyVault) - before; got < reads {
			return fmt.Sprintf("%d of %d reads", got, reads)
		}
		return ""
	})
}

func (w *world) patchSecret(name, patch string) {
	w.t.Helper()
	if _, err := w.kube.CoreV1().Secrets(w.ns).Patch(w.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// both runs a test against each generation.
func both(t *testing.T, test func(t *testing.T, g Generation)) {
	for _, g := range []Generation{Polling, Republishing} {
		t.Run(g.String(), func(t *testing.T) { test(t, g) })
	}
}

// seen counts what the driver knows of in the test's namespace.
func (w *world) seen(informer cache.SharedIndexInformer) int {
	n := 0
	for _, key := range informer.GetStore().ListKeys() {
		if strings.HasPrefix(key, w.ns+"/") {
			n++
		}
	}
	return n
}

func (w *world) untilSeen(informer cache.SharedIndexInformer, n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("the driver to know of %d", n), func() string {
		if got := w.seen(informer); got != n {
			return fmt.Sprintf("it knows of %d", got)
		}
		return ""
	})
}
