package reloader

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

// Bounds of what is taken from the annotations of one workload: anybody who may
// annotate one may write anything there.
const (
	maxNames  = 100   // elements of all its lists
	maxLength = 512   // of one element; names of objects have 253 at most
	maxSize   = 10000 // instructions of all its regular expressions
)

// Name is one element of a reload list.
type Name struct {
	Text    string
	pattern *regexp.Regexp // nil: exactly Text
}

// Matches reports whether the element names an object.
func (n Name) Matches(name string) bool {
	if n.pattern == nil {
		return n.Text == name
	}
	return n.pattern.MatchString(name)
}

// newName compiles an element, and answers how much of maxSize it takes.
func newName(text string) (Name, int, error) {
	if len(text) > maxLength {
		return Name{}, 0, fmt.Errorf("is longer than %d characters", maxLength)
	}
	if utf8.ValidString(text) && regexp.QuoteMeta(text) == text {
		return Name{Text: text}, 0, nil
	}
	// By itself first: an element such as "a)|(?:b" would break out of the group.
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		var why *syntax.Error
		if errors.As(err, &why) {
			return Name{}, 0, fmt.Errorf("is no regular expression: %s", why.Code)
		}
		return Name{}, 0, errors.New("is no regular expression")
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return Name{}, 0, errors.New("is no regular expression")
	}
	size := len(program.Inst)
	if size > maxSize {
		return Name{}, size, errors.New("is too large a regular expression")
	}
	pattern, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return Name{}, 0, errors.New("is no regular expression")
	}
	return Name{text, pattern}, size, nil
}
