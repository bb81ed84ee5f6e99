package secretsstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// mounted is a status as the API server sends it.
const mounted = `{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClassPodStatus","metadata":{` +
	`"creationTimestamp":"2026-11-25T12:00:00Z","generation":2,"labels":{"internal.secrets-store.csi.k8s.io/node-name":"node-1"},` +
	`"managedFields":[{"apiVersion":"secrets-store.csi.x-k8s.io/v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},` +
	`"f:internal.secrets-store.csi.k8s.io/node-name":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"8c1f6f0e-3c1b-4c55-9a57-000000000001\"}":{}}},` +
	`"f:status":{".":{},"f:mounted":{},"f:objects":{},"f:podName":{},"f:secretProviderClassName":{},"f:targetPath":{}}},` +
	`"manager":"csi-secrets-store","operation":"Update","time":"2026-11-25T13:00:00Z"}],"name":"web-5d8f7c9b6d-x0001-shop-keyroll-0123456789abcdef",` +
	`"namespace":"shop","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"web-5d8f7c9b6d-x0001","uid":"8c1f6f0e-3c1b-4c55-9a57-000000000001"}],` +
	`"resourceVersion":"1234567","uid":"9d2f6f0e-3c1b-4c55-9a57-000000000001"},"status":{"mounted":true,"objects":[{"id":"secret/db-username",` +
	`"version":"0123456789abcdef0123456789abcdef"},{"id":"secret/db-password","version":"fedcba9876543210fedcba9876543210"}],"podName":"web-5d8f7c9b6d-x0001",` +
	`"secretProviderClassName":"keyroll-0123456789abcdef","targetPath":"/var/lib/kubelet/pods/8c1f6f0e-3c1b-4c55-9a57-000000000001/volumes/kubernetes.io~csi/secrets-store/mount"}}`

// events are what a watch may send, and parts of it.
var events = []string{
	`{"type":"ADDED","object":` + mounted + `}`,
	`{"object":` + mounted + `,"type":"MODIFIED"}`,
	`{"type":"DELETED","object":{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClassPodStatus","metadata":{"name":"a","generation":-1},"status":null}}`,
	`{"type":"BOOKMARK","object":{"kind":"SecretProviderClassPodStatus","apiVersion":"secrets-store.csi.x-k8s.io/v1",` +
		`"metadata":{"resourceVersion":"7","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}}}}`,
	`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}`,
	`{"type":"ADDED","object":{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClass","metadata":{"name":"akv"},"spec":{"provider":"azure"}}}`,
	`{"type":"ADDED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"}}}`,
	`{"type":"ADDED","object":{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClassPodStatus","metadata":{"generation":1e1,` +
		`"managedFields":[{"time":"yesterday"}]}}}`,
	`{"type":"ADDED","object":{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClassPodStatus","metadata":{"name":"\u00e4\ud800","name":null,` +
		`"ownerReferences":[{"uid":"1"},{"kind":"Pod"}],"ownerReferences":[{"kind":"Pod"}],"managedFields":[{"time":"2026-11-25T13:00:00+01:00"},{"time":null}]}}}`,
	`{"type":"ADDED","object":null}`,
	`{"type":"ADDED"}`,
	`{"type":"SOMETHING","object":{}}`,
	`{"type":7}`,
	`[]`,
	`null`,
	`{"type":"ADDED","object":{"apiVersion":"secrets-store.csi.x-k8s.io/v1"`,
	`nonsense`,
}

// A watch tells what apimachinery's codecs make of the same text, but for the
// metadata that is not promised, and ends as it does with them.
func TestWatchTellsWhatApimachineryReads(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, first := range events {
		for _, second := range []string{"", events[0]} {
			text := first + "\n" + second
			want := watched(t, serializer.NewCodecFactory(scheme).WithoutConversion(), text)
			got := watched(t, newCodecs(scheme), text)
			if diff := cmp.Diff(promised(want), promised(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
		}
	}
}

// watched is what a client of these codecs hears of a watch that sends this text.
func watched(t *testing.T, codecs runtime.NegotiatedSerializer, text string) []watch.Event {
	t.Helper()
	client := clientOf(t, codecs, func() io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte(text))) })
	w, err := client.Get().Resource("any").Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(func(yield func(watch.Event) bool) {
		for event := range w.ResultChan() {
			yield(event)
		}
	})
}

// clientOf is a client of a server that answers what body has.
func clientOf(t testing.TB, codecs runtime.NegotiatedSerializer, body func() io.ReadCloser) rest.Interface {
	t.Helper()
	client, err := rest.RESTClientFor(&rest.Config{
		Host: "http://127.0.0.1", APIPath: "/apis",
		ContentConfig: rest.ContentConfig{GroupVersion: &GroupVersion, NegotiatedSerializer: codecs},
		Transport: transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body(), Request: r}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// promised leaves of statuses what PodStatuses promises. The error of a text that
// is no JSON may be in other words.
func promised(events []watch.Event) []watch.Event {
	for i := range events {
		switch o := events[i].Object.(type) {
		case *SecretProviderClassPodStatus:
			events[i].Object = promisedOf(o)
		case *metav1.Status:
			if o.Reason == metav1.StatusReasonInternalError {
				o.Message, o.Details = "", nil
			}
		}
	}
	return events
}

func promisedOf(s *SecretProviderClassPodStatus) *SecretProviderClassPodStatus {
	s.ObjectMeta = metav1.ObjectMeta{
		Name: s.Name, Namespace: s.Namespace, UID: s.UID, ResourceVersion: s.ResourceVersion, Generation: s.Generation,
		CreationTimestamp: s.CreationTimestamp, Annotations: s.Annotations, OwnerReferences: s.OwnerReferences, ManagedFields: s.ManagedFields,
	}
	for i, o := range s.OwnerReferences {
		s.OwnerReferences[i] = metav1.OwnerReference{Kind: o.Kind, UID: o.UID}
	}
	for i, e := range s.ManagedFields {
		s.ManagedFields[i] = metav1.ManagedFieldsEntry{Manager: e.Manager, Operation: e.Operation, Time: e.Time}
	}
	return s
}

// FuzzReadStatus holds what is read of a status against what apimachinery's codec
// reads. It may refuse more, for there is no status that has such values.
func FuzzReadStatus(f *testing.F) {
	for _, text := range events {
		var event struct{ Object json.RawMessage }
		if json.Unmarshal([]byte(text), &event) == nil {
			f.Add([]byte(event.Object))
		}
	}
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		f.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).WithoutConversion().SupportedMediaTypes()[0].Serializer
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := readStatus(text)
		object, _, err := decoder.Decode(text, nil, nil)
		if !ok || err != nil {
			return
		}
		want, is := object.(*SecretProviderClassPodStatus)
		if !is {
			t.Fatalf("%T is read as a status", object)
		}
		if diff := cmp.Diff(promisedOf(want), got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// An event is told when it has come, and not when the next one does.
func TestWatchTellsAnEventAtOnce(t *testing.T) {
	from, to := io.Pipe()
	client := clientOf(t, newCodecs(runtime.NewScheme()), func() io.ReadCloser { return from })
	w, err := client.Get().Resource("any").Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := io.WriteString(to, events[0]); err != nil {
			t.Fatal(err)
		}
		if event := <-w.ResultChan(); event.Type != watch.Added {
			t.Errorf("event %+v", event)
		}
	}
	w.Stop()
	if _, err := io.WriteString(to, "{"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a watch that was stopped is read from: %v", err)
	}
}

// The reasons for which clients ask again quietly are told as what they are.
func TestFramesEndAsWhatTheyAreReadFrom(t *testing.T) {
	reset := errors.New("connection reset by peer")
	for name, tc := range map[string]struct {
		text string
		end  error
		want error
	}{
		"at the end of an event":            {"{}\n", io.EOF, io.EOF},
		"in an event":                       {`{} {"type":`, io.EOF, io.ErrUnexpectedEOF},
		"by an error":                       {"{}", reset, reset},
		"by an error in an event":           {"{} {", reset, reset},
		"because the context of it is over": {"{}", context.Canceled, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			r := framer{}.NewFrameReader(io.NopCloser(io.MultiReader(bytes.NewReader([]byte(tc.text)), failing{tc.end})))
			if n, err := r.Read(make([]byte, 10)); n != 2 || err != nil {
				t.Fatalf("first frame: %d bytes, %v", n, err)
			}
			if _, err := r.Read(make([]byte, 10)); err != tc.want { //nolint:errorlint // as clients compare it
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// BenchmarkWatch streams statuses from memory.
func BenchmarkWatch(b *testing.B) {
	const many = 1000
	text := bytes.Repeat([]byte(events[0]+"\n"), many)
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	for name, codecs := range map[string]runtime.NegotiatedSerializer{"ours": newCodecs(scheme), "apimachinery": serializer.NewCodecFactory(scheme).WithoutConversion()} {
		b.Run(name, func(b *testing.B) {
			client := clientOf(b, codecs, func() io.ReadCloser { return io.NopCloser(bytes.NewReader(text)) })
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				w, err := client.Get().Resource("any").Watch(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				for range w.ResultChan() {
					n++
				}
			}
			if n == 0 || n%many != 0 {
				b.Fatal(fmt.Errorf("%d events", n))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/status")
		})
	}
}
