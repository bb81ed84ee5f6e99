package jsonwrite

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzWhatIsWrittenIsReadBack holds what is written against encoding/json: from
// either, the same is read.
func FuzzWhatIsWrittenIsReadBack(f *testing.F) {
	for _, s := range []string{"", "a", `"\/`, "\x00\x1f\x7f", "é\u2028😀", "<&>", "a\xff", "\xed\xa0\x80"} {
		f.Add(s, "b")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		same(t, a, String(nil, a))
		same(t, map[string]string{}, Strings(nil, nil))
		same(t, map[string]string{a: b}, Strings(nil, map[string]string{a: b}))
		if a != b {
			same(t, map[string]string{a: b, b: a}, Strings(nil, map[string]string{a: b, b: a}))
		}
		same(t, []string{}, List(nil, nil, String))
		same(t, []string{a, b, a}, List(nil, []string{a, b, a}, String))
	})
}

func same[T any](t *testing.T, value T, written []byte) {
	t.Helper()
	standard, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read[T](t, standard), read[T](t, written)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", written, diff)
	}
}

func read[T any](t *testing.T, text []byte) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return value
}
