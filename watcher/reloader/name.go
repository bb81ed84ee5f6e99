package reloader

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// Bounds of what is taken from the annotations of one workload. Anybody who may
// annotate one may write anything there; it is read at each change of the
// workload, and compared with every Secret of its namespace.
const (
	maxNames = 200 // elements of all its lists
	maxSize  = 500 // of all its regular expressions together: in characters, or in states if those are more
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

// Exact reports whether the element is a plain name and no expression.
func (n Name) Exact() bool { return n.pattern == nil }

// String is the element for people, who may have written any length.
func (n Name) String() string { return bounded(n.Text) }

// newName compiles an element, and answers how much of maxSize it takes. More
// than left is not looked at: what is cheap to write can be dear to read.
func newName(text string, left int) (n Name, size int, err error) {
	if foreign(text) {
		return Name{}, 0, errors.New("speaks of characters that no name has: names have a to z, 0 to 9, dots and dashes")
	}
	if regexp.QuoteMeta(text) == text {
		return Name{Text: text}, 0, nil
	}
	if len(text) > left {
		return Name{}, 0, errTooLarge
	}
	// By itself first: an element such as "a)|(?:b" would break out of the group.
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return Name{}, 0, noExpression(err)
	}
	if size = max(len(text), states(parsed)); size > left {
		return Name{}, 0, errTooLarge
	}
	pattern, err := regexp.Compile("^(?:" + parsed.String() + ")$") // in which \Q has its \E
	if err != nil {
		return Name{}, 0, noExpression(err)
	}
	return Name{text, pattern}, size, nil
}

var errTooLarge = fmt.Errorf("is more than the %d characters or states that are read of all regular expressions together: list names instead", maxSize)

func noExpression(err error) error {
	why := "no RE2 syntax"
	var known *syntax.Error
	if errors.As(err, &known) {
		why = known.Code.String()
	}
	return fmt.Errorf("is no regular expression (%s): write the name, or RE2 syntax, in which .* stands for any characters", why)
}

// foreign reports whether an element speaks of characters beyond ASCII, which no
// name has. A class of many of them takes seconds to parse where case is ignored.
func foreign(text string) bool {
	for _, escape := range []string{`\x`, `\p`, `\P`} {
		if strings.Contains(text, escape) {
			return true
		}
	}
	return strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// states is about how many an expression comes to once its repetitions are
// written out, which is what comparing takes for each character.
func states(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += states(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}
