package vault

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	s := New()
	call := func(method, path, body string) (int, string) {
		answer := httptest.NewRecorder()
		s.Handler().ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
		return answer.Code, answer.Body.String()
	}
	code, version := call(http.MethodPut, "/shop-kv/secret/pw", "new\n")
	newest, found := s.Newest(kv, Secret, "pw")
	if code != 200 || !found || version != newest.Version+"\n" || newest.Value != "new\n" {
		t.Errorf("%d %q; the vault holds %v", code, version, newest)
	}
	if code, answer := call(http.MethodGet, "/shop-kv/secret/pw", ""); code != 200 || !strings.HasPrefix(answer, newest.Version) {
		t.Errorf("%d %q", code, answer)
	}
	for what, want := range map[string]int{
		"GET /shop-kv/secret/other": 404,
		"GET /shop-kv/secrets/pw":   400,
		"PUT /shop-kv/secrets/pw":   400,
		"DELETE /shop-kv/secret/pw": 405,
	} {
		method, path, _ := strings.Cut(what, " ")
		if code, _ := call(method, path, ""); code != want {
			t.Errorf("%s: %d, want %d", what, code, want)
		}
	}
	if code, _ := call(http.MethodPut, "/shop-kv/secret/pw", strings.Repeat("x", maxValue+1)); code != 413 {
		t.Errorf("a value too large: %d", code)
	}
}
