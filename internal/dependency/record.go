package dependency

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"keyroll.dev/internal/annotation"
)

// Version is that of the records that this package writes and reads. What a
// version's classes hold never changes: a change needs a new version, or the
// classes of running pods would be edited under them.
const Version = 1

// maxEncoded bounds a record, in bytes.
const maxEncoded = 64 << 10

// Record is what a pod depends on, written by the webhook to the pod's
// annotation keyroll.dev/dependencies and read back by the watcher.
type Record struct {
	V                   int      `json:"v"`
	SecretProviderClass string   `json:"secretProviderClass"`
	Secret              string   `json:"secret,omitempty"`     // synced Secret; "" for none
	SecretType          string   `json:"secretType,omitempty"` // "" is Opaque
	Vault               string   `json:"vault,omitempty"`
	TenantID            string   `json:"tenantID,omitempty"`
	ClientID            string   `json:"clientID,omitempty"`
	Objects             []string `json:"objects,omitempty"` // canonical, sorted; empty: the class is the user's own
	Env                 bool     `json:"env,omitempty"`
}

// Generated reports whether the record's class is one that Keyroll makes.
func (r Record) Generated() bool { return len(r.Objects) > 0 }

// Encode is the record's one spelling.
func (r Record) Encode() string {
	b, err := json.Marshal(r)
	if err != nil {
		// Strings, a bool and an int: nothing that can fail.
		panic(fmt.Sprintf("encode record: %v", err))
	}
	return string(b)
}

// Decode reads a record that anybody may have written. It accepts only what
// Resolve and Encode make, to the byte: values that the annotations would have
// been refused for, another order, or an unknown field or version are errors.
func Decode(s string) (Record, error) {
	if len(s) > maxEncoded {
		return Record{}, fmt.Errorf("record has %d bytes, more than %d", len(s), maxEncoded)
	}
	var r Record
	if err := json.Unmarshal([]byte(s), &r); err != nil {
		return Record{}, errors.New("record is not JSON of a record")
	}
	if r.V != Version {
		return Record{}, fmt.Errorf("record has version %d, known is %d", r.V, Version)
	}
	if r.Encode() != s {
		return Record{}, errors.New("record is not in the form in which it is written")
	}
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("record: %w", err)
	}
	return r, nil
}

// check reports whether the record could have come out of Resolve: it is
// turned back into annotations, parsed, resolved again and compared.
func (r Record) check() error {
	settings, problems := annotation.Parse(r.annotations())
	if err := problems.Err(); err != nil {
		return err
	}
	again, problems := Resolve(settings, annotation.Defaults{}, nil, Fallback{})
	if err := problems.Err(); err != nil {
		return err
	}
	if again.SecretProviderClass != r.SecretProviderClass {
		return errMisnamed(r.SecretProviderClass, again.SecretProviderClass)
	}
	if again.Encode() != r.Encode() {
		return errors.New("it contradicts itself")
	}
	return nil
}

// annotations are ones that resolve to the record.
func (r Record) annotations() map[string]string {
	a := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	set(annotation.ClientID, r.ClientID)
	if !r.Generated() {
		a[annotation.SecretProviderClass] = r.SecretProviderClass
		set(annotation.Vault, r.Vault)
		set(annotation.TenantID, r.TenantID)
		set(annotation.Secret, r.Secret)
		set(annotation.SecretType, r.SecretType)
		return a
	}
	set(annotation.Vault, r.Vault)
	set(annotation.TenantID, r.TenantID)
	set(annotation.Objects, strings.Join(r.Objects, ","))
	set(annotation.SecretType, r.SecretType)
	if r.Env {
		// Which variables there are is not in the record; one stands for all.
		id, _, _ := strings.Cut(r.Objects[0], "@")
		id, _, _ = strings.Cut(id, "=")
		a[annotation.Env] = "ANY=" + id
	}
	if r.Secret != r.SecretProviderClass {
		set(annotation.Secret, r.Secret)
	}
	return a
}

// Verify reports whether a decoded record may be believed in a namespace with
// these defaults: who may create pods must not get a class for a vault that
// the namespace does not allow by writing the record himself.
func (r Record) Verify(ns annotation.Defaults) error {
	if r.Generated() && r.SecretProviderClass != r.ClassName() {
		return fmt.Errorf("record: %w", errMisnamed(r.SecretProviderClass, r.ClassName()))
	}
	if r.Generated() && !allowed(r.Vault, ns.AllowedVaults) {
		return fmt.Errorf("record: vault %.80q is not in %s of the namespace", r.Vault, annotation.AllowedVaults)
	}
	return nil
}

func errMisnamed(class, content string) error {
	return fmt.Errorf("it names class %.80q, its content makes %q", class, content)
}
