package manifests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

func eachDeployment(t *testing.T, check func(t *testing.T, all []runtime.Object, d *appsv1.Deployment, c corev1.Container)) {
	t.Helper()
	for name, all := range variants(t) {
		for _, d := range only[*appsv1.Deployment](all) {
			t.Run(name+" "+d.Name, func(t *testing.T) {
				if len(d.Spec.Template.Spec.Containers) != 1 {
					t.Fatalf("%d containers", len(d.Spec.Template.Spec.Containers))
				}
				check(t, all, d, d.Spec.Template.Spec.Containers[0])
			})
		}
	}
}

func TestArgumentsAreFlagsOfTheBinary(t *testing.T) {
	eachDeployment(t, func(t *testing.T, _ []runtime.Object, d *appsv1.Deployment, c corev1.Container) {
		known := flagsOf(t, strings.TrimPrefix(d.Name, "keyroll-"))
		for _, arg := range c.Args {
			name, value, found := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			if !found || value == "" {
				t.Errorf("%s has no value", arg)
			}
			if !slices.Contains(known, name) {
				t.Errorf("--%s is no flag of cmd/%s, which has %s", name, strings.TrimPrefix(d.Name, "keyroll-"), known)
			}
		}
	})
}

// flagsOf reads the names of a binary's flags from its source: the first string
// literal in each call such as fs.StringVar(&o.listen, "listen", ...).
func flagsOf(t *testing.T, command string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "cmd", command, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				names = append(names, flagName(call)...)
			}
			return true
		})
	}
	return names
}

func flagName(call *ast.CallExpr) []string {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	if !strings.HasSuffix(selector.Sel.Name, "Var") && !slices.Contains([]string{"Bool", "Duration", "Float64", "Func", "BoolFunc", "Int", "String"}, selector.Sel.Name) {
		return nil
	}
	for _, arg := range call.Args {
		if literal, ok := arg.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			name, err := strconv.Unquote(literal.Value)
			if err == nil {
				return []string{name}
			}
		}
	}
	return nil
}

func TestPortsAgree(t *testing.T) {
	eachDeployment(t, func(t *testing.T, all []runtime.Object, d *appsv1.Deployment, c corev1.Container) {
		ports := map[string]int32{}
		for _, p := range c.Ports {
			ports[p.Name] = p.ContainerPort
		}
		for flag, name := range map[string]string{"--listen": "admission", "--observe": "observe"} {
			port, open := ports[name]
			if !open {
				if argument(c, flag) != "" {
					t.Errorf("%s is given and no port %s declared", flag, name)
				}
				continue
			}
			if want := ":" + strconv.Itoa(int(port)); argument(c, flag) != want {
				t.Errorf("%s=%s, but port %s is %s", flag, argument(c, flag), name, want)
			}
		}
		for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
			if probe.HTTPGet.Port.StrVal != "observe" {
				t.Errorf("a probe asks port %s", probe.HTTPGet.Port.String())
			}
		}
		policies := only[*networkingv1.NetworkPolicy](all)
		if len(policies) != 2 {
			t.Fatalf("%d NetworkPolicies", len(policies))
		}
		for _, in := range named[*networkingv1.NetworkPolicy](t, all, d.Name).Spec.Ingress {
			for _, p := range in.Ports {
				if _, open := ports[p.Port.StrVal]; !open {
					t.Errorf("the NetworkPolicy lets in %s, which is no port", p.Port.String())
				}
			}
		}
	})
}

func TestPodsAskDNSOnlyWhereTheyAreTo(t *testing.T) {
	for name, all := range variants(t) {
		for _, policy := range only[*networkingv1.NetworkPolicy](all) {
			asks := slices.ContainsFunc(policy.Spec.Egress, func(out networkingv1.NetworkPolicyEgressRule) bool {
				return slices.ContainsFunc(out.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == 53 })
			})
			if want := name == "everything"; asks != want {
				t.Errorf("%s: %s lets DNS out: %t, want %t", name, policy.Name, asks, want)
			}
		}
	}
}

func argument(c corev1.Container, flag string) string {
	for _, arg := range c.Args {
		if value, found := strings.CutPrefix(arg, flag+"="); found {
			return value
		}
	}
	return ""
}

func TestWebhookServiceLeadsToTheWebhook(t *testing.T) {
	for name, all := range variants(t) {
		service := named[*corev1.Service](t, all, "keyroll-webhook")
		deployment := named[*appsv1.Deployment](t, all, "keyroll-webhook")
		if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(deployment.Spec.Template.Labels)) {
			t.Errorf("%s: the Service selects %v", name, service.Spec.Selector)
		}
		port := service.Spec.Ports[0]
		if port.Port != 443 || port.TargetPort.StrVal != "admission" {
			t.Errorf("%s: the Service's port is %d to %s", name, port.Port, port.TargetPort.String())
		}
	}
}

func TestSelectorsSelectTheirPodsAndNoOthers(t *testing.T) {
	for name, all := range variants(t) {
		for _, d := range only[*appsv1.Deployment](all) {
			for what, selector := range map[string]*metav1.LabelSelector{
				"Deployment":          d.Spec.Selector,
				"PodDisruptionBudget": named[*policyv1.PodDisruptionBudget](t, all, d.Name).Spec.Selector,
				"NetworkPolicy":       &named[*networkingv1.NetworkPolicy](t, all, d.Name).Spec.PodSelector,
				"affinity":            d.Spec.Template.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector,
				"spread":              d.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
			} {
				selects, err := metav1.LabelSelectorAsSelector(selector)
				if err != nil {
					t.Fatal(err)
				}
				for _, other := range only[*appsv1.Deployment](all) {
					if got := selects.Matches(labels.Set(other.Spec.Template.Labels)); got != (other.Name == d.Name) {
						t.Errorf("%s: %s of %s selects pods of %s: %t", name, what, d.Name, other.Name, got)
					}
				}
			}
		}
	}
}

// The levels of https://kubernetes.io/docs/concepts/security/pod-security-standards/,
// as far as they concern pods without volumes, or with one from a Secret.
func TestPodsAreRestricted(t *testing.T) {
	eachDeployment(t, func(t *testing.T, _ []runtime.Object, d *appsv1.Deployment, c corev1.Container) {
		pod := d.Spec.Template.Spec
		for what, holds := range map[string]bool{
			"runs as non-root":             *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser != 0,
			"has the default seccomp":      pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
			"gains no privilege":           !*c.SecurityContext.AllowPrivilegeEscalation && c.SecurityContext.Privileged == nil,
			"drops all capabilities":       slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) && c.SecurityContext.Capabilities.Add == nil,
			"cannot write its root":        *c.SecurityContext.ReadOnlyRootFilesystem,
			"has no volume but its Secret": !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret == nil }),
			"shares nothing of the host":   !pod.HostNetwork && !pod.HostPID && !pod.HostIPC,
			"has limited memory":           !c.Resources.Limits.Memory().IsZero() && !c.Resources.Requests.Memory().IsZero(),
			"runs under its own account":   pod.ServiceAccountName == d.Name,
			"has two replicas at least":    *d.Spec.Replicas >= 2,
			"is probed where it answers":   c.LivenessProbe.HTTPGet.Path == "/healthz" && c.ReadinessProbe.HTTPGet.Path == "/readyz",
		} {
			if !holds {
				t.Errorf("not so: %s", what)
			}
		}
	})
}

func TestNamespaceKeepsPodsRestricted(t *testing.T) {
	ns := named[*corev1.Namespace](t, objects(t, Install), namespace)
	if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("Pod Security level %q", got)
	}
}

func TestImageHoldsTheCommands(t *testing.T) {
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	eachDeployment(t, func(t *testing.T, _ []runtime.Object, d *appsv1.Deployment, c corev1.Container) {
		if want := []string{"/usr/local/bin/" + d.Name}; !slices.Equal(c.Command, want) {
			t.Errorf("the command is %s, want %s", c.Command, want)
		}
		for _, part := range []string{"-o /out/" + d.Name + " ./cmd/" + strings.TrimPrefix(d.Name, "keyroll-"), "COPY --from=build /out/ /usr/local/bin/"} {
			if !strings.Contains(string(dockerfile), part) {
				t.Errorf("the Dockerfile does not say %q", part)
			}
		}
	})
}
