package vault

import (
	"net/http"
	"slices"
	"strings"
)

// Caller is who reads: an identity of a directory, asked for by a pod's ServiceAccount.
type Caller struct {
	TenantID string
	ClientID string
	// Subject is the ServiceAccount's, "system:serviceaccount:NAMESPACE:NAME";
	// "" for an identity of the node, which needs no federation.
	Subject string
}

// Subject is the federated subject of a ServiceAccount.
func Subject(namespace, account string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}

// Identity is a managed identity of a directory.
type Identity struct {
	TenantID string
	ClientID string
	Subjects []string // federated with these; empty: with any
	Vaults   []string // may read these; empty: all
}

type identityKey struct{ tenant, client string }

func keyOf(tenant, client string) identityKey {
	return identityKey{strings.ToLower(tenant), strings.ToLower(client)}
}

// Allow makes an identity known, or changes it. From the first on, callers
// that are not known are refused.
func (s *Service) Allow(i Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identities[keyOf(i.TenantID, i.ClientID)] = i
}

// authorize asks the directory for the caller's token, then the vault for its permission.
func (s *Service) authorize(caller Caller, vault, request string) error {
	if len(s.identities) == 0 {
		return nil
	}
	known, found := s.identities[keyOf(caller.TenantID, caller.ClientID)]
	federated := len(known.Subjects) == 0 || caller.Subject == "" || slices.Contains(known.Subjects, caller.Subject)
	switch {
	case !found:
		return tokenError(caller.TenantID, http.StatusBadRequest, "unauthorized_client")
	case !federated:
		return tokenError(caller.TenantID, http.StatusUnauthorized, "invalid_client")
	case len(known.Vaults) > 0 && !slices.ContainsFunc(known.Vaults, func(v string) bool { return strings.EqualFold(v, vault) }):
		return &Error{Status: http.StatusForbidden, Code: "Forbidden", Request: request}
	}
	return nil
}

func tokenError(tenant string, status int, code string) *Error {
	return &Error{
		Status: status, Code: code, Token: true,
		Request: "POST https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token",
	}
}
