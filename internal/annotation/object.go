package annotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ObjectType is a kind of Key Vault object, in the provider's spelling.
type ObjectType string

// The provider's object types (secrets-store-csi-driver-provider-azure pkg/provider/types, v1.8.2).
const (
	TypeSecret ObjectType = "secret"
	TypeKey    ObjectType = "key"
	TypeCert   ObjectType = "cert"
)

// Object is one entry of the objects annotation: [secret/|key/|cert/]NAME[@VERSION][=FILENAME].
type Object struct {
	Type    ObjectType
	Name    string
	Version string // "" follows the newest
	File    string // "" is Name
}

func isObjectName(s string) bool    { return dashed.spell(s, 1, 127) }
func isObjectVersion(s string) bool { return alphanumeric.spell(s, 32, 32) }

// isFileName: it is also a key of the synced Secret, hence no other characters.
func isFileName(s string) bool { return filed.spell(s, 1, 253) }

// ParseObject reads one entry of the objects annotation, and tells all that is
// wrong with it. What String returns of an Object is read back as the same.
func ParseObject(s string) (Object, error) {
	o, errs := parseObject(s)
	return o, errors.Join(errs...)
}

func parseObject(s string) (Object, []error) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, " \t\r\n;,") {
		return Object{}, []error{errors.New("is not one object; separate objects by commas or newlines")}
	}
	rest, file, hasFile := strings.Cut(s, "=")
	id, version, hasVersion := strings.Cut(rest, "@")
	o, err := parseID(id)
	errs := []error{err}
	if hasVersion {
		errs = append(errs, checkVersion(version))
	}
	if hasFile {
		errs = append(errs, checkFile(file))
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > 0 {
		return Object{}, errs
	}
	o.Version = version
	if file != o.Name {
		o.File = file
	}
	return o, nil
}

// parseID reads [secret/|key/|cert/]NAME.
func parseID(s string) (Object, error) {
	o := Object{Type: TypeSecret, Name: s}
	if kind, name, ok := strings.Cut(s, "/"); ok {
		o = Object{Type: ObjectType(kind), Name: name}
	}
	switch o.Type {
	case TypeSecret, TypeKey, TypeCert:
	default:
		return Object{}, errors.New("has an unknown type; write secret/NAME, key/NAME or cert/NAME")
	}
	if isObjectName(o.Name) {
		return o, nil
	}
	if o.Name == "" {
		return Object{}, errors.New("names no object; write its name in the vault, such as db-password")
	}
	const rule = "is not a Key Vault object name (letters, digits and '-', at most 127)"
	if guess := mendName(o.Name); guess != "" {
		return Object{}, fmt.Errorf("%s; write its name in the vault, such as %s", rule, guess)
	}
	return Object{}, errors.New(rule + "; write its name in the vault")
}

// mendName guesses the Key Vault name behind a wrong one: db_password is db-password there.
func mendName(name string) string {
	guess := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, name)
	if len(guess) <= maxEcho && isObjectName(guess) && strings.Trim(guess, "-") != "" {
		return guess
	}
	return ""
}

func checkVersion(version string) error {
	switch {
	case isObjectVersion(version):
		return nil
	case version == "latest" || version == "":
		return errors.New("pins no version; leave out '@' and what follows it to have the newest version")
	}
	return errors.New("does not pin a Key Vault version, which has 32 letters and digits; copy it from the vault, or leave '@' out to have the newest")
}

// checkFile refuses what the provider, the driver's atomic writer or a Secret's
// keys would refuse, each much later (driver v1.6.0 pkg/util/fileutil).
func checkFile(file string) error {
	switch {
	case strings.HasPrefix(file, ".."), file == ".":
		return errors.New("has a file name that begins with '..' or is '.'; choose another")
	case !isFileName(file):
		return errors.New("has no valid file name after '='; write letters, digits, '-', '_' and '.', no directory")
	}
	return nil
}

// ID is the name of the object in a SecretProviderClassPodStatus.
func (o Object) ID() string { return string(o.Type) + "/" + o.Name }

// FileName is the name of the mounted file, and the object's key in a synced Secret.
func (o Object) FileName() string {
	if o.File != "" {
		return o.File
	}
	return o.Name
}

// String is the canonical form, which ParseObject reads back.
func (o Object) String() string {
	s := o.ID()
	if o.Version != "" {
		s += "@" + o.Version
	}
	if o.File != "" {
		s += "=" + o.File
	}
	return s
}
