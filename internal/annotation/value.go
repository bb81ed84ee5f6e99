package annotation

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// A check tells what is wrong with a value and what to write instead.
type check func(value string) error

func isVaultName(s string) bool {
	return dashed.spell(s, 3, 24) && alphabetic[s[0]] && alphanumeric.enclose(s)
}

// isGUID: eight, four, four, four and twelve hexadecimal digits.
func isGUID(s string) bool {
	groups := [...]int{8, 4, 4, 4, 12}
	for i, n := range groups {
		group, rest, more := strings.Cut(s, "-")
		if !hexadecimal.spell(group, n, n) || more != (i < len(groups)-1) {
			return false
		}
		s = rest
	}
	return true
}

func isTenant(s string) bool { return dotted.spell(s, 1, 253) && alphanumeric.enclose(s) }

// IsGenerated reports whether a class or Secret has a name that Keyroll makes. Such
// names are Keyroll's alone: a person's would meet the generated one sooner or later.
func IsGenerated(s string) bool {
	hash, ok := strings.CutPrefix(s, "keyroll-")
	return ok && hexadecimal.spell(hash, 32, 32) && strings.ToLower(hash) == hash
}

// checkVault tells whether v can be the name of a Key Vault.
func checkVault(v string) error {
	if isVaultName(v) && !strings.Contains(v, "--") {
		return nil
	}
	host := strings.TrimPrefix(strings.ToLower(v), "https://")
	if name, _, ok := strings.Cut(host, "."); ok && isVaultName(name) {
		return fmt.Errorf("is not a Key Vault name; write the name alone: %s", name)
	}
	return errors.New("is not a Key Vault name; write 3 to 24 letters, digits and single '-', a letter first, no '-' last")
}

// CheckClientID tells whether v can be the client id of a managed identity or application.
func CheckClientID(v string) error {
	if isGUID(v) {
		return nil
	}
	return errors.New("is not a client id; write the identity's client id, such as 01234567-89ab-cdef-0123-456789abcdef")
}

// CheckTenantID tells whether v can name a directory: its id, or one of its domains.
func CheckTenantID(v string) error {
	if isTenant(v) {
		return nil
	}
	return errors.New("is not a directory; write its id, such as 01234567-89ab-cdef-0123-456789abcdef")
}

// checkName is for names of objects in Kubernetes: what is the kind of object.
func checkName(what string) check {
	return func(v string) error {
		if len(validation.IsDNS1123Subdomain(v)) > 0 {
			return fmt.Errorf("is not a name of a %s; write lower-case letters, digits, '-' and '.', as kubectl shows it", what)
		}
		return nil
	}
}

func checkSecret(v string) error {
	if IsGenerated(v) {
		return errors.New("is kept for names that Keyroll generates; choose another")
	}
	return checkName("Secret")(v)
}

func checkClass(v string) error {
	if IsGenerated(v) {
		return errors.New("is a class that Keyroll generates; write keyroll.dev/objects instead of naming it")
	}
	return checkName("SecretProviderClass")(v)
}

func checkContainer(v string) error {
	if len(validation.IsDNS1123Label(v)) > 0 {
		return errors.New("is not a container's name; write names from the pod template, or remove the annotation to have all")
	}
	return nil
}

func checkMountPath(v string) error {
	switch {
	case !path.IsAbs(v):
		return errors.New("is not an absolute path; write one such as " + DefaultMountPath)
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f || r == ':' || r == '�' }):
		return errors.New("holds ':' or a control character; write a path such as " + DefaultMountPath)
	case v == "/":
		return errors.New("would hide the container's whole file system; write a directory such as " + DefaultMountPath)
	case len(v) > 1024:
		return errors.New("is longer than 1024 bytes; write a shorter path")
	case path.Clean(v) != v:
		return fmt.Errorf("is not in its shortest form; write %q", echo(path.Clean(v)))
	}
	if token := hiddenToken(v); token != "" {
		return fmt.Errorf("is at or above the directory of a token of the pod, %s; write another, such as %s", token, DefaultMountPath)
	}
	return nil
}

// hiddenToken answers the directory of a token that cannot be mounted any more
// with secrets at v: no directory can be made in them. That of Kubernetes is
// in nearly every pod, that of workload identity in all that we label. In most
// images /var/run is a link to /run.
func hiddenToken(v string) string {
	if v == "/run" || strings.HasPrefix(v, "/run/") {
		v = "/var" + v
	}
	for _, token := range []string{"/var/run/secrets/kubernetes.io/serviceaccount", "/var/run/secrets/azure/tokens"} {
		if v == token || strings.HasPrefix(token, v+"/") {
			return token
		}
	}
	return ""
}

func oneOf(values ...string) check {
	return func(v string) error {
		if slices.Contains(values, v) {
			return nil
		}
		return errors.New(`is none of its values; write "` + strings.Join(values, `" or "`) + `"`)
	}
}
