// Package vault stands in for Azure Key Vault: several vaults by name, each
// with secrets, keys and certificates in versions, behind directory identities
// that may read them.
//
//	Set, SetCertificate ─► vault ─► object ─► versions (opaque, newest last)
//	Get(caller, …) ─► injected failure? ─► caller known, federated, allowed? ─► version, enabled?
//
// Answers and refusals have the statuses and codes of the real service, in the
// form in which its Go client reports them, because they surface in events that
// people and tests read.
package vault

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Type is a kind of object, in the spelling of the provider's object ids.
type Type string

// The types of objects in a vault.
const (
	Secret Type = "secret"
	Key    Type = "key"
	Cert   Type = "cert"
)

// Object is one version of one object.
type Object struct {
	Type    Type
	Name    string
	Version string // 32 hex digits, in no order
	Value   string // secret: the value; key: public key PEM; cert: leaf certificate PEM
	Created time.Time
	Enabled bool
	// OfCertificate marks the secret that a certificate brings with it: private key and chain in PEM.
	OfCertificate bool
}

// ID is the object's id as the provider reports it, "secret/db-password".
func (o Object) ID() string { return string(o.Type) + "/" + o.Name }

// Service is Key Vault and its directory. Its methods may be called from any goroutine.
type Service struct {
	now func() time.Time

	mu         sync.Mutex
	vaults     map[string]map[string][]Object // vault, object id, versions oldest first
	identities map[identityKey]Identity
	failures   []*failure
	reads      map[string]int // by vault
}

// New returns a Service without vaults, open to every caller until the first Allow.
func New() *Service {
	return &Service{
		now:        time.Now,
		vaults:     map[string]map[string][]Object{},
		identities: map[identityKey]Identity{},
		reads:      map[string]int{},
	}
}

// Set makes a new newest version of an object, and the vault with its first
// object, and returns the version. Equal values make a new version as well.
func (s *Service) Set(vault string, typ Type, name, value string) string {
	return s.add(vault, Object{Type: typ, Name: name, Value: value})
}

// SetCertificate makes a new version of a certificate: the certificate, its
// public key and the secret with private key and chain share name and version.
// All three parts are PEM; pair is the private key followed by the chain.
func (s *Service) SetCertificate(vault, name, leaf, publicKey, pair string) string {
	return s.add(vault,
		Object{Type: Cert, Name: name, Value: leaf},
		Object{Type: Key, Name: name, Value: publicKey},
		Object{Type: Secret, Name: name, Value: pair, OfCertificate: true},
	)
}

func (s *Service) add(vault string, objects ...Object) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	vault = canonical(vault)
	if s.vaults[vault] == nil {
		s.vaults[vault] = map[string][]Object{}
	}
	version, created := newVersion(), s.now()
	for _, o := range objects {
		o.Version, o.Created, o.Enabled = version, created, true
		s.vaults[vault][key(o.ID())] = append(s.vaults[vault][key(o.ID())], o)
	}
	return version
}

// Delete removes an object with all its versions.
func (s *Service) Delete(vault string, typ Type, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.vaults[canonical(vault)], key(id(typ, name)))
}

// Disable forbids reading one version, or with version "" the newest: the
// newest stays the newest, so reads without a version are refused as well.
func (s *Service) Disable(vault string, typ Type, name, version string) {
	s.enable(vault, typ, name, version, false)
}

// Enable undoes Disable.
func (s *Service) Enable(vault string, typ Type, name, version string) {
	s.enable(vault, typ, name, version, true)
}

func (s *Service) enable(vault string, typ Type, name, version string, enabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.vaults[canonical(vault)][key(id(typ, name))]
	if i := find(versions, version); i >= 0 {
		versions[i].Enabled = enabled
	}
}

// Newest returns the newest version of an object, for tests: it asks no
// identity and meets no injected failure.
func (s *Service) Newest(vault string, typ Type, name string) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.vaults[canonical(vault)][key(id(typ, name))]
	if len(versions) == 0 {
		return Object{}, false
	}
	return versions[len(versions)-1], true
}

// Reads counts the reads of a vault's objects that callers made, refused ones included.
func (s *Service) Reads(vault string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[canonical(vault)]
}

// Get reads one object as the caller. Version "" is the newest.
func (s *Service) Get(caller Caller, vault string, typ Type, name, version string) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions, err := s.admit(caller, vault, typ, name, version)
	if err != nil {
		return Object{}, err
	}
	i := find(versions, version)
	if i < 0 {
		return Object{}, s.refuse(vault, typ, name, version, 404)
	}
	if !versions[i].Enabled {
		return Object{}, &Error{Status: 403, Code: "Forbidden", Request: request(vault, typ, name, version)}
	}
	return versions[i], nil
}

// Versions lists an object's enabled versions, newest first, as the caller.
func (s *Service) Versions(caller Caller, vault string, typ Type, name string) ([]Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions, err := s.admit(caller, vault, typ, name, "versions")
	if err != nil {
		return nil, err
	}
	enabled := slices.DeleteFunc(slices.Clone(versions), func(o Object) bool { return !o.Enabled })
	slices.Reverse(enabled)
	return enabled, nil
}

// admit answers with the object's versions, or with what stands before them:
// an injected failure, the directory, the vault's permissions, no such thing.
func (s *Service) admit(caller Caller, vault string, typ Type, name, version string) ([]Object, error) {
	s.reads[canonical(vault)]++
	objects, known := s.vaults[canonical(vault)]
	if !known {
		return nil, &Error{Request: request(vault, typ, name, version), NoHost: host(vault)}
	}
	if status := s.injected(caller, vault, typ, name); status != 0 {
		return nil, s.refuse(vault, typ, name, version, status)
	}
	if err := s.authorize(caller, vault, request(vault, typ, name, version)); err != nil {
		return nil, err
	}
	versions := objects[key(id(typ, name))]
	if len(versions) == 0 {
		return nil, s.refuse(vault, typ, name, version, 404)
	}
	return versions, nil
}

func (s *Service) refuse(vault string, typ Type, name, version string, status int) *Error {
	return &Error{Status: status, Code: code(typ, status), Request: request(vault, typ, name, version)}
}

// find returns the index of a version, or of the newest for "", or -1.
func find(versions []Object, version string) int {
	if version == "" {
		return len(versions) - 1
	}
	return slices.IndexFunc(versions, func(o Object) bool { return strings.EqualFold(o.Version, version) })
}

func newVersion() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand ends the process rather than return an error
	return hex.EncodeToString(b[:])
}

func id(typ Type, name string) string { return fmt.Sprintf("%s/%s", typ, name) }

// Names of vaults and objects are case-insensitive.
func canonical(vault string) string { return strings.ToLower(vault) }
func key(id string) string          { return strings.ToLower(id) }
