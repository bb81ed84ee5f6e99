package kube_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"keyroll.dev/internal/kube"
	kubefake "keyroll.dev/internal/kube/fake"
)

// server notes what it is asked, and answers with an object in the encoding of
// the API server's own choice, or with NotFound where it has none.
type server struct {
	objects map[string]runtime.Object

	mu    sync.Mutex
	asked []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Accept"))
	s.mu.Unlock()
	object, found := s.objects[r.URL.Path]
	status := http.StatusOK
	if !found {
		status = http.StatusNotFound
		object = &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}
	}
	protobuf, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
	w.WriteHeader(status)
	_ = scheme.Codecs.EncoderForVersion(protobuf.Serializer, corev1.SchemeGroupVersion).Encode(object, w)
}

// client returns ours and client-go's, for a server of the objects.
func client(t *testing.T, objects map[string]runtime.Object) (ours, theirs *kube.Client, s *server) {
	t.Helper()
	s = &server{objects: objects}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	cfg := &rest.Config{Host: listener.URL, QPS: -1, ContentConfig: rest.ContentConfig{
		ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
	}}
	ours, err := kube.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ours, kubefake.New(set), s
}

// ask has a kind read in each way.
func ask[O, L runtime.Object](ctx context.Context, of kube.Kind[O, L]) {
	opts := metav1.ListOptions{LabelSelector: "a=b", ResourceVersion: "0"}
	for _, namespace := range []string{"", "shop"} {
		_, _ = of(namespace).Get(ctx, "name", metav1.GetOptions{ResourceVersion: "0"})
		_, _ = of(namespace).List(ctx, opts)
		_, _ = of(namespace).Watch(ctx, opts)
	}
}

func TestTheClientAsksAsTheClientsetDoes(t *testing.T) {
	ours, theirs, s := client(t, nil)
	askAll := func(c *kube.Client) []string {
		s.asked = nil
		ask(t.Context(), c.ConfigMaps)
		ask(t.Context(), c.Events)
		ask(t.Context(), c.Pods)
		ask(t.Context(), c.Secrets)
		ask(t.Context(), c.ServiceAccounts)
		ask(t.Context(), c.ControllerRevisions)
		ask(t.Context(), c.DaemonSets)
		ask(t.Context(), c.Deployments)
		ask(t.Context(), c.ReplicaSets)
		ask(t.Context(), c.StatefulSets)
		ask(t.Context(), c.CronJobs)
		ask(t.Context(), c.Leases)
		_, _ = c.Namespaces("").Get(t.Context(), "name", metav1.GetOptions{})
		_, _ = c.Nodes("").Get(t.Context(), "name", metav1.GetOptions{})
		_, _ = c.CSIDrivers("").Get(t.Context(), "name", metav1.GetOptions{})
		return slices.Clone(s.asked)
	}
	want := askAll(theirs)
	if diff := cmp.Diff(want, askAll(ours)); diff != "" || len(want) == 0 {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheClientReadsWhatIsServed(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: "node-1"}}
	resources := &metav1.APIResourceList{GroupVersion: "example.org/v1", APIResources: []metav1.APIResource{{Name: "foos", Kind: "Foo"}}}
	c, _, _ := client(t, map[string]runtime.Object{"/api/v1/namespaces/shop/pods/web": pod, "/apis/example.org/v1": resources})
	got, err := c.Pods("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got.TypeMeta = metav1.TypeMeta{}
	if diff := cmp.Diff(pod, got); diff != "" {
		t.Errorf("pod (-want +got)\n%s", diff)
	}
	served, err := c.Served(t.Context(), schema.GroupVersion{Group: "example.org", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(resources.APIResources, served.APIResources); diff != "" {
		t.Errorf("resources (-want +got)\n%s", diff)
	}
	if _, err := c.Pods("shop").Get(t.Context(), "other", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
	if _, err := c.Served(t.Context(), schema.GroupVersion{Group: "example.org", Version: "v2"}); !apierrors.IsNotFound(err) {
		t.Errorf("a group that is not there: %v", err)
	}
}
