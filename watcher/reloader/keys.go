package reloader

import "strings"

// domain ends the part of every key of Reloader's that stands before the slash.
const domain = "reloader.stakater.com"

// The annotations that Reloader knows, by their default names.
const (
	Auto   = domain + "/auto"
	Search = domain + "/search"
	Match  = domain + "/match"  // on a Secret or class
	Ignore = domain + "/ignore" // on a Secret or class

	SecretAuto    = "secret." + domain + "/auto"
	SecretReload  = "secret." + domain + "/reload"
	SecretExclude = "secrets.exclude." + domain + "/reload"

	ClassAuto    = "secretproviderclass." + domain + "/auto"
	ClassReload  = "secretproviderclass." + domain + "/reload"
	ClassExclude = "secretproviderclasses.exclude." + domain + "/reload"

	ConfigMapAuto    = "configmap." + domain + "/auto"
	ConfigMapReload  = "configmap." + domain + "/reload"
	ConfigMapExclude = "configmaps.exclude." + domain + "/reload"

	RolloutStrategy = domain + "/rollout-strategy"
	PausePeriod     = "deployment." + domain + "/pause-period"

	// What Reloader writes.
	LastReloadedFrom = domain + "/last-reloaded-from"
	PausedAt         = "deployment." + domain + "/paused-at"
)

// Row tells what becomes of one annotation.
type Row struct {
	Key  string
	On   string // what people write it on
	Here string // for people
	// Unmet is what the workload is told where it carries the annotation; "" where nothing is lacking.
	Unmet string
}

// Table has every annotation that Reloader knows.
var Table = []Row{
	{Auto, "workload", "Honored. Follows every SecretProviderClass that the pods mount, and every Secret that the driver fills and the pods take from. Where the template takes from ConfigMaps, or the pods from other Secrets, an Event says that nobody follows those.", ""},
	{Search, "workload", "Honored, with `match`: follows what the pods use and what says `match`. Only `\"true\"` counts, as there. Where the template takes from ConfigMaps, or the pods from other Secrets, an Event says that nobody follows those, whatever they say.", ""},
	{Match, "Secret, SecretProviderClass", "Honored, also where a class puts it on its Secret by `secretObjects[].annotations`.", ""},
	{Ignore, "Secret, SecretProviderClass", "Honored. On a workload or its template, where Reloader does not read it, it leaves the workload alone.", ""},
	{SecretAuto, "workload", "Honored, as `auto` for Secrets alone.", ""},
	{SecretReload, "workload", "Honored: names or regular expressions, separated by commas, of Secrets that the driver fills. An Event tells of an element that names none.", ""},
	{SecretExclude, "workload", "Honored: exact names, on the template too.", ""},
	{ClassAuto, "workload", "Honored, as `auto` for SecretProviderClasses alone.", ""},
	{ClassReload, "workload", "Honored: names or regular expressions, separated by commas, of SecretProviderClasses that the pods mount or from whose Secrets they take. An Event tells of an element that names none.", ""},
	{ClassExclude, "workload", "Honored: exact names, on the template too.", ""},
	{ConfigMapAuto, "workload", "Not honored: keep Reloader for ConfigMaps. An Event says so where the template takes from one.", ""},
	{ConfigMapReload, "workload", "Not honored: keep Reloader for ConfigMaps. An Event says so.", "ConfigMaps are not followed"},
	{ConfigMapExclude, "workload", "Without effect, as ConfigMaps are not followed.", ""},
	{RolloutStrategy, "Argo Rollout", "Not honored: a new template is the one way to roll. An Event says so.", "a workload is rolled by a new pod template, never by a restart alone"},
	{PausePeriod, "Deployment", "Not honored: changes that come together are gathered (`--settle`), and `--min-interval` keeps rollouts apart. An Event says so.", "the Deployment is not paused; --settle gathers changes, --min-interval keeps rollouts apart"},
	{LastReloadedFrom, "written by Reloader", "A sign that Reloader is at work, see below.", ""},
	{PausedAt, "written by Reloader", "Left alone. A Deployment that Reloader left paused is not rolled until somebody resumes it; an Event says so.", ""},
}

// IsKey reports whether an annotation is Reloader's, known or not.
func IsKey(key string) bool {
	before, _, _ := strings.Cut(key, "/")
	return before == domain || strings.HasSuffix(before, "."+domain)
}

func row(key string) (Row, bool) {
	for _, r := range Table {
		if r.Key == key {
			return r, true
		}
	}
	return Row{}, false
}
