package webhook

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admission/v1"
	kjson "sigs.k8s.io/json"

	"keyroll.dev/internal/jsonread"
	"keyroll.dev/webhook/inject"
)

// decodePod reads a pod that stands alone.
func decodePod(raw []byte) (inject.Pod, error) {
	var p inject.Pod
	var wrong error
	if err := jsonread.Read(raw, func(r *jsonread.Reader) { p, wrong = inject.ReadPod(r) }); err != nil {
		return inject.Pod{}, err
	}
	return p, wrong
}

// wireReview is a review as the API server's decoder reads it, with what is read of one.
type wireReview struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    *struct {
		UID  string `json:"uid"`
		Kind struct {
			Kind string `json:"kind"`
		} `json:"kind"`
		Resource struct {
			Group    string `json:"group"`
			Resource string `json:"resource"`
		} `json:"resource"`
		SubResource string  `json:"subResource"`
		Namespace   string  `json:"namespace"`
		Name        string  `json:"name"`
		Operation   string  `json:"operation"`
		Object      wireRaw `json:"object"`
		OldObject   wireRaw `json:"oldObject"`
	} `json:"request"`
}

// wireRaw keeps a value as a runtime.RawExtension does.
type wireRaw []byte

func (r *wireRaw) UnmarshalJSON(text []byte) error {
	if string(text) != "null" {
		*r = append([]byte{}, text...)
	}
	return nil
}

func (w wireReview) review() review {
	v := review{APIVersion: w.APIVersion, Kind: w.Kind}
	if q := w.Request; q != nil {
		v.Request = &question{
			UID: q.UID, Kind: q.Kind.Kind, Group: q.Resource.Group, Resource: q.Resource.Resource, SubResource: q.SubResource,
			Namespace: q.Namespace, Name: q.Name, Operation: admissionv1.Operation(q.Operation),
			subject: &workloadSubject{object: q.Object, old: q.OldObject},
		}
	}
	return v
}

// FuzzDecodeReview holds what is read of a review against what the API server's
// decoder reads of it.
func FuzzDecodeReview(f *testing.F) {
	update := request("Deployment", []byte(`{"spec":{"template":{}}}`), []byte(`{"spec":{}}`))
	update.Name, update.SubResource = "web", "scale"
	for _, text := range []string{
		`{}`, `null`, `7`, ``, `{"request":null}`, `{"request":{"uid":1}}`, `{"request":{"uid":"a"},"request":null}`,
		string(reviewOf(f, request("Pod", pod(""), nil))), string(reviewOf(f, update)),
		`{"request":{"object":{"a":1},"object":null,"oldObject":null},"request":{"object":[2],"uid":"b","kind":null,"resource":{"group":"apps"}}}`,
		`{"request":{"uid":"a","object":{"spec":7},"operation":"CREATE"}}`, `{"request":{"object":{"spec":{"containers":[{"name":"a"}]}},"object":{"metadata":{}}}}`,
		`{"request":{"object":{"metadata":{}}},"request":null,"request":{"uid":"a"}}`,
		`{"Request":{"uid":"a"},"request":{"UID":"b","uid":"c","object": "x" }}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want wireReview
		wantErr := kjson.UnmarshalCaseSensitivePreserveInts(text, &want)
		got := review{newSubject: newWorkloadSubject}
		err := got.decode(text)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%s\nerror %v, want %v", text, err, wantErr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(want.review(), got, cmp.AllowUnexported(question{}, workloadSubject{}), cmpopts.IgnoreFields(review{}, "newSubject")); diff != "" {
			t.Fatalf("%s\n(-want +got):\n%s", text, diff)
		}
		if q := got.Request; q != nil {
			checkPodWithin(t, text, q.subject.(*workloadSubject).object)
		}
	})
}

// checkPodWithin holds a pod that is read on the way through its review against
// the same one by itself.
func checkPodWithin(t *testing.T, text, object []byte) {
	t.Helper()
	v := review{newSubject: newPodSubject}
	if err := v.decode(text); err != nil {
		t.Fatalf("%s\nerror %v, none with a workload", text, err)
	}
	if object == nil {
		return
	}
	within := v.Request.subject.(*podSubject)
	alone, err := decodePod(object)
	if (err != nil) != (within.err != nil) || !reflect.DeepEqual(alone, within.pod) {
		t.Fatalf("%s\nread within: %+v, %v\nalone: %+v, %v", text, within.pod, within.err, alone, err)
	}
}
