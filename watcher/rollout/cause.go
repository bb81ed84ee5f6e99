package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"keyroll.dev/internal/annotation"
)

// maxCause bounds a cause: it stands on every revision, and in Events.
const maxCause = 500

// change is one object whose version pods lack; old is "" where it is not known,
// and next where it is gone.
type change struct{ id, old, next string }

// cause says in a line what changed.
//
//	keyroll: secret/db-password changed in vault shop-kv (4f2c... -> 9be1...)
//	keyroll: secret/db-password, secret/db-username changed in vault shop-kv (4f2c... -> 9be1..., -> 77a0...)
//	keyroll: one or more of secret/a, secret/b changed in vault shop-kv
//	keyroll: Secret app-secrets changed
func (v *view) cause() string {
	var all []string
	for _, class := range v.staleClasses() {
		all = append(all, v.causeOf(class))
	}
	if len(all) == 0 {
		names := slices.Sorted(maps.Keys(v.staleSecrets()))
		all = append(all, fmt.Sprintf("%s %s changed", plural(len(names), "Secret", "Secrets"), bounded(names, 3)))
	}
	text := annotation.CausePrefix + strings.Join(all, "; ")
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause-3], "") + "..."
	}
	return text
}

// causeOf says what changed of one class.
func (v *view) causeOf(class string) string {
	where := ""
	if vault := v.s.Classes[class].Vault; vault != "" {
		where = " in vault " + vault
	}
	changes, certain := v.changes(class)
	var ids, versions []string
	for _, c := range changes {
		ids = append(ids, c.id)
		versions = append(versions, c.versions())
	}
	switch {
	case len(changes) == 0:
		return "content of " + class + " changed" + where
	case !certain:
		return "one or more of " + bounded(ids, 3) + " changed" + where
	}
	return fmt.Sprintf("%s changed%s (%s)", bounded(ids, 3), where, bounded(versions, 3))
}

// changes compares the newest versions with the recorded ones, or else with
// those that other pods still hold; with nothing to compare, any may have changed.
func (v *view) changes(class string) (all []change, certain bool) {
	next := v.content.classes[class]
	old, certain := v.oldVersions(class)
	for _, id := range slices.Sorted(maps.Keys(next)) {
		if old[id] != next[id] {
			all = append(all, change{id, old[id], next[id]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		if _, still := next[id]; !still {
			all = append(all, change{id, old[id], ""})
		}
	}
	return all, certain || len(next) == 1
}

func (v *view) oldVersions(class string) (map[string]string, bool) {
	next := v.content.classes[class]
	if base := v.base.Classes[class]; base.Versions != nil && !maps.Equal(base.Versions, next) {
		return base.Versions, true
	}
	var old *Status
	v.s.eachStatus(class, func(st *Status) {
		if st.unchanged() && !maps.Equal(st.Versions, next) && (old == nil || byAge(*st, *old) > 0) {
			old = st
		}
	})
	if old == nil {
		return nil, false
	}
	return old.Versions, true
}

// staleClasses are the classes by which a pod is stale.
func (v *view) staleClasses() []string {
	all := map[string]bool{}
	for _, p := range v.stale {
		for _, class := range p.staleClasses {
			all[class] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (c change) versions() string {
	switch {
	case c.next == "":
		return short(c.old) + " -> gone"
	case c.old == "":
		return "-> " + short(c.next)
	}
	return short(c.old) + " -> " + short(c.next)
}

// short leaves of a version what a person compares: the beginning of a long
// one, the end of a path.
func short(version string) string {
	version = version[strings.LastIndexByte(version, '/')+1:]
	if len(version) <= 8 {
		return version
	}
	return strings.ToValidUTF8(version[:4], "") + "..."
}

// bounded lists a few and counts the rest.
func bounded(all []string, limit int) string {
	if len(all) <= limit {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:limit], ", "), len(all)-limit)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
