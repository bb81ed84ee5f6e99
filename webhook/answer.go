package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/webhook/inject"
)

// Outcome says what an answer does.
type Outcome string

// The outcomes.
const (
	Patched   Outcome = "patched"
	Unchanged Outcome = "unchanged" // let in as it is
	Refused   Outcome = "refused"   // the user is told what to mend
	Failed    Outcome = "error"     // the request could not be answered on its merits
)

// Reasons that the shell adds to those of webhook/inject.
const (
	MethodNotAllowed     inject.Reason = "MethodNotAllowed"
	NotJSON              inject.Reason = "NotJSON"
	BodyTooLarge         inject.Reason = "BodyTooLarge"
	BodyUnreadable       inject.Reason = "BodyUnreadable" // cut off, or slower than the server waits
	Busy                 inject.Reason = "Busy"           // as many bytes are being answered as the process allows
	NotAReview           inject.Reason = "NotAReview"     // not an AdmissionReview of admission.k8s.io/v1 with a request
	WrongResource        inject.Reason = "WrongResource"
	MalformedObject      inject.Reason = "MalformedObject"
	NamespaceUnknown     inject.Reason = "NamespaceUnknown" // its cache does not have it (yet)
	OperationNotHandled  inject.Reason = "OperationNotHandled"
	Panicked             inject.Reason = "Panicked"
	AnswerNotEncoded     inject.Reason = "AnswerNotEncoded"
	maxWarnings                        = 20
	maxWarningBytes                    = 500
	auditDecision                      = "decision"
	auditReason                        = "reason"
	contentTypeJSON                    = "application/json"
	admissionReviewKind                = "AdmissionReview"
	admissionReviewGroup               = "admission.k8s.io/v1"
)

// Reasons are those that an answer of each outcome can have, for metrics that
// are shown before they are counted.
var Reasons = map[Outcome][]inject.Reason{
	Patched:   inject.ChangeReasons,
	Unchanged: append([]inject.Reason{OperationNotHandled, NamespaceUnknown}, inject.KeepReasons...),
	Refused:   inject.RefuseReasons,
	Failed: {
		MethodNotAllowed, NotJSON, BodyTooLarge, BodyUnreadable, Busy, NotAReview, WrongResource, MalformedObject, NamespaceUnknown,
		Panicked, AnswerNotEncoded,
	},
}

// answer is what is decided of one request.
type answer struct {
	outcome  Outcome
	reason   inject.Reason
	message  string // why it is refused or failed
	code     int32  // HTTP status of a refusal or failure
	patch    []jsonpatch.Operation
	warnings []string
}

// answerOf turns what a plan says into an answer.
func answerOf(reason inject.Reason, problems error, patch []jsonpatch.Operation, warnings []string) answer {
	a := answer{outcome: Unchanged, reason: reason, patch: patch, warnings: warnings}
	switch {
	case problems != nil:
		a.outcome, a.message, a.code = Refused, problems.Error(), http.StatusForbidden
	case len(patch) > 0:
		a.outcome = Patched
	}
	return a
}

func failed(reason inject.Reason, code int32, format string, args ...any) answer {
	return answer{outcome: Failed, reason: reason, code: code, message: fmt.Sprintf(format, args...)}
}

// review encodes the answer to the request with this UID.
func (a answer) review(uid string) ([]byte, error) {
	response := &admissionv1.AdmissionResponse{
		UID:              types.UID(uid),
		Allowed:          a.outcome == Patched || a.outcome == Unchanged,
		Warnings:         printable(a.warnings),
		AuditAnnotations: map[string]string{auditDecision: string(a.outcome), auditReason: string(a.reason)},
	}
	if !response.Allowed {
		response.Result = &metav1.Status{
			Status: metav1.StatusFailure, Code: a.code, Reason: statusReason(a.code), Message: a.message,
		}
	}
	if a.outcome == Patched {
		patch, err := json.Marshal(a.patch)
		if err != nil {
			return nil, fmt.Errorf("encode patch: %w", err)
		}
		jsonPatch := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = patch, &jsonPatch
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionReviewGroup, Kind: admissionReviewKind},
		Response: response,
	})
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return body, nil
}

// statusReason is the word for a status that kubectl shows.
func statusReason(code int32) metav1.StatusReason {
	switch code {
	case http.StatusForbidden:
		return metav1.StatusReasonForbidden
	case http.StatusServiceUnavailable:
		return metav1.StatusReasonServiceUnavailable
	}
	return metav1.StatusReasonBadRequest
}

// printable makes warnings fit for HTTP headers, in which the API server sends
// them on, and bounds them.
func printable(warnings []string) []string {
	var out []string
	for _, w := range warnings[:min(len(warnings), maxWarnings)] {
		w = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, w)
		if len(w) > maxWarningBytes {
			w = w[:maxWarningBytes]
		}
		out = append(out, strings.ToValidUTF8(w, ""))
	}
	return out
}
