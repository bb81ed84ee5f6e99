package vault

import (
	"fmt"
	"net/http"
	"strings"
)

// Error is a refusal by the vault or its directory.
type Error struct {
	Status  int    // HTTP status; 0 with NoHost
	Code    string // the service's error code
	Request string // "GET https://…"
	NoHost  string // the vault's host name, when no such vault exists
	Token   bool   // the directory refused, not the vault
}

const rule = "--------------------------------------------------------------------------------"

// Error has the form of the Azure client library's errors, without the body.
func (e *Error) Error() string {
	if e.NoHost != "" {
		return fmt.Sprintf("Get %q: dial tcp: lookup %s: no such host", strings.TrimPrefix(e.Request, "GET "), e.NoHost)
	}
	text := fmt.Sprintf("%s\n%s\nRESPONSE %d: %d %s\nERROR CODE: %s\n%s\n", e.Request, rule,
		e.Status, e.Status, http.StatusText(e.Status), e.Code, rule)
	if e.Token {
		return "ClientAssertionCredential authentication failed. \n" + text
	}
	return text
}

// code is the service's error code for a status.
func code(typ Type, status int) string {
	switch status {
	case http.StatusNotFound:
		return map[Type]string{Secret: "SecretNotFound", Key: "KeyNotFound", Cert: "CertificateNotFound"}[typ]
	case http.StatusForbidden:
		return "Forbidden"
	case http.StatusTooManyRequests:
		return "Throttled"
	default:
		return "InternalServerError"
	}
}

func host(vault string) string { return strings.ToLower(vault) + ".vault.azure.net" }

func request(vault string, typ Type, name, version string) string {
	collection := map[Type]string{Secret: "secrets", Key: "keys", Cert: "certificates"}[typ]
	return fmt.Sprintf("GET https://%s/%s/%s/%s", host(vault), collection, name, version)
}

// Failure makes reads fail. Empty fields match everything.
type Failure struct {
	Vault    string
	Type     Type
	Name     string
	ClientID string
	Status   int // 403, 404, 429, 500 …
	Times    int // 0: until cancelled
}

type failure struct {
	Failure
	left int
}

// Fail injects a failure until the returned function is called or its times are used up.
func (s *Service) Fail(f Failure) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	injected := &failure{Failure: f, left: f.Times}
	s.failures = append(s.failures, injected)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, other := range s.failures {
			if other == injected {
				s.failures = append(s.failures[:i:i], s.failures[i+1:]...)
				return
			}
		}
	}
}

// injected returns the status of the first failure that matches, or 0.
func (s *Service) injected(caller Caller, vault string, typ Type, name string) int {
	for _, f := range s.failures {
		if !f.matches(caller, vault, typ, name) || (f.Times > 0 && f.left == 0) {
			continue
		}
		f.left--
		return f.Status
	}
	return 0
}

func (f Failure) matches(caller Caller, vault string, typ Type, name string) bool {
	return (f.Vault == "" || strings.EqualFold(f.Vault, vault)) &&
		(f.Type == "" || f.Type == typ) &&
		(f.Name == "" || strings.EqualFold(f.Name, name)) &&
		(f.ClientID == "" || strings.EqualFold(f.ClientID, caller.ClientID))
}
