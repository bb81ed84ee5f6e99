package dependency

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"keyroll.dev/internal/annotation"
)

const docs = "../../docs/annotations.md"

func readDocs(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDocsHaveTheTable(t *testing.T) {
	var want strings.Builder
	want.WriteString("| `keyroll.dev/…` | on | value | default | meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range annotation.Table {
		cells := []string{"`" + strings.TrimPrefix(r.Key, annotation.Prefix) + "`", string(r.Where), r.Value, r.Default, r.Meaning}
		want.WriteString("| " + strings.Join(escape(cells), " | ") + " |\n")
	}
	text := readDocs(t)
	start := strings.Index(text, "| `keyroll.dev/…` |")
	if start < 0 {
		t.Fatalf("no table in %s", docs)
	}
	got, _, _ := strings.Cut(text[start:], "\n\n")
	if diff := cmp.Diff(want.String(), got+"\n"); diff != "" {
		t.Errorf("table in %s (-code +docs):\n%s\nfrom the code:\n%s", docs, diff, want.String())
	}
}

func escape(cells []string) []string {
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
	}
	return cells
}

// block is a fenced block: its info string and its text.
var block = regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$")

// Every answer in the docs is what the annotations before it are answered
// with. Where an example says nothing of them, the namespace has a vault and
// the ServiceAccount an identity.
func TestDocsHaveTheAnswers(t *testing.T) {
	answers := 0
	given := map[string]map[string]string{}
	for _, b := range block.FindAllStringSubmatch(readDocs(t), -1) {
		info, text := b[1], b[2]
		if info != "text" {
			var a map[string]string
			if err := yaml.UnmarshalStrict([]byte(text), &a); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			given[info] = a
			continue
		}
		answers++
		got, err := answer(given["yaml"], given["yaml namespace"], given["yaml serviceaccount"])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, got+"\n"); diff != "" {
			t.Errorf("%v (-docs +code):\n%s", given, diff)
		}
		given = map[string]map[string]string{}
	}
	if answers < 10 {
		t.Errorf("only %d answers found in %s", answers, docs)
	}
}

// The first example shows what kubectl prints around an answer.
func TestDocsShowWhatKubectlPrints(t *testing.T) {
	got, err := answer(map[string]string{annotation.Objects: "db_password", annotation.Prefix + "client_id": "web"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `    $ kubectl annotate deployment web keyroll.dev/objects=db_password keyroll.dev/client_id=web
    Error from server (Forbidden): admission webhook "workloads.keyroll.dev" denied the request: ` +
		strings.ReplaceAll(got, "\n", "\n    ") + "\n"
	if !strings.Contains(readDocs(t), want) {
		t.Errorf("%s lacks\n%s", docs, want)
	}
}

func answer(workload, namespace, account map[string]string) (string, error) {
	_, defaults, web, _ := web()
	if namespace != nil {
		var problems annotation.Problems
		if defaults, problems = annotation.ParseNamespace(namespace); problems != nil {
			return "", fmt.Errorf("namespace: %w", problems.Err())
		}
	}
	if account != nil {
		web.Annotations = account
	}
	settings, problems := annotation.Parse(workload)
	if problems == nil {
		_, problems = Resolve(settings, defaults, web, Fallback{})
	}
	return problems.Error(), nil
}
