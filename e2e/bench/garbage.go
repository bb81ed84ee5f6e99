package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/annotation"
)

// checkAnswer asks once and looks at the answer: what is measured must be right.
func (a *admissionBench) checkAnswer(ctx context.Context, s subject, body []byte) error {
	patch, err := a.patch(ctx, body)
	if err != nil {
		return err
	}
	_, asked := s.template.Annotations[annotation.Objects]
	if patched := len(patch) > 0; patched != asked {
		return fmt.Errorf("asked: %v, patched: %v: %.500s", asked, patched, patch)
	}
	return nil
}

// patch asks the webhook for the patch that it answers.
func (a *admissionBench) patch(ctx context.Context, body []byte) ([]byte, error) {
	status, answer, _, err := a.ours.post(ctx, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &review); err != nil || status != http.StatusOK || review.Response == nil || !review.Response.Allowed {
		return nil, fmt.Errorf("status %d: %.500s", status, answer)
	}
	return review.Response.Patch, nil
}

// garbage is what nobody should send. Each is to be answered soon, and to leave
// the webhook as it was.
var garbage = []struct {
	name, contentType string
	body              func() io.Reader
	wantStatus        int
}{
	{"nothing", "application/json", text(""), http.StatusBadRequest},
	{"half a review", "application/json", text(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a","obj`), http.StatusBadRequest},
	{"null", "application/json", text("null"), http.StatusBadRequest},
	{"100,000 lists in one another", "application/json", text(strings.Repeat("[", 100_000)), http.StatusBadRequest},
	{"a review with 100,000 objects in one another", "application/json",
		text(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a","object":` + strings.Repeat(`{"a":`, 100_000)), http.StatusBadRequest},
	{"64 MiB of spaces", "application/json", func() io.Reader { return io.LimitReader(spaces{}, 64<<20) }, http.StatusBadRequest},
	{"a brace and 64 MiB of spaces", "application/json", func() io.Reader { return io.MultiReader(strings.NewReader("{"), io.LimitReader(spaces{}, 64<<20)) }, http.StatusRequestEntityTooLarge},
	{"another content type", "text/plain", text("{}"), http.StatusUnsupportedMediaType},
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

// spaces never ends.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// garbage measures the slowest of some answers to each, and how much more memory
// the webhook has had than before.
func (a *admissionBench) garbage(ctx context.Context, r *report) error {
	const repeats = 5
	const most = 50
	r.say("garbage")
	before, err := memoryOf(a.ours.pid)
	if err != nil {
		return err
	}
	errs := []error{forgetPeak(a.ours.pid)}
	for _, g := range garbage {
		var slowest time.Duration
		for range repeats {
			status, _, took, err := a.ours.post(ctx, g.contentType, g.body())
			slowest = max(slowest, took)
			if err == nil && status != g.wantStatus {
				err = fmt.Errorf("status %d, want %d", status, g.wantStatus)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", g.name, err))
			}
		}
		r.add(figure{what: g.name + ": slowest of 5 answers", unit: "ms", ours: ms(slowest), held: atMost(most)})
	}
	after, err := peakOf(a.ours.pid)
	r.add(figure{what: "peak memory under garbage, beside that before", unit: "MiB", ours: after, bare: before, held: overBare(4)})
	return errors.Join(append(errs, err)...)
}
