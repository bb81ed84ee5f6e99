package install

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// rendered is a set of manifests, taken apart.
type rendered struct {
	objects     []*unstructured.Unstructured // what is applied, in the manifests' order
	deployments map[string]*appsv1.Deployment
	namespace   string // of the Deployments
}

// render takes manifests apart and points their webhooks to address (host:port).
func render(manifests []byte, address string) (*rendered, error) {
	objects, err := parse(manifests)
	if err != nil {
		return nil, err
	}
	r := &rendered{deployments: map[string]*appsv1.Deployment{}}
	for _, object := range objects {
		switch object.GetKind() {
		case "Deployment":
			err = r.addDeployment(object)
		case "MutatingWebhookConfiguration":
			r.objects = append(r.objects, object)
			err = pointTo(object, address)
		default:
			r.objects = append(r.objects, object)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	if len(r.deployments) == 0 {
		return nil, errors.New("manifests without a Deployment")
	}
	return r, nil
}

func parse(manifests []byte) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, fmt.Errorf("document %d: %w", len(all)+1, err)
		}
		if len(object) > 0 { // a document may be all comment
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
}

func (r *rendered) addDeployment(object *unstructured.Unstructured) error {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &d, true); err != nil {
		return err
	}
	if r.namespace != "" && r.namespace != d.Namespace {
		return fmt.Errorf("in namespace %s, others are in %s", d.Namespace, r.namespace)
	}
	r.deployments[d.Name], r.namespace = &d, d.Namespace
	return nil
}

// pointTo replaces the Service of each webhook by a URL with the same path.
func pointTo(configuration *unstructured.Unstructured, address string) error {
	webhooks, found, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	if err != nil || !found {
		return fmt.Errorf("no webhooks in it: %w", err)
	}
	for _, w := range webhooks {
		webhook, ok := w.(map[string]any)
		if !ok {
			return errors.New("a webhook that is no object")
		}
		path, found, err := unstructured.NestedString(webhook, "clientConfig", "service", "path")
		if err != nil || !found {
			return fmt.Errorf("webhook %v has no clientConfig.service.path: %w", webhook["name"], err)
		}
		unstructured.RemoveNestedField(webhook, "clientConfig", "service")
		if err := unstructured.SetNestedField(webhook, "https://"+address+path, "clientConfig", "url"); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(configuration.Object, webhooks, "webhooks")
}

// encode writes objects as one stream for kubectl.
func encode(objects []*unstructured.Unstructured) (string, error) {
	var b strings.Builder
	for _, object := range objects {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return "", err
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.String(), nil
}

// command is what a pod of a Deployment would run.
type command struct {
	account string // ServiceAccount
	args    []string
	env     []string
}

// commandOf reads the only container of a Deployment as the kubelet would for a pod of that name.
func commandOf(d *appsv1.Deployment, pod string) (command, error) {
	spec := d.Spec.Template.Spec
	if len(spec.Containers) != 1 {
		return command{}, fmt.Errorf("deployment %s has %d containers, not one", d.Name, len(spec.Containers))
	}
	container := spec.Containers[0]
	c := command{account: spec.ServiceAccountName}
	values := map[string]string{}
	for _, e := range container.Env {
		value, err := envValue(e, d, pod, values)
		if err != nil {
			return command{}, fmt.Errorf("deployment %s: env %s: %w", d.Name, e.Name, err)
		}
		values[e.Name] = value
		c.env = append(c.env, e.Name+"="+value)
	}
	for _, arg := range container.Args {
		c.args = append(c.args, expand(arg, values))
	}
	return c, nil
}

func envValue(e corev1.EnvVar, d *appsv1.Deployment, pod string, before map[string]string) (string, error) {
	switch {
	case e.ValueFrom == nil:
		return expand(e.Value, before), nil
	case e.ValueFrom.FieldRef == nil:
		return "", errors.New("only values and fieldRef are understood")
	}
	fields := map[string]string{
		"metadata.name":           pod,
		"metadata.namespace":      d.Namespace,
		"spec.serviceAccountName": d.Spec.Template.Spec.ServiceAccountName,
		"spec.nodeName":           "loopback",
		"status.podIP":            "127.0.0.1",
	}
	value, ok := fields[e.ValueFrom.FieldRef.FieldPath]
	if !ok {
		return "", fmt.Errorf("fieldRef %s is not understood", e.ValueFrom.FieldRef.FieldPath)
	}
	return value, nil
}

// expand replaces $(NAME), as Kubernetes does in args and env.
func expand(s string, values map[string]string) string {
	for name, value := range values {
		s = strings.ReplaceAll(s, "$("+name+")", value)
	}
	return s
}
