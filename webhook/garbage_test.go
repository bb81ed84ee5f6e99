package webhook

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// spaces never ends.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Garbage is refused for what it is, and none of it makes the process take more
// memory than a body may have and its buffers.
func TestGarbageIsAnsweredWithinBoundedMemory(t *testing.T) {
	const nested = 100_000
	review := `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a","object":`
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	tests := map[string]struct {
		body func() io.Reader
		want int
	}{
		"nothing":                   {text(""), http.StatusBadRequest},
		"null":                      {text("null"), http.StatusBadRequest},
		"half a review":             {text(review + `{"spec":{"cont`), http.StatusBadRequest},
		"lists without end":         {text(strings.Repeat("[", nested)), http.StatusBadRequest},
		"lists in one another":      {text(strings.Repeat("[", nested) + strings.Repeat("]", nested)), http.StatusBadRequest},
		"an object without end":     {text(review + strings.Repeat(`{"a":`, nested)), http.StatusBadRequest},
		"fields that are read, too": {text(review + strings.Repeat(`{"spec":{"volumes":[`, nested)), http.StatusBadRequest},
		"64 MiB of spaces":          {func() io.Reader { return io.LimitReader(spaces{}, 64<<20) }, http.StatusBadRequest},
		"spaces without end":        {func() io.Reader { return spaces{} }, http.StatusBadRequest},
		"spaces behind a brace":     {func() io.Reader { return io.MultiReader(strings.NewReader("{"), spaces{}) }, http.StatusRequestEntityTooLarge},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			h, _, _ := newHandler(t, shop())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := post(t, h, "/pods", tc.body())
			runtime.ReadMemStats(&after)
			if got.Code != tc.want {
				t.Errorf("status %d, want %d: %s", got.Code, tc.want, got.Body)
			}
			const most = 6 * maxBody // a buffer that doubles up to its size, each of which the race detector makes of two
			if took := after.TotalAlloc - before.TotalAlloc; took > most {
				t.Errorf("%d bytes allocated, want at most %d", took, most)
			}
		})
	}
}
