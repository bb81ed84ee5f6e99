// Package jsonread takes chosen fields out of JSON in one pass, and skips the
// rest without copying it.
//
//	err := jsonread.Read(text, func(r *jsonread.Reader) {
//		r.Object(func(name []byte) {
//			switch string(name) {
//			case "kind":
//				r.String(&kind)
//			case "items":
//				jsonread.List(r, &items, func(i *item) { i.read(r) })
//			default:
//				r.Skip()
//			}
//		})
//	})
//
// Each method reads exactly one value. What comes out is what encoding/json
// makes of the same text where field names are told apart by case, as the API
// server does (sigs.k8s.io/json): null leaves a string and empties a pointer,
// list or map; of names that occur twice the later one counts, and is merged
// into what the earlier one has left; invalid UTF-8 becomes U+FFFD; nesting ends
// at a depth of 10,000. A value of the wrong type is an error, but the reading
// goes on, so that a text that is no JSON is always told as that.
//
// The tokens are those of encoding/json/jsontext, by its module for Go versions
// in which the standard library does not have it yet.
package jsonread

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrSyntax is the error of a text that is not JSON.
var ErrSyntax = errors.New("is not JSON")

// Reader is a place in a text. It is good until the function given to Read returns.
type Reader struct {
	decoder jsontext.Decoder
	text    []byte
	scratch []byte // what a string with escapes stands for
	syntax  bool   // the text has turned out not to be JSON
	wrong   error  // the first value of a wrong type
}

// The API server's own decoder knows neither bound, so neither may make a difference.
var lenient = jsontext.AllowDuplicateNames(true)
var lossy = jsontext.AllowInvalidUTF8(true)

var readers = sync.Pool{New: func() any { return new(Reader) }}

// Read calls value to read the one value that text holds.
func Read(text []byte, value func(*Reader)) error {
	r := readers.Get().(*Reader)
	defer r.release()
	r.text = text
	r.decoder.Reset(bytes.NewBuffer(text), lenient, lossy)
	value(r)
	if _, err := r.decoder.ReadToken(); r.syntax || !errors.Is(err, io.EOF) {
		return ErrSyntax
	}
	return r.wrong
}

// release lets go of the text.
func (r *Reader) release() {
	r.decoder.Reset(strings.NewReader(""))
	r.text, r.syntax, r.wrong = nil, false, nil
	const most = 4 << 10
	if cap(r.scratch) > most {
		r.scratch = nil
	}
	readers.Put(r)
}

// Skip reads a value and drops it.
func (r *Reader) Skip() { r.value() }

// Raw answers the value's own text, a part of the whole.
func (r *Reader) Raw() []byte {
	n := len(r.value())
	end := int(r.decoder.InputOffset())
	return r.text[end-n : end : end]
}

// value reads a value as it stands, empty where the text is not JSON. It is good
// until the next call.
func (r *Reader) value() jsontext.Value {
	if r.syntax {
		return nil
	}
	v, err := r.decoder.ReadValue()
	r.syntax = err != nil
	return v
}

// token reads what begins or ends an object or list.
func (r *Reader) token() {
	_, err := r.decoder.ReadToken()
	r.syntax = r.syntax || err != nil
}

// more tells whether the object or list that is being read has more.
func (r *Reader) more(end jsontext.Kind) bool {
	return !r.syntax && r.decoder.PeekKind() != end
}

// Null reads a null, if there is one, and tells whether there was.
func (r *Reader) Null() bool {
	if r.syntax || r.decoder.PeekKind() != jsontext.KindNull {
		return false
	}
	r.token()
	return true
}

// expect tells whether a value of this kind follows. A null is read, and so is
// any other value, which is an error.
func (r *Reader) expect(kind jsontext.Kind, name string) bool {
	if r.Null() || r.syntax {
		return false
	}
	if r.decoder.PeekKind() == kind {
		return true
	}
	if r.value(); !r.syntax {
		r.Fail(fmt.Errorf("%s is not %s", place(r.decoder.StackPointer()), name))
	}
	return false
}

// Part calls value to read one value, and answers the first wrong type in it: one
// that is no error of the whole.
func (r *Reader) Part(value func(*Reader)) error {
	whole := r.wrong
	r.wrong = nil
	value(r)
	err := r.wrong
	r.wrong = whole
	return err
}

// Fail makes err, if there is one, the error of Read, as a value of a wrong type does.
func (r *Reader) Fail(err error) {
	if r.wrong == nil {
		r.wrong = err
	}
}

// place bounds a place that is told in an error. The names in it are anybody's.
func place(p jsontext.Pointer) string {
	const most = 200
	switch {
	case p == "":
		return "it"
	case len(p) > most:
		return strings.ToValidUTF8(string(p[:most]), "") + "…"
	}
	return string(p)
}

// Object has member called for each member of an object. member reads the value
// of the name that it is given, which is good until it does so.
func (r *Reader) Object(member func(name []byte)) {
	if !r.expect(jsontext.KindBeginObject, "an object") {
		return
	}
	r.token()
	for r.more(jsontext.KindEndObject) {
		if name := r.value(); !r.syntax {
			member(r.unquote(name))
		}
	}
	r.token()
}

// Member reads an object of which one member matters, by a call of value.
func (r *Reader) Member(name string, value func()) {
	r.Object(func(n []byte) {
		if string(n) == name {
			value()
			return
		}
		r.Skip()
	})
}

// maxElements is how long a list that is read may be. An element can be written
// in three bytes; what is made of it, in memory and in an answer, is a hundred
// times as large.
const maxElements = 10_000

// List reads a list, each element by a call of element. One of more than 10,000
// elements is an error.
func List[T any](r *Reader, list *[]T, element func(*T)) {
	if r.Null() {
		*list = nil
		return
	}
	if !r.expect(jsontext.KindBeginArray, "a list") {
		return
	}
	r.token()
	n := 0
	for ; r.more(jsontext.KindEndArray); n++ {
		if n == maxElements {
			r.Fail(fmt.Errorf("%s is one of more than %d elements", place(r.decoder.StackPointer()), maxElements))
			for r.more(jsontext.KindEndArray) {
				r.Skip()
			}
			break
		}
		if n >= cap(*list) {
			const first = 4
			*list = slices.Grow(*list, max(first, n))
		}
		// An element that is there already is of a list of the same name.
		*list = (*list)[:max(n+1, len(*list))]
		element(&(*list)[n])
	}
	r.token()
	if *list = (*list)[:n]; n == 0 {
		*list = []T{}
	}
}

// Pointer reads what may be null, by a call of value.
func Pointer[T any](r *Reader, p **T, value func(*T)) {
	if r.Null() {
		*p = nil
		return
	}
	if *p == nil {
		*p = new(T)
	}
	value(*p)
}

// String reads a string.
func (r *Reader) String(s *string) {
	if r.expect(jsontext.KindString, "a string") {
		if v := r.value(); !r.syntax {
			*s = string(r.unquote(v))
		}
	}
}

// Bool reads true or false.
func (r *Reader) Bool(b *bool) {
	if !r.syntax && r.decoder.PeekKind() == jsontext.KindTrue {
		*b = true
	} else if r.expect(jsontext.KindFalse, "true or false") {
		*b = false
	} else {
		return
	}
	r.token()
}

// Int reads a whole number.
func (r *Reader) Int(n *int64) {
	if !r.expect(jsontext.KindNumber, "a number") {
		return
	}
	v := r.value()
	if r.syntax {
		return
	}
	read, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		r.Fail(fmt.Errorf("%s is not a whole number", place(r.decoder.StackPointer())))
		return
	}
	*n = read
}

// Strings reads an object of strings. Of the values it keeps those whose names
// keep is true for; nil keeps all.
func (r *Reader) Strings(m *map[string]string, keep func(name []byte) bool) {
	if r.Null() {
		*m = nil
		return
	}
	if *m == nil {
		*m = map[string]string{}
	}
	r.Object(func(name []byte) {
		if keep != nil && !keep(name) {
			if r.expect(jsontext.KindString, "a string") {
				r.value()
			}
			return
		}
		var s string
		key := string(name)
		r.String(&s)
		(*m)[key] = s
	})
}

// unquote answers what a JSON string stands for.
func (r *Reader) unquote(v []byte) []byte {
	inner := v[1 : len(v)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner
	}
	// The one error that is left is of invalid UTF-8, which has been replaced.
	r.scratch, _ = jsontext.AppendUnquote(r.scratch[:0], v)
	return r.scratch
}
