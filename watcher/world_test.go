package watcher

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"keyroll.dev/internal/annotation"
	kubefake "keyroll.dev/internal/kube/fake"
	"keyroll.dev/internal/secretsstore"
	driverfake "keyroll.dev/internal/secretsstore/fake"
)

// The clock of all test worlds.
var noon = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

const shop = "shop"

// cached makes caches that hold the objects, with informers that do not run.
func cached(t testing.TB, objects ...runtime.Object) *caches {
	t.Helper()
	driverClient, _, _ := driverfake.New()
	digests := digester{key: []byte("a key for tests only")}
	c := newCaches(Config{Kube: kubefake.New(fake.NewClientset()), Driver: driverClient, Namespace: "keyroll-system"}, &digests)
	for _, object := range objects {
		if err := c.add(object, digests); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c.statuses.all() {
		c.refile(s)
	}
	return c
}

func (c *caches) add(object runtime.Object, digests digester) error {
	see := lens{reloader: true}
	switch o := object.(type) {
	case *appsv1.Deployment:
		return c.workloads[deployments.GroupKind()].informer.GetIndexer().Add(see.deployment(o))
	case *appsv1.StatefulSet:
		return c.workloads[statefulSets.GroupKind()].informer.GetIndexer().Add(see.statefulSet(o))
	case *appsv1.DaemonSet:
		return c.workloads[daemonSets.GroupKind()].informer.GetIndexer().Add(see.daemonSet(o))
	case *appsv1.ReplicaSet:
		return c.replicaSets.informer.GetIndexer().Add(see.replicaSet(o))
	case *appsv1.ControllerRevision:
		return c.controllerRevisions.informer.GetIndexer().Add(slimControllerRevision(o))
	case *batchv1.CronJob:
		return c.workloads[cronJobs.GroupKind()].informer.GetIndexer().Add(see.cronJob(o))
	case *corev1.Node:
		return c.nodes.informer.GetIndexer().Add(slimNode(o))
	case *corev1.Event:
		return c.mountFailures.informer.GetIndexer().Add(slimMountFailure(o))
	case *corev1.Pod:
		return c.pods.informer.GetIndexer().Add(slimPod(o))
	case *secretsstore.SecretProviderClassPodStatus:
		return c.statuses.informer.GetIndexer().Add(c.reported.slimStatus(o))
	case *secretsstore.SecretProviderClass:
		return c.classes.informer.GetIndexer().Add(slimClass(o))
	case *corev1.Secret:
		return c.secrets.informer.GetIndexer().Add(digests.slim(o))
	case *corev1.Namespace:
		return c.namespaces.informer.GetIndexer().Add(slimNamespace(o))
	case *corev1.ServiceAccount:
		return c.accounts.informer.GetIndexer().Add(slimAccount(o))
	case *storagev1.CSIDriver:
		return c.drivers.informer.GetIndexer().Add(slimDriver(o))
	default:
		return fmt.Errorf("no cache for %T", object)
	}
}

// The objects of a small shop: Deployment web, whose one ReplicaSet has two
// pods that mount class vault-files.

func enabledNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:        shop,
		Labels:      map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled},
		Annotations: map[string]string{annotation.Vault: "shop-kv", annotation.TenantID: "11111111-1111-1111-1111-111111111111"},
	}}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: shop, Name: name, UID: types.UID(name + "-uid"), ResourceVersion: "1", Generation: 1,
		CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour)),
	}
}

// tracked makes the API server note who changes what, which it does for objects
// that have such a note already.
func tracked() []metav1.ManagedFieldsEntry {
	at := metav1.NewTime(noon.Add(-time.Hour))
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes([]byte(`{"f:spec":{"f:replicas":{}}}`))
	return []metav1.ManagedFieldsEntry{{
		Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", Time: &at,
		FieldsType: "FieldsV1", FieldsV1: fields,
	}}
}

func controlledBy(m *metav1.ObjectMeta, kind schema.GroupVersionKind, name string) {
	yes := true
	apiVersion, kindName := kind.ToAPIVersionAndKind()
	m.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: apiVersion, Kind: kindName, Name: name, UID: types.UID(name + "-uid"), Controller: &yes,
	}}
}

func deployment(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	replicas := int32(2)
	d := &appsv1.Deployment{ObjectMeta: meta("web")}
	d.ManagedFields = tracked()
	d.Annotations = map[string]string{revisionAnnotation: "1"}
	d.Spec.Replicas = &replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2}
	for _, f := range change {
		f(d)
	}
	return d
}

func replicaSet(name, number string) *appsv1.ReplicaSet {
	r := &appsv1.ReplicaSet{ObjectMeta: meta(name)}
	r.Annotations = map[string]string{revisionAnnotation: number}
	controlledBy(&r.ObjectMeta, deployments, "web")
	return r
}

func controllerRevision(name string, number int64, hash string) *appsv1.ControllerRevision {
	r := &appsv1.ControllerRevision{ObjectMeta: meta(name), Revision: number}
	r.Labels = map[string]string{appsv1.ControllerRevisionHashLabelKey: hash}
	controlledBy(&r.ObjectMeta, daemonSets, "agent")
	return r
}

// injectedPod runs since 11:00 in one container and mounts the class.
func injectedPod(name, replicaSet, class string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta(name)}
	p.Labels = map[string]string{annotation.InjectedLabel: "true"}
	p.Annotations = map[string]string{}
	controlledBy(&p.ObjectMeta, replicaSets, replicaSet)
	p.Spec.Containers = []corev1.Container{{Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "files", MountPath: "/mnt/secrets"}}}}
	p.Spec.Volumes = []corev1.Volume{csiVolume("files", class)}
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", noon.Add(-time.Hour))}
	for _, f := range change {
		f(p)
	}
	return p
}

func csiVolume(name, class string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: secretsstore.DriverName, VolumeAttributes: map[string]string{secretsstore.ClassAttribute: class},
	}}}
}

func running(container string, since time.Time) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: container, State: corev1.ContainerState{
		Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)},
	}}
}

func envFrom(secret string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{
			Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "db-password",
			}},
		})
	}
}

// podStatus is what the driver writes for a pod's mount of a class.
func podStatus(pod, class, version string, generation int64, changed time.Time) *secretsstore.SecretProviderClassPodStatus {
	s := &secretsstore.SecretProviderClassPodStatus{ObjectMeta: meta(pod + "-" + shop + "-" + class)}
	s.Generation = generation
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod, UID: types.UID(pod + "-uid")}}
	at := metav1.NewTime(changed)
	s.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: secretsstore.FieldManager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &at,
	}}
	s.Status = secretsstore.SecretProviderClassPodStatusStatus{
		PodName: pod, SecretProviderClassName: class, Mounted: true,
		TargetPath: "/var/lib/kubelet/pods/" + pod + "-uid/volumes/kubernetes.io~csi/files/mount",
		Objects:    []secretsstore.SecretProviderClassObject{{ID: "secret/db-password", Version: version}},
	}
	return s
}

// syncingClass fills a Secret with db-password.
func syncingClass(name, secret string) *secretsstore.SecretProviderClass {
	return &secretsstore.SecretProviderClass{
		ObjectMeta: meta(name),
		Spec: secretsstore.SecretProviderClassSpec{
			Provider: secretsstore.ProviderAzure,
			Parameters: map[string]string{
				"keyvaultName": "shop-kv",
				"objects":      "array:\n  - |\n    objectName: db-password\n    objectType: secret\n",
			},
			SecretObjects: []*secretsstore.SecretObject{{
				SecretName: secret, Type: "Opaque",
				Data: []*secretsstore.SecretObjectData{{ObjectName: "db-password", Key: "db-password"}},
			}},
		},
	}
}

func managedSecret(name, value string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: meta(name), Data: map[string][]byte{"db-password": []byte(value)}}
	s.Labels = map[string]string{secretsstore.ManagedLabel: "true"}
	return s
}
