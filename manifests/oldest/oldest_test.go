// Package oldest holds the rendered manifests against the oldest Kubernetes that we
// support, 1.30: its types know every field, and its CEL every expression. It is a
// module of its own, so that it can have that version's libraries. Fields and
// functions stay once they are there: between it and the API server of the
// end-to-end tests, which is the newest, nothing is left to check.
package oldest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestKubernetes130KnowsEveryField(t *testing.T) {
	for file, all := range rendered(t) {
		if len(all) < 10 {
			t.Errorf("%s: only %d objects", file, len(all))
		}
	}
}

func TestKubernetes130CompilesEveryExpression(t *testing.T) {
	compiler := plugincel.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), false))
	variables := plugincel.OptionalVariableDeclarations{HasAuthorizer: true}
	for file, all := range rendered(t) {
		compiled := 0
		for _, object := range all {
			configuration, ok := object.(*admissionv1.MutatingWebhookConfiguration)
			if !ok {
				continue
			}
			for _, w := range configuration.Webhooks {
				for _, c := range w.MatchConditions {
					condition := matchconditions.MatchCondition(c)
					if result := compiler.CompileCELExpression(&condition, variables, environment.NewExpressions); result.Error != nil {
						t.Errorf("%s: condition %s of %s: %v", file, c.Name, w.Name, result.Error)
					}
					compiled++
				}
			}
		}
		if compiled == 0 {
			t.Errorf("%s: no condition found", file)
		}
	}
}

// rendered are the objects of install.yaml and of each variant, decoded strictly.
func rendered(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	files, err := filepath.Glob("../testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]runtime.Object{}
	for _, file := range append(files, "../install.yaml") {
		if !strings.HasSuffix(file, ".values.yaml") {
			out[filepath.Base(file)] = decode(t, file)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d files found", len(out))
	}
	return out
}

func decode(t *testing.T, file string) []runtime.Object {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	var out []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		// What is not Kubernetes' own has versions of its own, and a document may be a comment.
		if !bytes.Contains(document, []byte("\nkind:")) || bytes.Contains(document, []byte("apiVersion: cert-manager.io/")) ||
			bytes.Contains(document, []byte("apiVersion: monitoring.coreos.com/")) {
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Errorf("%s: %v in\n%s", file, err, document[:min(300, len(document))])
			continue
		}
		out = append(out, object)
	}
}
