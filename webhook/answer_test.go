package webhook

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/webhook/inject"
)

// FuzzAnswer holds what is written of an answer against what the API server reads of it.
func FuzzAnswer(f *testing.F) {
	f.Add("b2c3", "no", "a warning", "app", uint8(0))
	f.Add(`"\`, "\x00\xff<&>", "\u2028\n", "~a/b", uint8(1))
	f.Fuzz(func(t *testing.T, uid, message, warning, path string, kind uint8) {
		answers := []answer{
			{outcome: Patched, reason: inject.Injected, patch: inject.Patch{
				jsonpatch.NewOperation("add", path, json.RawMessage(`{"a":[1]}`)), jsonpatch.NewOperation("remove", path, nil),
			}},
			{outcome: Unchanged, reason: inject.NotAsked, warnings: []string{warning, "and another"}},
			{outcome: Refused, reason: inject.Unresolved, code: http.StatusForbidden, message: message},
			{outcome: Failed, reason: NamespaceUnknown, code: http.StatusServiceUnavailable, message: message, warnings: []string{warning}},
		}
		a := answers[int(kind)%len(answers)]
		var got admissionv1.AdmissionReview
		decode(t, a.review(nil, uid), &got)
		want := admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Response: &admissionv1.AdmissionResponse{
				UID: types.UID(encoded(t, uid)), Allowed: a.code == 0,
				AuditAnnotations: map[string]string{"decision": string(a.outcome), "reason": string(a.reason)},
				Warnings:         printable(a.warnings),
			},
		}
		if !want.Response.Allowed {
			want.Response.Result = &metav1.Status{
				Status: "Failure", Message: encoded(t, message), Reason: statusReason(a.code), Code: a.code,
			}
		}
		if a.patch != nil {
			checkSameJSON(t, a.patch, got.Response.Patch)
			jsonPatch := admissionv1.PatchTypeJSONPatch
			want.Response.Patch, want.Response.PatchType = got.Response.Patch, &jsonPatch
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// encoded is what is left of a string in JSON: U+FFFD stands for invalid UTF-8.
func encoded(t *testing.T, s string) (out string) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, text, &out)
	return out
}

// checkSameJSON holds a patch that was written against the same by encoding/json.
func checkSameJSON(t *testing.T, patch inject.Patch, written []byte) {
	t.Helper()
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	decode(t, text, &want)
	decode(t, written, &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}
