package dependency

import (
	"fmt"
	"slices"
	"strings"

	"keyroll.dev/internal/annotation"
)

// Fallback is what the program's flags say where nobody else does.
type Fallback struct {
	TenantID string
}

// Resolve settles what the settings of a workload come to in its namespace
// under its ServiceAccount, nil where that is not known. It tells all problems
// at once; those with Later set may go away with another ServiceAccount. The
// record of settings that do not ask for injection is zero.
func Resolve(s annotation.Settings, ns annotation.Defaults, account *ServiceAccount, fallback Fallback) (Record, annotation.Problems) {
	if !s.Asked() {
		return Record{}, nil
	}
	r := &resolver{settings: s, defaults: ns, account: account, fallback: fallback}
	if s.SecretProviderClass != "" {
		return r.existing(), nil
	}
	record := Record{
		V:          Version,
		Secret:     s.Secret,
		SecretType: s.SecretType,
		Vault:      r.vault(),
		TenantID:   r.tenantID(),
		ClientID:   r.clientID(),
		Env:        len(s.Env) > 0,
	}
	if record.SecretType == annotation.SecretTypeOpaque {
		record.SecretType = ""
	}
	for _, o := range s.Objects {
		record.Objects = append(record.Objects, o.String())
	}
	slices.Sort(record.Objects)
	if len(r.problems) > 0 {
		return Record{}, r.problems
	}
	record.SecretProviderClass = record.ClassName()
	if record.Env && record.Secret == "" {
		record.Secret = record.SecretProviderClass
	}
	return record, nil
}

// Missing tells what Resolve would if the settings had an object: where none of
// those that are written can be read, the rest is still looked up.
func Missing(s annotation.Settings, ns annotation.Defaults, account *ServiceAccount, fallback Fallback) annotation.Problems {
	r := &resolver{settings: s, defaults: ns, account: account, fallback: fallback}
	r.vault()
	r.tenantID()
	r.clientID()
	return r.problems
}

// resolver collects problems while it asks one source after the other.
type resolver struct {
	settings annotation.Settings
	defaults annotation.Defaults
	account  *ServiceAccount
	fallback Fallback
	problems annotation.Problems
}

// existing is the record over a user's own class, which decides all but the
// identity that the ServiceAccount stands for.
func (r *resolver) existing() Record {
	id := first(r.settings.ClientID, r.account.annotation(annotation.IdentityClientID), r.defaults.ClientID)
	if annotation.CheckClientID(id) != nil {
		id = ""
	}
	return Record{V: Version, SecretProviderClass: r.settings.SecretProviderClass, ClientID: id}
}

func (r *resolver) vault() string {
	vault := first(r.settings.Vault, r.defaults.Vault)
	switch {
	case vault == "":
		r.add(annotation.Vault, "", "is needed, and the namespace has none either; write the Key Vault's name on one of the two")
	case !allowed(vault, r.defaults.AllowedVaults):
		r.add(annotation.Vault, vault, "is not allowed in this namespace; "+allowance(r.defaults.AllowedVaults))
	}
	return vault
}

func (r *resolver) tenantID() string {
	return r.identity(identity{
		key: annotation.TenantID, own: r.settings.TenantID,
		accountKey: annotation.IdentityTenantID, valid: annotation.CheckTenantID,
		rest: []string{r.defaults.TenantID, r.fallback.TenantID}, asked: "the namespace, the webhook's --tenant-id",
	})
}

func (r *resolver) clientID() string {
	return r.identity(identity{
		key: annotation.ClientID, own: r.settings.ClientID,
		accountKey: annotation.IdentityClientID, valid: annotation.CheckClientID,
		rest: []string{r.defaults.ClientID}, asked: "the namespace",
	})
}

// identity is where one half of the workload's identity may stand, in order.
type identity struct {
	key        string
	own        string             // on the workload
	accountKey string             // on the ServiceAccount
	valid      func(string) error // of what stands there
	rest       []string
	asked      string // where the rest comes from, for people
}

func (r *resolver) identity(i identity) string {
	if i.own != "" {
		return i.own
	}
	if v := r.account.annotation(i.accountKey); v != "" {
		err := i.valid(v)
		if err == nil {
			return v
		}
		r.later(i.accountKey, v, fmt.Sprintf("on %s %v", r.account, err))
		return ""
	}
	id := first(i.rest...)
	if id == "" {
		r.later(i.key, "", fmt.Sprintf("is needed, and neither %s nor %s has one; annotate the ServiceAccount with %s",
			i.asked, r.account, i.accountKey))
	}
	return id
}

func (r *resolver) add(key, value, mend string) {
	r.problems = append(r.problems, annotation.NewProblem(key, value, mend))
}

func (r *resolver) later(key, value, mend string) {
	p := annotation.NewProblem(key, value, mend)
	p.Later = true
	r.problems = append(r.problems, p)
}

// allowed reports whether a namespace that allows these vaults, or with nil
// all, allows this one. Vault names are host names: case does not matter.
func allowed(vault string, vaults []string) bool {
	return vaults == nil || slices.ContainsFunc(vaults, func(v string) bool { return strings.EqualFold(v, vault) })
}

func allowance(vaults []string) string {
	const shown = 5
	switch n := len(vaults); {
	case n == 0:
		return fmt.Sprintf("its %s names no valid vault", annotation.AllowedVaults)
	case n > shown:
		return fmt.Sprintf("write one of its %s: %s and %d more", annotation.AllowedVaults, strings.Join(vaults[:shown], ", "), n-shown)
	}
	return fmt.Sprintf("write one of its %s: %s", annotation.AllowedVaults, strings.Join(vaults, ", "))
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
