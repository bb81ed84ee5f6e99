package webhook

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/jsonwrite"
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
	Busy                 inject.Reason = "Busy"           // as much is being answered as there is room for
	NotAReview           inject.Reason = "NotAReview"     // not an AdmissionReview of admission.k8s.io/v1 with a request
	WrongResource        inject.Reason = "WrongResource"
	MalformedObject      inject.Reason = "MalformedObject"
	NamespaceUnknown     inject.Reason = "NamespaceUnknown" // its cache does not have it (yet)
	OperationNotHandled  inject.Reason = "OperationNotHandled"
	Panicked             inject.Reason = "Panicked"
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
		inject.NamespaceNotEnabled, Panicked,
	},
}

// answer is what is decided of one request.
type answer struct {
	outcome  Outcome
	reason   inject.Reason
	message  string // why it is refused or failed
	code     int32  // HTTP status of a refusal or failure
	patch    inject.Patch
	warnings []string
}

// answerOf turns what a plan says into an answer.
func answerOf(reason inject.Reason, problems error, patch inject.Patch, warnings []string) answer {
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

// review appends the answer to the request with this UID, an AdmissionReview.
func (a answer) review(b []byte, uid string) []byte {
	b = append(b, `{"kind":"`+admissionReviewKind+`","apiVersion":"`+admissionReviewGroup+`","response":{"uid":`...)
	b = jsonwrite.String(b, uid)
	switch a.outcome {
	case Patched:
		b = append(b, `,"allowed":true,"patchType":"`+admissionv1.PatchTypeJSONPatch+`","patch":"`...)
		b = a.appendPatch(b)
		b = append(b, '"')
	case Unchanged:
		b = append(b, `,"allowed":true`...)
	case Refused, Failed:
		b = append(b, `,"allowed":false,"status":`...)
		b = a.appendStatus(b)
	}
	b = jsonwrite.String(append(b, `,"auditAnnotations":{"`+auditDecision+`":`...), string(a.outcome))
	b = jsonwrite.String(append(b, `,"`+auditReason+`":`...), string(a.reason))
	b = append(b, '}')
	if len(a.warnings) > 0 {
		b = append(b, `,"warnings":`...)
		b = jsonwrite.List(b, printable(a.warnings), jsonwrite.String)
	}
	return append(b, "}}"...)
}

// appendPatch appends the patch as the API's types hold bytes, in base64.
func (a answer) appendPatch(b []byte) []byte {
	patch := takeBuffer()
	defer patch.giveBack()
	patch.text = a.patch.Append(patch.text)
	return base64.StdEncoding.AppendEncode(b, patch.text)
}

// appendStatus appends a metav1.Status.
func (a answer) appendStatus(b []byte) []byte {
	b = append(b, `{"status":"`+metav1.StatusFailure+`","message":`...)
	b = jsonwrite.String(b, a.message)
	b = append(b, `,"reason":"`+statusReason(a.code)+`","code":`...)
	b = strconv.AppendInt(b, int64(a.code), 10)
	return append(b, '}')
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
		w = strings.ToValidUTF8(w[:min(len(w), maxWarningBytes)], "")
		out = append(out, strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, w))
	}
	return out
}
