package annotation

import (
	"fmt"
	"slices"
	"strings"
)

// maxItems bounds every list. The driver fetches objects one after the other
// within the kubelet's two minutes, and a record has to fit into an annotation.
const maxItems = 100

// maxEnvName bounds the name of a variable, of which each container gets a copy.
const maxEnvName = 253

// parser collects problems while it reads annotations.
type parser struct {
	annotations map[string]string
	problems    Problems
}

func (p *parser) add(key, value, mend string) {
	p.problems = append(p.problems, NewProblem(key, value, mend))
}

// sorted puts the problems into the order of Table, unknown keys last, without
// changing the order of one key's problems.
func (p *parser) sorted() Problems {
	slices.SortStableFunc(p.problems, func(a, b Problem) int { return rank(a.Key) - rank(b.Key) })
	return p.problems
}

func rank(key string) int {
	i := slices.IndexFunc(Table, func(r Row) bool { return r.Key == key })
	if i < 0 {
		return len(Table)
	}
	return i
}

func (p *parser) has(key string) bool {
	_, ok := p.annotations[key]
	return ok
}

// wrong reports whether key has a problem so far.
func (p *parser) wrong(key string) bool {
	return slices.ContainsFunc(p.problems, func(q Problem) bool { return q.Key == key })
}

// get returns a value without surrounding white space; nothing is a problem.
func (p *parser) get(key string) (string, bool) {
	raw, ok := p.annotations[key]
	if !ok {
		return "", false
	}
	v := strings.TrimSpace(raw)
	if v == "" {
		r, _ := row(key)
		p.add(key, "", fmt.Sprintf("is empty; write its value (%s), or remove the annotation", plain(r.Value)))
	}
	return v, v != ""
}

// text reads a single value.
func (p *parser) text(key string, valid check) string {
	v, ok := p.get(key)
	if !ok {
		return ""
	}
	if err := valid(v); err != nil {
		p.add(key, v, err.Error())
		return ""
	}
	return v
}

// items splits a list. Empty items do no harm, but one item there must be.
func (p *parser) items(key string) []string {
	v, ok := p.get(key)
	if !ok {
		return nil
	}
	items := strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == '\n' })
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	items = slices.DeleteFunc(items, func(s string) bool { return s == "" })
	switch {
	case len(items) == 0:
		p.add(key, v, "lists nothing; write at least one, or remove the annotation")
	case len(items) > maxItems:
		p.add(key, "", fmt.Sprintf("lists %d; write at most %d", len(items), maxItems))
		return nil
	}
	return items
}

// list reads names, each once.
func (p *parser) list(key string, valid check) []string {
	var out []string
	for _, item := range p.items(key) {
		switch err := valid(item); {
		case err != nil:
			p.add(key, item, err.Error())
		case slices.Contains(out, item):
			p.add(key, item, "is listed twice; remove one")
		default:
			out = append(out, item)
		}
	}
	return out
}
