package processtest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Exposition is what a binary shows, in Prometheus' text format.
type Exposition string

// family is a metric with its series.
type family struct {
	name, kind, help string
	labels           map[string]map[string]bool // name, values
}

var (
	described = regexp.MustCompile(`^# (HELP|TYPE) (\S+) (.*)$`)
	sample    = regexp.MustCompile(`^([a-zA-Z_:][\w:]*)\{(.*)\} `)
	pair      = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// families reads the metrics, in the order of their names.
func (e Exposition) families() []*family {
	var all []*family
	byName := map[string]*family{}
	for line := range strings.Lines(string(e)) {
		line = strings.TrimSuffix(line, "\n")
		if m := described.FindStringSubmatch(line); m != nil {
			f := byName[m[2]]
			if f == nil {
				f = &family{name: m[2], labels: map[string]map[string]bool{}}
				byName[f.name], all = f, append(all, f)
			}
			if m[1] == "HELP" {
				f.help = m[3]
			} else {
				f.kind = m[3]
			}
			continue
		}
		if m := sample.FindStringSubmatch(line); m != nil {
			// A family's samples stand right below its description.
			all[len(all)-1].add(m[2])
		}
	}
	return all
}

func (f *family) add(labels string) {
	for _, m := range pair.FindAllStringSubmatch(labels, -1) {
		name, value := m[1], m[2]
		if name == "le" || name == "quantile" {
			continue
		}
		if f.labels[name] == nil {
			f.labels[name] = map[string]bool{}
		}
		f.labels[name][value] = true
	}
}

// maxValues is how many values of a label a table lists. More are explained
// elsewhere.
const maxValues = 10

// open are labels whose values nobody knows beforehand.
var open = map[string]bool{"version": true}

// row is the metric's in a Markdown table.
func (f *family) row() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s |", f.name, f.kind, f.labelText(), f.help)
}

func (f *family) labelText() string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(f.labels)) {
		text := "`" + name + "`"
		if values := f.labels[name]; !open[name] && len(values) <= maxValues {
			text += ": " + strings.Join(slices.Sorted(maps.Keys(values)), ", ")
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}
