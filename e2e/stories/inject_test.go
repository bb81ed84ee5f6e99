package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/internal/annotation"
)

// prepare is begin without kubectl, for the many small stories of injection.
// The namespace can be changed before it is created.
func prepare(t *testing.T, ns string, change ...func(*corev1.Namespace)) *story {
	t.Helper()
	s := newStory(t, ns)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:        s.ns,
		Labels:      map[string]string{annotation.InjectionLabel: annotation.InjectionEnabled},
		Annotations: map[string]string{annotation.Vault: s.vault, annotation.TenantID: s.Identity.TenantID},
	}}
	for _, f := range change {
		f(namespace)
	}
	if _, err := s.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.account(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: account, Annotations: map[string]string{annotation.IdentityClientID: s.Identity.ClientID},
	}})
	s.allow()
	s.rotate("db-username")
	s.rotate("db-password")
	// Pods that name no account wait for this one, which a controller makes.
	eventually(t, "the namespace has its default account", func(ctx context.Context) string {
		_, err := s.Client().CoreV1().ServiceAccounts(s.ns).Get(ctx, "default", metav1.GetOptions{})
		return text(err)
	})
	if namespace.Labels[annotation.InjectionLabel] == annotation.InjectionEnabled {
		s.heard(account, s.Identity.ClientID)
	}
	return s
}

// heard waits until the webhook knows a ServiceAccount of the namespace by its
// client id.
func (s *story) heard(account, client string) {
	s.t.Helper()
	eventually(s.t, "the webhook knows ServiceAccount "+account, func(ctx context.Context) string {
		return s.Unheard(ctx, s.ns, s.podSpec(), account, client)
	})
}

func (s *story) account(a *corev1.ServiceAccount) {
	s.t.Helper()
	if _, err := s.Client().CoreV1().ServiceAccounts(s.ns).Create(s.t.Context(), a, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func text(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// kind is one of those that have a pod template.
type kind struct {
	name, version, resource string
	spec                    map[string]any // without the template
	template                []string       // the way to it
	pods                    int            // that run; 0: a Job makes them
	rolls                   bool           // a changed template replaces the pods
}

var (
	selectsWeb = map[string]any{"matchLabels": map[string]any{"app": appName}}
	deployment = kind{
		name: "Deployment", version: "apps/v1", resource: "deployments", pods: 2, rolls: true,
		spec: map[string]any{"replicas": int64(2), "selector": selectsWeb}, template: []string{"spec", "template"},
	}
	statefulSet = kind{
		name: "StatefulSet", version: "apps/v1", resource: "statefulsets", pods: 2, rolls: true,
		spec: map[string]any{"replicas": int64(2), "selector": selectsWeb, "serviceName": appName}, template: []string{"spec", "template"},
	}
	daemonSet = kind{
		name: "DaemonSet", version: "apps/v1", resource: "daemonsets", pods: 3, rolls: true,
		spec: map[string]any{"selector": selectsWeb}, template: []string{"spec", "template"},
	}
	replicaSet = kind{
		name: "ReplicaSet", version: "apps/v1", resource: "replicasets", pods: 2,
		spec: map[string]any{"replicas": int64(2), "selector": selectsWeb}, template: []string{"spec", "template"},
	}
	job     = kind{name: "Job", version: "batch/v1", resource: "jobs", spec: map[string]any{}, template: []string{"spec", "template"}}
	cronJob = kind{
		name: "CronJob", version: "batch/v1", resource: "cronjobs",
		spec: map[string]any{"schedule": "0 0 29 2 *"}, template: []string{"spec", "jobTemplate", "spec", "template"},
	}
)

// object is one named web as a user writes it, with annotations on itself and on its template.
func (k kind) object(own, template map[string]string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": k.version, "kind": k.name, "metadata": map[string]any{"name": appName},
	}}
	if own != nil {
		o.SetAnnotations(own)
	}
	metadata := map[string]any{"labels": map[string]any{"app": appName}}
	if template != nil {
		metadata["annotations"] = anyMap(template)
	}
	pod := map[string]any{"containers": []any{map[string]any{"name": "app", "image": "shop/app:1"}}}
	if k.pods == 0 {
		pod["restartPolicy"] = "Never"
	}
	spec := maps.Clone(k.spec)
	o.Object["spec"] = spec
	if err := unstructured.SetNestedMap(o.Object, map[string]any{"metadata": metadata, "spec": pod}, k.template...); err != nil {
		panic(err) // the kinds are written above
	}
	return o
}

func anyMap(m map[string]string) map[string]any {
	out := map[string]any{}
	for key, value := range m {
		out[key] = value
	}
	return out
}

// withImage is the object with another image.
func (k kind) withImage(o *unstructured.Unstructured, image string) *unstructured.Unstructured {
	o = o.DeepCopy()
	containers := []any{map[string]any{"name": "app", "image": image}}
	if err := unstructured.SetNestedSlice(o.Object, containers, append(k.template[:len(k.template):len(k.template)], "spec", "containers")...); err != nil {
		panic(err)
	}
	return o
}

func (s *story) resource(k kind) dynamic.ResourceInterface {
	s.t.Helper()
	client, err := dynamic.NewForConfig(s.Admin())
	if err != nil {
		s.t.Fatal(err)
	}
	version, err := schema.ParseGroupVersion(k.version)
	if err != nil {
		s.t.Fatal(err)
	}
	return client.Resource(version.WithResource(k.resource)).Namespace(s.ns)
}

// live is the workload web as the API server has it.
func (s *story) live(k kind) *unstructured.Unstructured {
	s.t.Helper()
	o, err := s.resource(k).Get(s.t.Context(), appName, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// annotationsOf are those of the workload's template.
func (k kind) annotationsOf(o *unstructured.Unstructured) map[string]string {
	a, _, _ := unstructured.NestedStringMap(o.Object, append(k.template[:len(k.template):len(k.template)], "metadata", "annotations")...)
	return a
}

// printed is what a kubectl command printed.
type printed struct {
	out, errs string
	err       error
}

// try runs kubectl in the story's namespace, with an object, if any, on standard input.
func (s *story) try(input *unstructured.Unstructured, args ...string) (p printed) {
	s.t.Helper()
	cmd := s.KubectlCommand(s.t.Context(), append(args, "--namespace="+s.ns)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if input != nil {
		manifest, err := json.Marshal(input)
		if err != nil {
			s.t.Fatal(err)
		}
		cmd.Stdin = bytes.NewReader(manifest)
	}
	p.err = cmd.Run()
	p.out, p.errs = out.String(), errs.String()
	return p
}

// do is try for what must succeed.
func (s *story) do(input *unstructured.Unstructured, args ...string) printed {
	s.t.Helper()
	p := s.try(input, args...)
	if p.err != nil {
		s.t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), p.err, p.errs)
	}
	return p
}

// livePods are those that neither end nor have ended.
func (s *story) livePods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.Client().CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{LabelSelector: "app=" + appName})
	if err != nil {
		return nil, err
	}
	var live []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			live = append(live, p)
		}
	}
	return live, nil
}

// run tells what is lacking until exactly n pods run, all of them as wanted.
func (s *story) run(n int, wanted func(corev1.Pod) string) func(context.Context) string {
	return func(ctx context.Context) string {
		pods, err := s.livePods(ctx)
		if err != nil {
			return err.Error()
		}
		if len(pods) != n {
			return fmt.Sprintf("%d pods, not %d", len(pods), n)
		}
		for _, p := range pods {
			if p.Status.Phase != corev1.PodRunning {
				return fmt.Sprintf("pod %s is %s", p.Name, p.Status.Phase)
			}
			if lacking := wanted(p); lacking != "" {
				return fmt.Sprintf("pod %s: %s", p.Name, lacking)
			}
		}
		return ""
	}
}

// plain wants a pod with nothing of ours, but for the stamp of a rollout long ago.
func plain(p corev1.Pod) string {
	for _, v := range p.Spec.Volumes {
		if v.CSI != nil {
			return "it has a CSI volume"
		}
	}
	for _, all := range []map[string]string{p.Labels, p.Annotations} {
		for key := range all {
			ours := strings.HasPrefix(key, annotation.Prefix) || key == annotation.IdentityUseLabel
			if ours && key != annotation.Content {
				return "it has " + key
			}
		}
	}
	return ""
}

// injected wants a pod that runs as web and whose container started with the
// newest db-password from the vault.
func (s *story) injected(p corev1.Pod) string {
	newest, _ := s.Vault.Newest(s.vault, "secret", "db-password")
	for _, start := range s.Driver.Starts(s.ns) {
		if start.UID != p.UID {
			continue
		}
		switch file, there := start.Files[annotation.DefaultMountPath+"/db-password"]; {
		case !there:
			return fmt.Sprintf("started without the file, with %d others", len(start.Files))
		case file.Value != newest.Value:
			return "started with an old file"
		case p.Spec.ServiceAccountName != account:
			return "runs as " + p.Spec.ServiceAccountName
		case p.Labels[annotation.IdentityUseLabel] != "true", p.Labels[annotation.InjectedLabel] != "true":
			return fmt.Sprintf("labels %v", p.Labels)
		}
		return ""
	}
	return "no container has started"
}

// asks is the annotation of most stories: as arguments of kubectl annotate, and
// as they stand on an object.
var asks = map[string]string{annotation.Objects: "db-password", annotation.ServiceAccount: account}

// copied is what the webhook makes of asks in a template.
func copied() map[string]string {
	want := maps.Clone(asks)
	want[annotation.FromWorkload] = "objects,service-account"
	return want
}

func (s *story) wantTemplate(k kind, want map[string]string) {
	s.t.Helper()
	if diff := cmp.Diff(want, k.annotationsOf(s.live(k))); diff != "" {
		s.t.Errorf("annotations of the %s's template (-want +got):\n%s", k.name, diff)
	}
}

func annotate(k kind) []string {
	return []string{"annotate", k.name + "/" + appName, annotation.Objects + "=db-password", annotation.ServiceAccount + "=" + account}
}

func unannotate(k kind) []string {
	return []string{"annotate", k.name + "/" + appName, annotation.Objects + "-", annotation.ServiceAccount + "-"}
}

// TestInjectAnnotated annotates workloads that run, as the README does, and
// takes the annotations off again.
func TestInjectAnnotated(t *testing.T) {
	for _, k := range []kind{deployment, statefulSet, daemonSet, replicaSet} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, "annotated-"+strings.ToLower(k.name))
			replaced := func() {
				if !k.rolls { // only new pods have the new template
					s.do(nil, "delete", "pods", "--all", "--wait=false")
				}
			}
			s.do(k.object(nil, nil), "apply", "-f", "-")
			eventually(t, "plain pods run", s.run(k.pods, plain))

			s.do(nil, annotate(k)...)
			s.wantTemplate(k, copied())
			replaced()
			eventually(t, "injected pods run", s.run(k.pods, s.injected))

			s.do(nil, unannotate(k)...)
			s.wantTemplate(k, nil)
			replaced()
			eventually(t, "plain pods run again", s.run(k.pods, plain))
			if got := s.live(k).GetGeneration(); got != 3 {
				t.Errorf("generation %d after two changes of the annotations, want 3", got)
			}
		})
	}
}

// TestInjectCronJob has no pods to replace: its next Job is injected.
func TestInjectCronJob(t *testing.T) {
	t.Parallel()
	s := prepare(t, "annotated-cronjob")
	started := func(name string) func(context.Context) string {
		return func(ctx context.Context) string {
			pods, err := s.Client().CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + name})
			switch {
			case err != nil:
				return err.Error()
			case len(pods.Items) != 1:
				return fmt.Sprintf("%d pods", len(pods.Items))
			}
			return s.injected(pods.Items[0])
		}
	}
	s.do(cronJob.object(nil, nil), "apply", "-f", "-")
	s.do(nil, annotate(cronJob)...)
	s.wantTemplate(cronJob, copied())
	s.do(nil, "create", "job", "first", "--from=cronjob/"+appName)
	eventually(t, "the Job's pod is injected", started("first"))

	s.do(nil, unannotate(cronJob)...)
	s.wantTemplate(cronJob, nil)
	s.do(nil, "create", "job", "second", "--from=cronjob/"+appName)
	eventually(t, "the next Job's pod is plain", func(ctx context.Context) string {
		pods, err := s.Client().CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=second"})
		if err != nil || len(pods.Items) != 1 {
			return fmt.Sprintf("%d pods, error %v", len(pods.Items), err)
		}
		return plain(pods.Items[0])
	})
}

// TestInjectJob annotates when it creates: afterwards a Job's template cannot
// change, so annotations that come too late change nothing, and do not hinder
// the Job's deletion.
func TestInjectJob(t *testing.T) {
	t.Parallel()
	s := prepare(t, "annotated-job")
	s.do(job.object(asks, nil), "apply", "-f", "-")
	s.wantTemplate(job, copied())
	eventually(t, "the Job's pod is injected", func(ctx context.Context) string {
		pods, err := s.Client().CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{LabelSelector: "app=" + appName})
		if err != nil || len(pods.Items) != 1 {
			return fmt.Sprintf("%d pods, error %v", len(pods.Items), err)
		}
		return s.injected(pods.Items[0])
	})
	s.do(nil, unannotate(job)...)
	s.wantTemplate(job, copied())
	s.do(nil, "delete", "job/"+appName)
}

// TestInjectPod annotates a pod that nobody owns.
func TestInjectPod(t *testing.T) {
	t.Parallel()
	s := prepare(t, "annotated-pod")
	pod := s.pod(appName)
	pod.Labels, pod.Annotations = map[string]string{"app": appName}, asks
	if _, err := s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is injected", s.run(1, s.injected))
}

// TestInjectTemplateWins has both, and a user who is told which one counts.
func TestInjectTemplateWins(t *testing.T) {
	t.Parallel()
	s := prepare(t, "template-wins")
	both := deployment.object(
		map[string]string{annotation.Objects: "db-username", annotation.ServiceAccount: account},
		map[string]string{annotation.Objects: "db-password"})
	warned := s.do(both, "apply", "-f", "-").errs
	const want = `Warning: keyroll.dev/objects: the pod template's own value "db-password" wins over the workload's "db-username"`
	if !containsLine(warned, want) {
		t.Errorf("kubectl apply lacks %q:\n%s", want, warned)
	}
	s.wantTemplate(deployment, map[string]string{
		annotation.Objects: "db-password", annotation.ServiceAccount: account, annotation.FromWorkload: "service-account",
	})
	eventually(t, "injected pods run", s.run(deployment.pods, s.injected))

	s.do(nil, unannotate(deployment)...)
	s.wantTemplate(deployment, map[string]string{annotation.Objects: "db-password"})
}

// TestInjectOwned annotates a ReplicaSet of a Deployment, to which the
// Deployment's controller copies annotations as well. Were its template
// changed, the Deployment would make another one.
func TestInjectOwned(t *testing.T) {
	t.Parallel()
	s := prepare(t, "owned")
	s.do(deployment.object(asks, nil), "apply", "-f", "-")
	eventually(t, "injected pods run", s.run(deployment.pods, s.injected))
	list := func() []unstructured.Unstructured {
		sets, err := s.resource(replicaSet).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return sets.Items
	}
	sets := list()
	if len(sets) != 1 || sets[0].GetAnnotations()[annotation.Objects] == "" {
		t.Fatalf("%d ReplicaSets, want one with the Deployment's annotations", len(sets))
	}
	s.do(nil, "annotate", "replicaset", sets[0].GetName(), annotation.MountPath+"=/mnt/other")
	s.do(nil, "scale", "deployment", appName, "--replicas=3")
	eventually(t, "a third pod runs", s.run(3, s.injected))
	sets = list()
	if len(sets) != 1 {
		t.Fatalf("%d ReplicaSets, want one", len(sets))
	}
	if diff := cmp.Diff(copied(), replicaSet.annotationsOf(&sets[0])); diff != "" {
		t.Errorf("annotations of the ReplicaSet's template (-want +got):\n%s", diff)
	}
}
