package vault

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxValue is the size of the largest secret of the real service.
const maxValue = 25 << 10

// Handler lets other processes rotate, as people do with the vault's own command:
//
//	curl -X PUT  --data-binary new http://ADDRESS/shop-kv/secret/db-password
//	curl         http://ADDRESS/shop-kv/secret/db-password
//
// Both answer with the newest version; values never come out.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{vault}/{type}/{name}", s.servePut)
	mux.HandleFunc("GET /{vault}/{type}/{name}", s.serveGet)
	return mux
}

func (s *Service) servePut(w http.ResponseWriter, r *http.Request) {
	typ, err := parseType(r.PathValue("type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("a value has at most %d bytes", maxValue), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	version := s.Set(r.PathValue("vault"), typ, r.PathValue("name"), string(value))
	fmt.Fprintln(w, version)
}

func (s *Service) serveGet(w http.ResponseWriter, r *http.Request) {
	typ, err := parseType(r.PathValue("type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	newest, found := s.Newest(r.PathValue("vault"), typ, r.PathValue("name"))
	if !found {
		http.Error(w, "no such object", http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, "%s set %s\n", newest.Version, newest.Created.Format(time.RFC3339))
}

func parseType(text string) (Type, error) {
	switch typ := Type(text); typ {
	case Secret, Key, Cert:
		return typ, nil
	default:
		return "", fmt.Errorf("type %q: write secret, key or cert", text)
	}
}
