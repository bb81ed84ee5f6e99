package reloader

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Wishes is what one workload asks for by Reloader's annotations.
type Wishes struct {
	Secrets Wish
	Classes Wish
	// ConfigMaps is the key that asks to follow ConfigMaps that are used, "" for none.
	ConfigMaps string
	// Unmet is what is asked for and not done here, or cannot be read.
	Unmet []Unmet
}

// Wish is what a workload asks for about one kind.
type Wish struct {
	Auto     string // the key that asks to follow all that is used, "" for none
	Search   bool
	Names    []Name
	Excluded []string
}

// Unmet is one annotation that is not honored, and why.
type Unmet struct {
	Key string
	Why string
}

func (u Unmet) String() string { return u.Key + ": " + u.Why }

// Marks are the annotations of Reloader's on a Secret or SecretProviderClass.
type Marks struct {
	Match  bool
	Ignore bool
}

// MarksOf reads them.
func MarksOf(annotations map[string]string) Marks {
	return Marks{Match: annotations[Match] == "true", Ignore: annotations[Ignore] == "true"}
}

// Or unites the marks of one object that stand in two places.
func (m Marks) Or(other Marks) Marks {
	return Marks{Match: m.Match || other.Match, Ignore: m.Ignore || other.Ignore}
}

// Follow is how a workload stands to a Secret or SecretProviderClass.
type Follow int

const (
	Not      Follow = iota // nothing asks for it
	Excluded               // something asks to leave it out
	Used                   // rolled for it where the pods take from it
	Named                  // rolled for it in any case
)

// Follows tells how the workload stands to an object of the wish's kind.
func (w Wish) Follows(name string, m Marks) Follow {
	switch {
	case m.Ignore || slices.Contains(w.Excluded, name):
		return Excluded
	case w.Lists(name):
		return Named
	case w.Search && m.Match, w.Auto != "":
		return Used
	default:
		return Not
	}
}

// Lists reports whether an element of the reload list names an object.
func (w Wish) Lists(name string) bool {
	return slices.ContainsFunc(w.Names, func(n Name) bool { return n.Matches(name) })
}

// ByUse answers the key that asks to follow what is used, all or what says match; "" for none.
func (w Wish) ByUse() string {
	if w.Auto == "" && w.Search {
		return Search
	}
	return w.Auto
}

// asks reports whether the wish can lead to a rollout at all.
func (w Wish) asks() bool { return w.Auto != "" || w.Search || len(w.Names) > 0 }

// kind names the annotations that speak of one kind of object.
type kind struct{ reload, auto, exclude string }

var (
	secrets    = kind{SecretReload, SecretAuto, SecretExclude}
	classes    = kind{ClassReload, ClassAuto, ClassExclude}
	configMaps = kind{ConfigMapReload, ConfigMapAuto, ConfigMapExclude}
)

// Parse reads what stands on a workload and on its pod template, nil where that
// asks for nothing. What cannot be read is in Unmet; the rest holds.
func Parse(workload, template map[string]string) *Wishes {
	if !anyKey(workload) && !anyKey(template) || workload[Ignore] == "true" || template[Ignore] == "true" {
		return nil
	}
	p := &parser{workload: workload, template: template, names: maxNames, size: maxSize}
	p.outOfScope()
	w := &Wishes{Secrets: p.wish(secrets), Classes: p.wish(classes)}
	from := p.source(configMaps)
	w.ConfigMaps = Wish{Auto: p.auto(from, configMaps), Search: p.search(from)}.ByUse()
	w.Unmet = p.unmet
	if !w.Secrets.asks() && !w.Classes.asks() && w.ConfigMaps == "" && len(w.Unmet) == 0 {
		return nil
	}
	return w
}

func anyKey(annotations map[string]string) bool {
	for key := range annotations {
		if IsKey(key) {
			return true
		}
	}
	return false
}

type parser struct {
	workload, template map[string]string
	names, size        int // what is left of the bounds
	unmet              []Unmet
}

// maxUnmet bounds what is told of one workload.
const maxUnmet = 20

func (p *parser) add(key, why string) {
	if u := (Unmet{key, why}); len(p.unmet) < maxUnmet && !slices.Contains(p.unmet, u) {
		p.unmet = append(p.unmet, u)
	}
}

// outOfScope tells of annotations that nobody honors here.
func (p *parser) outOfScope() {
	for _, annotations := range []map[string]string{p.workload, p.template} {
		for _, key := range slices.Sorted(maps.Keys(annotations)) {
			if !IsKey(key) {
				continue
			}
			switch r, known := row(key); {
			case !known:
				p.add(bounded(key), "is not known here")
			case r.Unmet != "" && strings.TrimSpace(annotations[key]) != "":
				p.add(key, r.Unmet)
			}
		}
	}
}

// source answers the annotations that speak of a kind: the workload's where
// any of the keys is there, else the template's.
func (p *parser) source(k kind) map[string]string {
	for _, key := range []string{k.reload, k.auto, Auto, Search} {
		if _, there := p.workload[key]; there {
			return p.workload
		}
	}
	return p.template
}

func (p *parser) wish(k kind) Wish {
	from := p.source(k)
	w := Wish{Auto: p.auto(from, k), Search: p.search(from)}
	for _, annotations := range []map[string]string{p.workload, p.template} {
		w.Excluded = append(w.Excluded, p.elements(annotations, k.exclude)...)
	}
	w.Names = p.list(from, k.reload)
	return w
}

// auto answers the key that asks to follow all that is used of a kind.
func (p *parser) auto(from map[string]string, k kind) string {
	for _, key := range []string{Auto, k.auto} {
		value := from[key]
		yes, err := strconv.ParseBool(value)
		switch {
		case yes:
			return key
		case err != nil && value != "":
			p.add(key, "neither true nor false")
		}
	}
	return ""
}

func (p *parser) search(from map[string]string) bool {
	value := from[Search]
	if value != "true" && value != "false" && value != "" {
		p.add(Search, `only "true" counts`)
	}
	return value == "true"
}

// list compiles the elements of a reload list, as far as the bounds allow.
func (p *parser) list(from map[string]string, key string) []Name {
	var names []Name
	for _, text := range p.elements(from, key) {
		name, size, err := newName(text, p.size)
		if err != nil {
			p.add(key, fmt.Sprintf("%q %v", bounded(text), err))
			continue
		}
		p.size -= size
		names = append(names, name)
	}
	return names
}

// elements splits a list, as far as the bounds allow; an empty element is none.
func (p *parser) elements(from map[string]string, key string) []string {
	var found []string
	for element := range strings.SplitSeq(from[key], ",") {
		if element = strings.TrimSpace(element); element == "" {
			continue
		}
		if p.names == 0 {
			p.add(key, fmt.Sprintf("only the first %d elements of all lists are read: shorten them", maxNames))
			break
		}
		p.names--
		found = append(found, element)
	}
	return found
}

// maxEcho bounds what is repeated of what people wrote.
const maxEcho = 60

func bounded(text string) string {
	if len(text) <= maxEcho {
		return text
	}
	return strings.ToValidUTF8(text[:maxEcho], "") + "..."
}
