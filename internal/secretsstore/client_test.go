package secretsstore_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"keyroll.dev/internal/secretsstore"
)

const statusJSON = `{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClassPodStatus",
 "metadata":{"name":"web-1-shop-akv","namespace":"shop","generation":2,
  "labels":{"internal.secrets-store.csi.k8s.io/node-name":"node-1"}},
 "status":{"podName":"web-1","secretProviderClassName":"akv","mounted":true,"targetPath":"/var/lib/kubelet/pods/u/volumes",
  "objects":[{"id":"secret/a","version":"v1"}]}}`

func status() secretsstore.SecretProviderClassPodStatus {
	return secretsstore.SecretProviderClassPodStatus{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-1-shop-akv", Namespace: "shop", Generation: 2,
			Labels: map[string]string{"internal.secrets-store.csi.k8s.io/node-name": "node-1"},
		},
		Status: secretsstore.SecretProviderClassPodStatusStatus{
			PodName: "web-1", SecretProviderClassName: "akv", Mounted: true, TargetPath: "/var/lib/kubelet/pods/u/volumes",
			Objects: []secretsstore.SecretProviderClassObject{{ID: "secret/a", Version: "v1"}},
		},
	}
}

// server answers with what the API server would, and tells what it was asked.
func server(t *testing.T, answer string) (*secretsstore.Client, *[]string) {
	t.Helper()
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		asked = append(asked, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Accept"), body)))
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.WriteString(w, answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	cfg := &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}}
	before := rest.CopyConfig(cfg)
	client, err := secretsstore.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.String() != before.String() {
		t.Errorf("config is changed to %v", cfg)
	}
	return client, &asked
}

func TestClientReadsPodStatuses(t *testing.T) {
	client, asked := server(t, `{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClassPodStatusList",
		"metadata":{"resourceVersion":"7"},"items":[`+statusJSON+`]}`)
	list, err := client.PodStatuses("").List(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	want := status()
	want.TypeMeta = list.Items[0].TypeMeta
	if diff := cmp.Diff([]secretsstore.SecretProviderClassPodStatus{want}, list.Items); diff != "" || list.ResourceVersion != "7" {
		t.Errorf("resourceVersion %q, items (-want +got):\n%s", list.ResourceVersion, diff)
	}
	wantAsked := []string{"GET /apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasspodstatuses?resourceVersion=0 application/json"}
	if diff := cmp.Diff(wantAsked, *asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestClientWatchesPodStatuses(t *testing.T) {
	client, asked := server(t, `{"type":"MODIFIED","object":`+statusJSON+`}`+"\n")
	watch, err := client.PodStatuses("shop").Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	event := <-watch.ResultChan()
	got, ok := event.Object.(*secretsstore.SecretProviderClassPodStatus)
	if !ok {
		t.Fatalf("event %+v", event)
	}
	if diff := cmp.Diff(status().Status, got.Status); diff != "" || event.Type != "MODIFIED" {
		t.Errorf("%s (-want +got):\n%s", event.Type, diff)
	}
	wantAsked := []string{"GET /apis/secrets-store.csi.x-k8s.io/v1/namespaces/shop/secretproviderclasspodstatuses?watch=true application/json"}
	if diff := cmp.Diff(wantAsked, *asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestClientWritesClasses(t *testing.T) {
	class := &secretsstore.SecretProviderClass{
		ObjectMeta: metav1.ObjectMeta{Name: "akv", Namespace: "shop"},
		Spec: secretsstore.SecretProviderClassSpec{
			Provider:   secretsstore.ProviderAzure,
			Parameters: map[string]string{"keyvaultName": "shop-kv"},
			SecretObjects: []*secretsstore.SecretObject{{
				SecretName: "s", Type: "Opaque", Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "1"},
				Data: []*secretsstore.SecretObjectData{{ObjectName: "a", Key: "k"}, {PlainValue: "p", Key: "p"}},
			}},
		},
	}
	const want = `{"kind":"SecretProviderClass","apiVersion":"secrets-store.csi.x-k8s.io/v1",` +
		`"metadata":{"name":"akv","namespace":"shop"},"spec":{"provider":"azure","parameters":{"keyvaultName":"shop-kv"},` +
		`"secretObjects":[{"secretName":"s","type":"Opaque","labels":{"l":"1"},"annotations":{"a":"1"},` +
		`"data":[{"objectName":"a","key":"k"},{"key":"p","plainValue":"p"}]}]}}`
	client, asked := server(t, want)
	got, err := client.Classes("shop").Create(context.Background(), class, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(class.Spec, got.Spec); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if err := client.Classes("shop").Delete(context.Background(), "akv", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	const path = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/shop/secretproviderclasses"
	if create := (*asked)[0]; create != "POST "+path+" application/json "+want {
		t.Errorf("create asked\n%s, want\n%s", create, want)
	}
	if remove := (*asked)[1]; !strings.HasPrefix(remove, "DELETE "+path+"/akv ") {
		t.Errorf("delete asked %s", remove)
	}
}

func TestNewClientRefusesAConfigItCannotUse(t *testing.T) {
	if _, err := secretsstore.NewClient(&rest.Config{Host: "http://[::1"}); err == nil {
		t.Error("no error")
	}
}
