package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"keyroll.dev/e2e/internal/repo"
	"keyroll.dev/internal/annotation"
)

func annotationsPage(t *testing.T) string {
	t.Helper()
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "annotations.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// session is a shell session in the docs: a command and what it prints.
var session = regexp.MustCompile(`(?m)^    \$ kubectl (.*)\n((?:    [^$].*\n)+)`)

// TestInjectPrintedSessions types what docs/annotations.md types, at a
// Deployment web, whose ServiceAccount has an identity.
func TestInjectPrintedSessions(t *testing.T) {
	t.Parallel()
	s := prepare(t, "printed-sessions", func(n *corev1.Namespace) { n.Annotations[annotation.ServiceAccount] = account })
	s.do(deployment.object(nil, nil), "apply", "-f", "-")
	sessions := session.FindAllStringSubmatch(annotationsPage(t), -1)
	if len(sessions) == 0 {
		t.Fatal("there is no session in the docs")
	}
	for _, m := range sessions {
		command, want := m[1], strings.ReplaceAll(m[2], "    ", "")
		p := s.try(nil, strings.Fields(command)...)
		if diff := cmp.Diff(want, p.out+p.errs); diff != "" {
			t.Errorf("kubectl %s (-docs +printed):\n%s", command, diff)
		}
	}
}

// block is a fenced block of the docs: its info string and its text.
var block = regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$")

// TestInjectPrintedAnswers applies each example of docs/annotations.md and
// looks for the answer given there in what kubectl prints. All are refused; what
// another ServiceAccount may yet mend is a warning beside.
func TestInjectPrintedAnswers(t *testing.T) {
	given := map[string]map[string]string{}
	number := 0
	for _, m := range block.FindAllStringSubmatch(annotationsPage(t), -1) {
		info, content := m[1], m[2]
		if info != "text" {
			var a map[string]string
			if err := yaml.UnmarshalStrict([]byte(content), &a); err != nil {
				t.Fatalf("%s: %v", content, err)
			}
			given[info] = a
			continue
		}
		number++
		example, ns := given, fmt.Sprintf("printed-%d", number)
		given = map[string]map[string]string{}
		t.Run(strings.SplitN(content, "\n", 2)[0], func(t *testing.T) {
			t.Parallel()
			printedAnswer(t, ns, example, strings.TrimSuffix(content, "\n"))
		})
	}
}

func printedAnswer(t *testing.T, ns string, given map[string]map[string]string, want string) {
	s := prepare(t, ns, func(n *corev1.Namespace) {
		if a := given["yaml namespace"]; a != nil {
			n.Annotations = a
		}
	})
	if a := given["yaml serviceaccount"]; a != nil {
		s.annotateAccount(a)
	}
	workload := given["yaml"]
	if workload[annotation.ServiceAccount] == "" {
		// The examples speak of a pod that runs as web already.
		workload = merge(workload, map[string]string{annotation.ServiceAccount: account})
	}
	parts := strings.Split(want, "\n- ")
	if len(parts) > 1 {
		parts = parts[1:]
	}
	eventually(t, "kubectl prints the answer", func(context.Context) string {
		p := s.try(deployment.object(workload, nil), "apply", "--dry-run=server", "-f", "-")
		for _, part := range parts {
			if !strings.Contains(p.errs, part) {
				return fmt.Sprintf("lacking %q in:\n%s", part, p.errs)
			}
		}
		if p.err == nil {
			return "the Deployment was accepted with\n" + p.errs
		}
		return ""
	})
}

func (s *story) annotateAccount(annotations map[string]string) {
	s.t.Helper()
	eventually(s.t, "the account is annotated", func(ctx context.Context) string {
		accounts := s.Client().CoreV1().ServiceAccounts(s.ns)
		a, err := accounts.Get(ctx, account, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		a.Annotations = annotations
		_, err = accounts.Update(ctx, a, metav1.UpdateOptions{})
		return text(err)
	})
}

// TestInjectPrintedWarnings shows what kubectl prints of what may be right
// later: the object is accepted.
func TestInjectPrintedWarnings(t *testing.T) {
	t.Parallel()
	s := prepare(t, "printed-warnings", func(n *corev1.Namespace) { delete(n.Labels, annotation.InjectionLabel) })
	const unlabelled = `Warning: namespace "printed-warnings" is not labelled keyroll.dev/injection=enabled, so nothing is injected into these pods`
	eventually(t, "the webhook knows the namespace", func(context.Context) string {
		if warned := s.do(deployment.object(asks, nil), "apply", "--dry-run=server", "-f", "-").errs; !containsLine(warned, unlabelled) {
			return "kubectl printed: " + warned
		}
		return ""
	})
	warned := s.do(deployment.object(asks, nil), "apply", "-f", "-").errs
	if got := strings.TrimSpace(warned); got != unlabelled {
		t.Errorf("kubectl apply printed\n%s\nwant\n%s", got, unlabelled)
	}
	s.wantTemplate(deployment, nil)
	eventually(t, "plain pods run", s.run(deployment.pods, plain))

	s.do(nil, "label", "namespace", s.ns, annotation.InjectionLabel+"="+annotation.InjectionEnabled)
	class := map[string]string{annotation.SecretProviderClass: "ghost", annotation.ServiceAccount: account}
	eventually(t, "kubectl warns of the class", func(context.Context) string {
		warned := s.do(deployment.object(class, nil), "apply", "--dry-run=server", "-f", "-").errs
		if want := `Warning: keyroll.dev/secret-provider-class: SecretProviderClass "ghost" does not exist`; !containsLine(warned, want) {
			return "kubectl printed: " + warned
		}
		return ""
	})
}
