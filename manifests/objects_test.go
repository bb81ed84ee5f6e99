package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
)

const namespace = "keyroll-system"

// objects decodes a rendered file strictly: a field that the API does not know
// fails. Kinds of Prometheus' operator are taken as they are.
func objects(t *testing.T, file []byte) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(known(t), serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(file)))
	var out []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(document, []byte("# Rendered")) && !bytes.Contains(document, []byte("kind:")) {
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			object, _, err = unstructured.UnstructuredJSONScheme.Decode(mustJSON(t, document), nil, nil)
		}
		if err != nil {
			t.Fatalf("decode %q: %v", document[:min(200, len(document))], err)
		}
		out = append(out, object)
	}
}

// known are the types of Kubernetes and of cert-manager.
func known(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(kubernetes.AddToScheme(scheme), cmapi.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func mustJSON(t *testing.T, document []byte) []byte {
	t.Helper()
	out, err := yaml.ToJSON(document)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// variants are install.yaml and every rendering in testdata, decoded, by name.
func variants(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	values, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(values) == 0 {
		t.Fatal("testdata holds no values")
	}
	out := map[string][]runtime.Object{"install": objects(t, Install)}
	for _, v := range values {
		name := strings.TrimSuffix(filepath.Base(v), ".values.yaml")
		out[name] = objects(t, variant(t, name))
	}
	return out
}

func variant(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// only are the objects of one type.
func only[T runtime.Object](all []runtime.Object) []T {
	var out []T
	for _, object := range all {
		if typed, ok := object.(T); ok {
			out = append(out, typed)
		}
	}
	return out
}

// named is the one object of a type with that name.
func named[T runtime.Object](t *testing.T, all []runtime.Object, name string) T {
	t.Helper()
	for _, object := range only[T](all) {
		if nameOf(t, object) == name {
			return object
		}
	}
	var none T
	t.Fatalf("no %T named %s", none, name)
	return none
}

func nameOf(t *testing.T, object runtime.Object) string {
	t.Helper()
	accessor, err := meta.Accessor(object)
	if err != nil {
		t.Fatal(err)
	}
	return accessor.GetName()
}

func configuration(t *testing.T, all []runtime.Object) *admissionv1.MutatingWebhookConfiguration {
	t.Helper()
	return named[*admissionv1.MutatingWebhookConfiguration](t, all, "akv-keyroll")
}

func TestEverythingIsInTheReleaseNamespaceOrInNone(t *testing.T) {
	for name, all := range variants(t) {
		for _, object := range all {
			accessor, err := meta.Accessor(object)
			if err != nil {
				t.Fatal(err)
			}
			if ns := accessor.GetNamespace(); ns != namespace && ns != "" {
				t.Errorf("%s: %T %s is in %s", name, object, accessor.GetName(), ns)
			}
			if accessor.GetLabels()["app.kubernetes.io/name"] != "keyroll" {
				t.Errorf("%s: %T %s is not labelled as a part of keyroll", name, object, accessor.GetName())
			}
		}
	}
}

func TestEveryVariantHasBothDeployments(t *testing.T) {
	for name, all := range variants(t) {
		if got := len(only[*appsv1.Deployment](all)); got != 2 {
			t.Errorf("%s has %d Deployments", name, got)
		}
	}
}
