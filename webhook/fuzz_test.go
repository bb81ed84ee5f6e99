package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	applypatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/golden"
)

// FuzzReview sends whatever bytes: the answer is a review or an HTTP error that
// says why, and nothing panics.
func FuzzReview(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add(reviewOf(f, request("Pod", pod(""), nil)))
	f.Add(reviewOf(f, request("Deployment", []byte(`{"spec":{"template":{}}}`), []byte(`{"spec":{"template":{}}}`))))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, _, _ := newHandler(t, shop())
		for _, path := range []string{"/pods", "/workloads"} {
			recorder := post(t, h, path, bytes.NewReader(body))
			switch recorder.Code {
			case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
				continue
			case http.StatusOK:
			default:
				t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
			}
			var review admissionv1.AdmissionReview
			decode(t, recorder.Body.Bytes(), &review)
			if r := review.Response; !r.Allowed && r.Result.Message == "" {
				t.Error("refused without a word")
			}
		}
	})
}

// FuzzAdmission sends objects of any shape as the API server would send them.
// Whatever is patched can be patched, the second pass is empty, and of a
// workload only what is ours changes.
func FuzzAdmission(f *testing.F) {
	kinds := []string{"Pod", "Deployment", "CronJob", "Job", "ReplicaSet"}
	for _, name := range golden.Cases(f, cases) {
		var subject []golden.Object
		cluster := shop()
		for _, o := range golden.Read(f, filepath.Join(cases, name+".in.yaml")) {
			if !cluster.add(f, o) {
				subject = append(subject, o)
			}
		}
		kind, last := slices.Index(kinds, subject[0].Kind), subject[len(subject)-1].JSON
		if kind < 0 {
			kind = 1
		}
		f.Add(uint8(kind), last, subject[0].JSON, len(subject) > 1)
	}
	f.Fuzz(func(t *testing.T, kind uint8, object, old []byte, update bool) {
		k := kinds[int(kind)%len(kinds)]
		object, ok := canonical(object)
		old, okOld := canonical(old)
		if !ok || !okOld {
			return
		}
		if !update || k == "Pod" {
			old = nil
		}
		h, _, _ := newHandler(t, shop())
		path := map[bool]string{true: "/pods", false: "/workloads"}[k == "Pod"]
		if k != "Pod" && post(t, h, path, bytes.NewReader(reviewOf(t, request(k, object, old)))).Code == http.StatusBadRequest {
			return // none that can be read: its failurePolicy decides
		}
		response := ask(t, h, path, request(k, object, old))
		if len(response.Patch) == 0 {
			return
		}
		if !response.Allowed {
			t.Fatalf("refused, yet patched: %s", response.Patch)
		}
		if k != "Pod" {
			checkPaths(t, response.Patch)
		}
		patched := patchWith(t, response.Patch, object)
		again := ask(t, h, path, request(k, patched, old))
		if !again.Allowed || len(again.Patch) > 0 {
			t.Fatalf("second pass: allowed %v, patch %s", again.Allowed, again.Patch)
		}
	})
}

// canonical writes JSON as the API server does, each key once.
func canonical(raw []byte) ([]byte, bool) {
	var o map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&o); err != nil || o == nil {
		return nil, false
	}
	out, err := json.Marshal(o)
	return out, err == nil
}

func patchWith(t *testing.T, patch, object []byte) []byte {
	t.Helper()
	p, err := applypatch.DecodePatch(patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := p.Apply(object)
	if err != nil {
		t.Fatalf("apply %s: %v", patch, err)
	}
	return patched
}

func checkPaths(t *testing.T, patch []byte) {
	t.Helper()
	var ops []struct{ Path string }
	decode(t, patch, &ops)
	for _, op := range ops {
		template := strings.TrimPrefix(op.Path, "/spec/jobTemplate")
		switch {
		case op.Path == "/metadata/annotations/kubernetes.io~1change-cause":
		case template == "/spec/template/metadata", template == "/spec/template/metadata/annotations":
		case strings.HasPrefix(template, "/spec/template/metadata/annotations/keyroll.dev~1"):
		default:
			t.Errorf("path %s is not ours", op.Path)
		}
	}
}
