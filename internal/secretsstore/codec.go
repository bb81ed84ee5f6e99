package secretsstore

import (
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"keyroll.dev/internal/jsonread"
)

// codecs are apimachinery's, but for watches. Those scan the text of each event
// nine times: frame, event and object are each checked and read, the latter two
// once more for their kind. As there is a status for each mount of the cluster,
// that was most of what a watcher did until it was ready. Here each of the three
// is read once. What is not read that easily is left to apimachinery.
type codecs struct{ runtime.NegotiatedSerializer }

func newCodecs(scheme *runtime.Scheme) codecs {
	return codecs{serializer.NewCodecFactory(scheme).WithoutConversion()}
}

// SupportedMediaTypes is how a client finds its codecs.
func (c codecs) SupportedMediaTypes() []runtime.SerializerInfo {
	json, _ := runtime.SerializerInfoForMediaType(c.NegotiatedSerializer.SupportedMediaTypes(), runtime.ContentTypeJSON)
	events := *json.StreamSerializer
	events.Serializer, events.Framer = eventCodec{events.Serializer}, framer{events.Framer}
	json.Serializer, json.StreamSerializer = statusCodec{json.Serializer}, &events
	return []runtime.SerializerInfo{json}
}

// framer cuts a watch into its events.
type framer struct{ runtime.Framer }

func (framer) NewFrameReader(from io.ReadCloser) io.ReadCloser {
	return &frames{Closer: from, decoder: jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
}

type frames struct {
	io.Closer
	decoder *jsontext.Decoder
	rest    []byte // of a frame that has been read in part
}

// Read reads one frame, or as much of it as there is room for, and then io.ErrShortBuffer.
func (f *frames) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		frame, err := f.decoder.ReadValue()
		if err != nil {
			return 0, bare(err)
		}
		f.rest = frame
	}
	n := copy(p, f.rest)
	if f.rest = f.rest[n:]; len(f.rest) > 0 {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// bare is the error of what was read from, by which a client tells why a watch has ended.
func bare(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// eventCodec reads an event, and leaves its object as it stands in it.
type eventCodec struct{ runtime.Serializer }

func (c eventCodec) Decode(text []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if event, ok := into.(*metav1.WatchEvent); ok && readEvent(text, event) {
		return event, defaults, nil
	}
	return c.Serializer.Decode(text, defaults, into)
}

func readEvent(text []byte, event *metav1.WatchEvent) bool {
	return jsonread.Read(text, func(r *jsonread.Reader) {
		r.Object(func(name []byte) {
			switch string(name) {
			case "type":
				r.String(&event.Type)
			case "object":
				if !r.Null() {
					event.Object.Raw = r.Raw()
				}
			default:
				r.Skip()
			}
		})
	}) == nil
}

// statusCodec reads the object of an event, if it is a status.
type statusCodec struct{ runtime.Serializer }

func (c statusCodec) Decode(text []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if into == nil {
		if status, ok := readStatus(text); ok {
			return status, &PodStatusKind, nil
		}
	}
	return c.Serializer.Decode(text, defaults, into)
}
