package stories

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
)

// TestInjectRestricted has a namespace that enforces the strictest Pod Security
// Standard.
func TestInjectRestricted(t *testing.T) {
	t.Parallel()
	s := prepare(t, "restricted", func(n *corev1.Namespace) {
		n.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
		n.Labels["pod-security.kubernetes.io/warn"] = "restricted"
	})
	yes, no := true, false
	d := s.deployment(appName, 2, map[string]string{
		annotation.Objects: "db-password", annotation.ServiceAccount: account, annotation.Env: "DB_PASSWORD=db-password",
	})
	d.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	s.create(d)
	eventually(t, "injected pods run", s.run(2, s.injected))
	eventually(t, "they have the variable", func(context.Context) string {
		return s.outdated(map[string]string{"DB_PASSWORD": "db-password"})
	})
}

// TestInjectDryRun looks at what would be, which must not come to be.
func TestInjectDryRun(t *testing.T) {
	t.Parallel()
	s := prepare(t, "dry-run")
	out := s.do(deployment.object(asks, nil), "apply", "--dry-run=server", "-o", "yaml", "-f", "-").out
	if !containsLine(out, annotation.FromWorkload+": objects,service-account") {
		t.Errorf("kubectl apply --dry-run=server does not show what is copied into the template:\n%s", out)
	}
	pod := s.pod("shown")
	pod.Annotations = asks
	shown, err := s.Client().CoreV1().Pods(s.ns).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	record, err := dependency.Decode(shown.Annotations[annotation.Dependencies])
	if err != nil {
		t.Fatal(err)
	}

	// When the watcher has made the class of what came later, it has passed over what was only shown.
	s.create(s.deployment(appName, 1, map[string]string{annotation.Objects: "db-username,db-password", annotation.ServiceAccount: account}))
	eventually(t, "a Deployment that is there runs", func(ctx context.Context) string { return s.complete(ctx, appName) })
	client, err := dynamic.NewForConfig(s.Admin())
	if err != nil {
		t.Fatal(err)
	}
	classes, err := client.Resource(driver.GroupVersion.WithResource("secretproviderclasses")).Namespace(s.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(classes.Items) != 1 || classes.Items[0].GetName() == record.SecretProviderClass {
		t.Errorf("there are %d classes, want only the one that is needed, not %s", len(classes.Items), record.SecretProviderClass)
	}
	if _, err := s.Client().CoreV1().Pods(s.ns).Get(t.Context(), "shown", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod that was only shown: %v", err)
	}
}

// maxAnnotations is the size of all of an object's annotations together that
// the API server accepts (apimachinery pkg/api/validation/objectmeta.go).
const maxAnnotations = 256 << 10

// fill adds annotations of the given size each, key and value, up to the limit.
func fill(t *testing.T, a map[string]string, each int) map[string]string {
	t.Helper()
	left := maxAnnotations
	filled := maps.Clone(a)
	if filled == nil {
		filled = map[string]string{}
	}
	for key, value := range filled {
		left -= len(key) + len(value)
	}
	for i := 0; left > 0; i++ {
		key := fmt.Sprintf("k%05d", i)
		if left < 2*each {
			each = left // the last one takes what is left
		}
		filled[key] = strings.Repeat("x", each-len(key))
		left -= each
	}
	return filled
}

// TestInjectAtTheLimit has objects with as many annotations as the API server
// takes. Its look at them, before it calls us, must not fail: under
// failurePolicy Fail that would refuse pods that have nothing to do with us.
func TestInjectAtTheLimit(t *testing.T) {
	s := prepare(t, "limit")
	for shape, each := range map[string]int{"few large": 64 << 10, "10,000 small": 26, "as many as fit": 6} {
		bystander := fill(t, nil, each)
		asking := roomy(t, asks, each)
		t.Run("pod, "+shape, func(t *testing.T) {
			pod, err := s.dryRunPod(bystander)
			if err != nil {
				t.Fatalf("a pod with %d annotations that does not ask: %v", len(bystander), brief(err))
			}
			if lacking := plain(*pod); lacking != "" {
				t.Errorf("a pod with %d annotations that does not ask: %s", len(bystander), lacking)
			}
			if pod, err = s.dryRunPod(asking); err != nil {
				t.Fatalf("a pod with %d annotations that asks: %v", len(asking), brief(err))
			}
			if pod.Spec.ServiceAccountName != account || pod.Annotations[annotation.Dependencies] == "" {
				t.Errorf("a pod with %d annotations that asks is not injected", len(asking))
			}
		})
	}
	// An update of a workload is looked at with the old object, and each with its template.
	for shape, each := range map[string]int{"few large": 64 << 10, "10,000 small": 26} {
		t.Run("Deployment, "+shape, func(t *testing.T) {
			bystander := fill(t, nil, each)
			d := s.deployment(strings.NewReplacer(" ", "-", ",", "").Replace(shape), 0, bystander)
			d.Spec.Paused = true // without a ReplicaSet that is as large
			d.Spec.Template.Annotations = bystander
			deployments := s.Client().AppsV1().Deployments(s.ns)
			d, err := deployments.Create(t.Context(), d, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(brief(err))
			}
			d.ResourceVersion = "" // its controller writes, too
			for what, change := range map[string]func(*appsv1.Deployment){
				"nothing of ours": func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop/app:2" },
				"it asks": func(d *appsv1.Deployment) {
					d.Annotations, d.Spec.Template.Annotations = fill(t, asks, each), roomy(t, nil, each)
				},
				"its template asks": func(d *appsv1.Deployment) { d.Spec.Template.Annotations = roomy(t, asks, each) },
				"it is scaled":      func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) },
			} {
				changed := d.DeepCopy()
				change(changed)
				if _, err := deployments.Update(t.Context(), changed, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
					t.Errorf("%s: %s", what, brief(err))
				}
			}
		})
	}
}

// roomy fills, and leaves room for what we add.
func roomy(t *testing.T, a map[string]string, each int) map[string]string {
	t.Helper()
	filled := fill(t, merge(a, map[string]string{"room": strings.Repeat("x", 1000)}), each)
	delete(filled, "room")
	return filled
}

func (s *story) dryRunPod(annotations map[string]string) (*corev1.Pod, error) {
	pod := s.pod(appName)
	pod.Annotations = annotations
	return s.Client().CoreV1().Pods(s.ns).Create(s.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func merge(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}

// brief is an error without the hundreds of kilobytes that it may be about.
func brief(err error) string { return fmt.Sprintf("%.500s", err.Error()) }
