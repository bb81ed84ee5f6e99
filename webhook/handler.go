package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/dependency"
)

// Config is what a [Handler] needs.
type Config struct {
	Cluster  Cluster
	Fallback dependency.Fallback
	// Timeout bounds one request, also where the API server would wait for longer.
	Timeout time.Duration
	// Patience is how long an answer is held back that lagging caches may be the
	// cause of; 0 answers at once.
	Patience   time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Handler serves /pods and /workloads. It is safe for concurrent use.
type Handler struct {
	cluster  Cluster
	fallback dependency.Fallback
	timeout  time.Duration
	patience time.Duration
	log      *slog.Logger
	metrics  *metrics
	mux      *http.ServeMux
	held     atomic.Int64 // bytes of larger bodies in memory
	// Rooms for what comes to many times its size. Who has of the first may wait for
	// the second, never the other way round.
	reviews *room // large ones in units of commonBody, those that say much in units of commonElements
	answers *room // those of many additions, in units of commonAdditions
}

// New returns a Handler.
func New(c Config) (*Handler, error) {
	switch {
	case c.Cluster == nil:
		return nil, errors.New("webhook needs a Cluster")
	case c.Timeout <= 0:
		return nil, errors.New("webhook needs a Timeout")
	case c.Patience < 0 || c.Patience >= c.Timeout:
		return nil, fmt.Errorf("patience of %s must be shorter than the timeout of %s", c.Patience, c.Timeout)
	case c.Log == nil:
		return nil, errors.New("webhook needs a Log")
	case c.Registerer == nil:
		return nil, errors.New("webhook needs a Registerer")
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	h := &Handler{
		cluster: c.Cluster, fallback: c.Fallback, timeout: c.Timeout, patience: c.Patience,
		log: c.Log, metrics: m, mux: http.NewServeMux(),
		reviews: newRoom(units), answers: newRoom(units),
	}
	h.mux.Handle("/pods", h.serve(podsWebhook, newPodSubject))
	h.mux.Handle("/workloads", h.serve(workloadsWebhook, newWorkloadSubject))
	return h, nil
}

// ServeHTTP answers one admission review.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// exchange is one request and what becomes of it.
type exchange struct {
	webhook string
	request *question // nil until it is understood
	answer  answer
	out     *buffer // the answer as it is sent
	err     error   // why an HTTP error is answered instead

	// Its shares of the rooms for what is large, until the answer is sent.
	ofReviews, ofAnswers share
}

// slowest is how long a client may take to receive an answer that room is held
// for. It is there within milliseconds for whoever reads.
const slowest = 2 * time.Second

func (h *Handler) serve(webhook string, newSubject func() subject) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		h.metrics.inFlight.Inc()
		defer h.metrics.inFlight.Dec()
		e := &exchange{webhook: webhook, ofReviews: share{room: h.reviews}, ofAnswers: share{room: h.answers}}
		defer e.ofReviews.giveBack()
		defer e.ofAnswers.giveBack()
		h.answer(e, w, r, newSubject)
		if e.ofReviews.units+e.ofAnswers.units > 0 {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowest)) // a server can
		}
		if e.err != nil {
			http.Error(w, e.err.Error(), int(e.answer.code))
		} else {
			defer e.out.giveBack()
			w.Header().Set("Content-Type", contentTypeJSON)
			w.Header().Set("Content-Length", strconv.Itoa(len(e.out.text)))
			// The API server may have given up on us; then there is nobody to tell.
			_, _ = w.Write(e.out.text)
		}
		h.metrics.duration.WithLabelValues(webhook).Observe(time.Since(start).Seconds())
		h.record(e)
	})
}

// answer reads a request, decides, and writes the answer to e.out. Where that is
// not possible e.err is set, and e.answer has the HTTP status.
func (h *Handler) answer(e *exchange, w http.ResponseWriter, r *http.Request, newSubject func() subject) {
	defer h.rescue(e)
	ctx, cancel := context.WithTimeout(r.Context(), h.timeFor(r))
	defer cancel()
	body := &budgeted{held: &h.held, body: &opened{body: http.MaxBytesReader(w, r.Body, mostOf(r))}}
	defer body.release()
	text := takeBuffer()
	defer text.giveBack()
	if e.request, e.answer = readReview(ctx, r, body, text, newSubject, &e.ofReviews); e.request == nil {
		e.err = errors.New(e.answer.message)
		return
	}
	e.request.share = &e.ofAnswers
	e.answer = e.request.subject.admit(ctx, h, e.request)
	e.request.subject = nil // it may be large, too
	if e.answer.outcome == Failed && e.webhook == workloadsWebhook {
		// An answer would refuse the workload; an error lets it in, as its failurePolicy has it.
		e.err = errors.New(e.answer.message)
		return
	}
	e.out = takeBuffer() // not before: a body that is slow to come would have two
	e.out.text = e.answer.review(e.out.text, e.request.UID)
	e.answer.patch = nil // it may be large, and sending takes a while
}

// timeFor is how long the request may take. The API server says how long it
// waits; we are done before that, so that it hears the answer.
func (h *Handler) timeFor(r *http.Request) time.Duration {
	waits, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || waits <= 0 {
		return h.timeout
	}
	return min(h.timeout, waits*4/5)
}

// rescue turns a panic into an HTTP error. What was panicked with is not
// logged: it may hold parts of the object.
func (h *Handler) rescue(e *exchange) {
	p := recover()
	if p == nil {
		return
	}
	h.metrics.panics.Inc()
	h.log.Error("Admission panicked", "webhook", e.webhook, "kind", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	e.err = errors.New("internal error")
	e.answer = failed(Panicked, http.StatusInternalServerError, "internal error")
}

// record counts and logs an exchange. Names and reasons only: what is in an
// object or in an answer is between its author and the API server.
func (h *Handler) record(e *exchange) {
	operation := otherOperation
	if r := e.request; r != nil && (r.Operation == admissionv1.Create || r.Operation == admissionv1.Update) {
		operation = string(r.Operation)
	}
	h.metrics.requests.WithLabelValues(e.webhook, operation, string(e.answer.outcome), string(e.answer.reason)).Inc()
	level := slog.LevelDebug
	switch e.answer.outcome {
	case Refused:
		level = slog.LevelInfo
	case Failed:
		level = slog.LevelWarn
	case Patched, Unchanged:
	}
	if !h.log.Enabled(context.Background(), level) {
		return // as for nearly every pod: nothing is gathered for nobody
	}
	args := []any{"webhook", e.webhook, "outcome", e.answer.outcome, "reason", e.answer.reason}
	if r := e.request; r != nil {
		args = append(args, "operation", operation, "kind", r.Kind, "namespace", r.Namespace, "name", r.Name, "uid", r.UID)
	}
	h.log.Log(context.Background(), level, "Admission answered", args...)
}
