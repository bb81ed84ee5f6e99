// Package jsonwrite appends JSON to a buffer, for the little that is written to
// answer an admission review. encoding/json would look through all fields of the
// API's types, of which a handful are set, and through what it has written a
// second time; that took longer than to decide what to write.
package jsonwrite

import (
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// String appends a string.
func String(b []byte, s string) []byte {
	// The one error is of invalid UTF-8, which is replaced by U+FFFD as encoding/json does.
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// Strings appends an object of strings, in the order of their names.
func Strings(b []byte, m map[string]string) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(String(b, name), ':')
		b = String(b, m[name])
	}
	return append(b, '}')
}

// List appends a list, each element by a call of element.
func List[T any](b []byte, list []T, element func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(b, e)
	}
	return append(b, ']')
}
