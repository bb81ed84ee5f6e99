package cluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// shared is booted once: booting is what most of these tests are about.
var shared *Cluster

func TestMain(m *testing.M) {
	if os.Getenv(orphanVariable) != "" {
		beOrphaned()
	}
	if logs := os.Getenv(lossVariable); logs != "" {
		beLost(logs)
	}
	os.Exit(Main(m, Options{Nodes: 2, AuditPolicy: true}, func(_ context.Context, c *Cluster) error {
		shared = c
		return nil
	}))
}

// namespace of its own for each test.
func namespace(t *testing.T) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	name = name[:min(len(name), 50)]
	if err := shared.Namespace(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	why := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var done bool
		if done, why = ok(); done {
			return
		}
	}
	t.Fatalf("not seen in %s: %s: %s\n%s", patience, what, why, shared.tails())
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					InitContainers: []corev1.Container{{Name: "init", Image: "init"}},
					Containers:     []corev1.Container{{Name: "app", Image: "app:1"}},
				},
			},
		},
	}
}

func TestADeploymentBecomesReadyOnEveryNode(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	apps := shared.Client().AppsV1().Deployments(ns)
	if _, err := apps.Create(ctx, deployment("web", 6), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready := func() (bool, string) {
		d, err := apps.Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		s := d.Status
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == 6 && s.AvailableReplicas == 6 && s.Replicas == 6,
			fmt.Sprintf("%+v", s)
	}
	eventually(t, "all pods ready", ready)

	pods, err := shared.Client().CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]bool{}
	for _, p := range pods.Items {
		nodes[p.Spec.NodeName] = true
		if p.Status.ContainerStatuses[0].State.Running == nil || p.Status.InitContainerStatuses[0].State.Terminated == nil || p.Status.PodIP == "" {
			t.Errorf("status of %s: %+v", p.Name, p.Status)
		}
		if len(p.Spec.Volumes) != 1 || !strings.HasPrefix(p.Spec.Volumes[0].Name, "kube-api-access-") {
			t.Errorf("no ServiceAccount admission on %s: %+v", p.Name, p.Spec.Volumes)
		}
	}
	if len(nodes) != 2 {
		t.Errorf("pods on %v", nodes)
	}

	// A rollout goes through, as kubectl sees it.
	if _, err := shared.Kubectl(ctx, "-n", ns, "set", "image", "deployment/web", "app=app:2"); err != nil {
		t.Fatal(err)
	}
	out, err := shared.Kubectl(ctx, "-n", ns, "rollout", "status", "deployment/web", "--timeout=120s")
	if err != nil || !strings.Contains(out, "successfully rolled out") {
		t.Fatalf("%s\n%v", out, err)
	}
	if err := apps.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pods and ReplicaSets collected", func() (bool, string) {
		out, err := shared.Kubectl(ctx, "-n", ns, "get", "pods,replicasets", "-o", "name")
		return err == nil && out == "", out
	})
}

func TestAJobCompletes(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "once"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "app", Image: "app"}},
		}}},
	}
	if _, err := shared.Client().BatchV1().Jobs(ns).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := shared.Kubectl(ctx, "-n", ns, "wait", "--for=condition=complete", "job/once", "--timeout=120s"); err != nil {
		t.Fatal(out, err)
	}
}

func TestAServiceAccountMayDoWhatItsRoleSaysAndNoMore(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	for _, args := range [][]string{
		{"-n", ns, "create", "serviceaccount", "reader"},
		{"-n", ns, "create", "role", "reader", "--verb=get,list", "--resource=configmaps"},
		{"-n", ns, "create", "rolebinding", "reader", "--role=reader", "--serviceaccount=" + ns + ":reader"},
	} {
		if out, err := shared.Kubectl(ctx, args...); err != nil {
			t.Fatal(out, err)
		}
	}
	config, err := shared.ServiceAccountConfig(ctx, ns, "reader")
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	since := time.Now().Add(-time.Second)
	eventually(t, "the role is in force", func() (bool, string) {
		_, err := client.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{})
		return err == nil, fmt.Sprint(err)
	})
	if _, err := client.CoreV1().Secrets(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("secrets: %v", err)
	}

	path, err := shared.ServiceAccountKubeconfig(ctx, ns, "reader")
	if err != nil {
		t.Fatal(err)
	}
	out, err := shared.Kubectl(ctx, "--kubeconfig="+path, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	user := "system:serviceaccount:" + ns + ":reader"
	if err != nil || out != user {
		t.Fatalf("kubeconfig is of %q (%v)", out, err)
	}

	eventually(t, "the audit log tells of it", func() (bool, string) {
		all, err := shared.Requests(since)
		if err != nil {
			t.Fatal(err)
		}
		count := all.By(user).Count()
		refused := all.By(user).Where(func(r Request) bool { return r.Code == 403 && r.Resource == "secrets" && r.Namespace == ns })
		return count["list configmaps"] >= 1 && count["list secrets"] == 1 && len(refused) == 1, fmt.Sprint(count)
	})
}

func TestKubectlErrorsHoldWhatKubectlSaid(t *testing.T) {
	out, err := shared.Kubectl(t.Context(), "get", "deployment", "nobody")
	if err == nil || !strings.Contains(err.Error(), `"nobody" not found`) {
		t.Fatalf("%q %v", out, err)
	}
}

func TestTheServerTellsItsRealVersion(t *testing.T) {
	version, err := shared.Client().Discovery().ServerVersion()
	if err != nil || version.Major != "1" || !strings.HasPrefix(version.GitVersion, "v1."+version.Minor+".") {
		t.Fatalf("%+v %v", version, err)
	}
}

func TestMetricsOfTheAPIServer(t *testing.T) {
	m, err := shared.APIServerMetrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Sum("apiserver_request_total", map[string]string{"verb": "POST", "resource": "nodes", "code": "201"}) < 2 {
		t.Error("the two nodes were not counted")
	}
	if calls, err := shared.WebhookCalls(t.Context(), "nobody.example"); err != nil || calls != 0 {
		t.Errorf("calls of a webhook that is not there: %d %v", calls, err)
	}
}

func TestANodeCanBeAdded(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	if err := shared.AddNode(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "there"}, Spec: corev1.PodSpec{
		NodeSelector: map[string]string{corev1.LabelHostname: "late"},
		Containers:   []corev1.Container{{Name: "app", Image: "app"}},
	}}
	if _, err := shared.Client().CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := shared.Kubectl(ctx, "-n", ns, "wait", "--for=condition=ready", "pod/there", "--timeout=120s"); err != nil {
		t.Fatal(out, err)
	}
}

func TestTheAPIServerRestartsWithItsData(t *testing.T) {
	ns, ctx := namespace(t), t.Context()
	before := shared.process(nameAPIServer).Pid()
	if err := shared.RestartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	if after := shared.process(nameAPIServer).Pid(); after == before {
		t.Fatal("the same process")
	}
	if _, err := shared.Client().CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	// Controllers and kwok find it again.
	if _, err := shared.Client().AppsV1().Deployments(ns).Create(ctx, deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := shared.Kubectl(ctx, "-n", ns, "rollout", "status", "deployment/web", "--timeout=120s"); err != nil {
		t.Fatal(out, err)
	}
}

func TestAComponentThatDiesIsToldWithItsLog(t *testing.T) {
	var out strings.Builder
	_, err := Start(t.Context(), Options{Out: &out, APIServerArgs: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended by itself") || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Fatalf("error: %v", err)
	}
}
