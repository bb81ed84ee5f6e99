package reloader

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzFollows compares what the parsed wishes say of a Secret with the contract,
// followed word by word and without bounds.
func FuzzFollows(f *testing.F) {
	f.Add("app", "app,other", "true", "", "", "", true, false, false)
	f.Add("app", "a.*", "false", "true", "true", "x", true, false, true)
	f.Add("app-secrets", "a)|(?:b", "", "T", "", "app-secrets", false, false, true)
	f.Add("app", `\Qapp`, "", "", "", "", false, false, false)
	f.Add("x", "(x{1000}){1000},x|y", "yes", "", "", "", false, true, false)
	f.Fuzz(func(t *testing.T, name, reload, auto, typed, search, exclude string, match, ignore, onTemplate bool) {
		annotations := map[string]string{}
		for key, value := range map[string]string{SecretReload: reload, Auto: auto, SecretAuto: typed, Search: search, SecretExclude: exclude} {
			if value != "" {
				annotations[key] = value
			}
		}
		marks := Marks{Match: match, Ignore: ignore}
		workload, template := annotations, map[string]string(nil)
		if onTemplate {
			workload, template = nil, annotations
		}
		w := Parse(workload, template)
		if w == nil {
			w = &Wishes{}
		}
		if beyondBounds(w.Unmet) {
			return
		}
		want := contract(name, annotations, marks)
		if got := w.Secrets.Follows(name, marks); got != want && (want != Excluded || got != Not) {
			t.Errorf("%q by %v, %+v: %d, want %d", name, annotations, marks, got, want)
		}
	})
}

// beyondBounds reports whether elements were left out that the contract knows.
func beyondBounds(unmet []Unmet) bool {
	return slices.ContainsFunc(unmet, func(u Unmet) bool {
		list := u.Key == SecretReload || u.Key == SecretExclude
		return list && !strings.Contains(u.Why, "is no regular expression")
	})
}

// contract is the list of checks in the package's documentation.
func contract(name string, annotations map[string]string, marks Marks) Follow {
	if marks.Ignore {
		return Excluded
	}
	for _, excluded := range strings.Split(annotations[SecretExclude], ",") {
		if strings.TrimSpace(excluded) == name && name != "" {
			return Excluded
		}
	}
	for _, element := range strings.Split(annotations[SecretReload], ",") {
		element = strings.TrimSpace(element)
		expression, err := regexp.Compile(element)
		if element == "" || err != nil {
			continue
		}
		expression.Longest()
		if at := expression.FindStringIndex(name); at != nil && at[0] == 0 && at[1] == len(name) {
			return Named
		}
	}
	if annotations[Search] == "true" && marks.Match {
		return Used
	}
	generic, _ := strconv.ParseBool(annotations[Auto])
	typed, _ := strconv.ParseBool(annotations[SecretAuto])
	if generic || typed {
		return Used
	}
	return Not
}

// FuzzParse reads any two annotations anywhere.
func FuzzParse(f *testing.F) {
	f.Add(SecretReload, "a,b(", ClassReload, "[", Auto, "true")
	f.Add("x."+domain+"/y", "", Ignore, "true", PausePeriod, "5m")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, key3, value3 string) {
		w := Parse(map[string]string{key1: value1, key2: value2}, map[string]string{key3: value3})
		if w == nil {
			return
		}
		elements := len(w.Secrets.Names) + len(w.Secrets.Excluded) + len(w.Classes.Names) + len(w.Classes.Excluded)
		if elements > maxNames || len(w.Unmet) > maxUnmet {
			t.Errorf("%d elements, %d unmet", elements, len(w.Unmet))
		}
		for _, u := range w.Unmet {
			if len(u.String()) > 500 {
				t.Errorf("%d characters are told", len(u.String()))
			}
		}
	})
}
