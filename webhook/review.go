package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync/atomic"

	admissionv1 "k8s.io/api/admission/v1"

	"keyroll.dev/internal/jsonread"
)

const (
	// maxBody is the largest review that is read. An object is at most 1.5 MiB
	// in etcd, and an update brings two: of all but the very largest there is room
	// for what JSON takes more.
	maxBody = 3 << 20
	// commonBody is what nearly every review fits in. That much is read of each
	// without asking whether there is room, so that many large or slow ones do not
	// keep out the others.
	commonBody = 64 << 10
	// commonElements is how many commas nearly every review has at most. What is
	// read of more elements than that is large however short they are.
	commonElements = 512
	// commonAdditions is how many mounts and variables nearly every pod is given at
	// most. What comes of many more is large however small the review is.
	commonAdditions = 256
	// units is how much room there is of each kind: for one review of the largest.
	units = maxBody / commonBody
	// maxBodies is how many bytes of larger reviews are held at once.
	maxBodies = 32 << 20
)

// question is the part of an AdmissionRequest that is read.
type question struct {
	UID                          string
	Kind                         string
	Group, Resource, SubResource string
	Namespace, Name              string
	Operation                    admissionv1.Operation

	subject subject // of its objects
	share   *share  // of the room for large answers
}

// subject is what one of the webhooks is asked about. Objects are read on the way
// through the review, whose text is good as long as the body is held.
type subject interface {
	read(object *jsonread.Reader)
	readOld(object *jsonread.Reader)
	// admit decides, when all has been read.
	admit(context.Context, *Handler, *question) answer
}

// review is the part of an AdmissionReview that is read.
type review struct {
	APIVersion, Kind string
	Request          *question

	newSubject func() subject
}

// readReview reads the review that an HTTP request carries into body. It waits
// for its share of room if much may be read of it. Without a request in it, the answer
// says why.
func readReview(ctx context.Context, r *http.Request, from io.Reader, body *buffer, newSubject func() subject, s *share) (*question, answer) {
	if problem := readBody(r, from, body); problem.message != "" {
		return nil, problem
	}
	if !s.take(ctx, max(len(body.text)/commonBody, bytes.Count(body.text, []byte(","))/commonElements)) {
		return nil, unreadable(errBusy)
	}
	return decodeReview(body.text, newSubject)
}

// readBody reads the body of a request; the answer says why not, if it does not.
func readBody(r *http.Request, from io.Reader, body *buffer) answer {
	if r.Method != http.MethodPost {
		return failed(MethodNotAllowed, http.StatusMethodNotAllowed, "send admission reviews by POST")
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return failed(NotJSON, http.StatusUnsupportedMediaType, "send %s", contentTypeJSON)
	}
	if r.ContentLength > maxBody {
		return unreadable(&http.MaxBytesError{Limit: maxBody}) // before any of it is read
	}
	if err := body.fill(from, r.ContentLength); err != nil {
		return unreadable(err)
	}
	return answer{}
}

func decodeReview(text []byte, newSubject func() subject) (*question, answer) {
	v := review{newSubject: newSubject}
	switch err := v.decode(text); {
	case err != nil:
		return nil, unreadable(errNotReview)
	case v.APIVersion != admissionReviewGroup || v.Kind != admissionReviewKind:
		return nil, failed(NotAReview, http.StatusBadRequest, "the body is not an %s of %s", admissionReviewKind, admissionReviewGroup)
	case v.Request == nil || v.Request.UID == "":
		return nil, failed(NotAReview, http.StatusBadRequest, "the admission review holds no request with a uid")
	}
	return v.Request, answer{}
}

func isJSON(contentType string) bool {
	if contentType == contentTypeJSON { // as the API server writes it
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == contentTypeJSON
}

func (v *review) decode(text []byte) error {
	return jsonread.Read(text, func(r *jsonread.Reader) {
		r.Object(func(name []byte) {
			switch string(name) {
			case "apiVersion":
				r.String(&v.APIVersion)
			case "kind":
				r.String(&v.Kind)
			case "request":
				jsonread.Pointer(r, &v.Request, func(q *question) {
					if q.subject == nil {
						q.subject = v.newSubject()
					}
					q.read(r)
				})
			default:
				r.Skip()
			}
		})
	})
}

func (q *question) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "uid":
			r.String(&q.UID)
		case "kind":
			r.Member("kind", func() { r.String(&q.Kind) })
		case "resource":
			q.readResource(r)
		case "subResource":
			r.String(&q.SubResource)
		case "namespace":
			r.String(&q.Namespace)
		case "name":
			r.String(&q.Name)
		case "operation":
			r.String((*string)(&q.Operation))
		case "object":
			if !r.Null() {
				q.subject.read(r)
			}
		case "oldObject":
			if !r.Null() {
				q.subject.readOld(r)
			}
		default:
			r.Skip()
		}
	})
}

func (q *question) readResource(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "group":
			r.String(&q.Group)
		case "resource":
			r.String(&q.Resource)
		default:
			r.Skip()
		}
	})
}

// errBusy is the end of a body for which there is no room.
var errBusy = errors.New("too many requests are being answered")

// errNotReview is the end of a body that is no admission review, whatever comes yet.
var errNotReview = errors.New("the body is not an admission review: not JSON of its type")

func unreadable(err error) answer {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return failed(BodyTooLarge, http.StatusRequestEntityTooLarge, "the admission review is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, errBusy):
		return failed(Busy, http.StatusServiceUnavailable, "%v", err)
	case errors.Is(err, errNotReview):
		return failed(NotAReview, http.StatusBadRequest, "%v", err)
	}
	return failed(BodyUnreadable, http.StatusBadRequest, "the body ended early")
}

// mostOf is how much of a request's body is read. The API server declares how
// much it sends; of who does not, no more than is common is read.
func mostOf(r *http.Request) int64 {
	if r.ContentLength < 0 {
		return commonBody
	}
	return maxBody
}

// opened ends a body that does not begin as a review does, with a brace, so that
// what is none is not gathered first. White space before it is passed over, but
// not without end.
type opened struct {
	body  io.Reader
	blank int
	brace bool
}

func (o *opened) Read(p []byte) (int, error) {
	n, err := o.body.Read(p)
	if o.brace {
		return n, err
	}
	const mostBlank = 4 << 10
	rest := bytes.TrimLeft(p[:n], " \t\r\n")
	o.blank += n - len(rest)
	o.brace = len(rest) > 0
	if o.blank > mostBlank || (o.brace && rest[0] != '{') {
		return n, errNotReview
	}
	return n, err
}

// budgeted counts the bytes of a body beyond what is common among those that the
// process holds. They count as they come, so that a sender who only promises
// many takes no room.
type budgeted struct {
	held *atomic.Int64
	body io.Reader
	read int64
	mine int64 // of those read, the ones that count
}

func (b *budgeted) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.read += int64(n)
	more := max(0, b.read-commonBody) - b.mine
	b.mine += more
	if more > 0 && b.held.Add(more) > maxBodies {
		return n, errBusy
	}
	return n, err
}

func (b *budgeted) release() { b.held.Add(-b.mine) }
