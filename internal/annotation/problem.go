package annotation

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxEcho     = 60 // bytes of a value that a Problem repeats
	maxProblems = 50 // that Problems.Error spells out
)

// Problem is one thing that is wrong with an annotation, told so that the
// person who wrote it can mend it.
type Problem struct {
	Key   string // annotation key, with prefix
	Value string // the offending value or the part of it that offends, bounded
	Mend  string // what is wrong and what to write instead
	// Later: it hangs on a ServiceAccount that may still be mended, so a
	// workload is let in with a warning, and only its pods are refused.
	Later bool
}

// NewProblem bounds the value that it repeats.
func NewProblem(key, value, mend string) Problem {
	return Problem{Key: echo(key), Value: echo(value), Mend: mend}
}

// String tells the problem in one line.
func (p Problem) String() string {
	if p.Value == "" {
		return p.Key + ": " + p.Mend
	}
	return fmt.Sprintf("%s: %q: %s", p.Key, p.Value, p.Mend)
}

// Problems collects every Problem of one object. Nil when there is none.
type Problems []Problem

// Error tells all problems, one a line; of very many the first.
func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems:", len(p))
	for i, problem := range p {
		if i == maxProblems {
			fmt.Fprintf(&b, "\n- and %d more", len(p)-i)
			break
		}
		b.WriteString("\n- " + problem.String())
	}
	return b.String()
}

// Err is nil when there is no problem, else one error that tells all.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return errors.New(p.Error())
}

// echo shortens what is repeated to its author, at the end of a character.
func echo(s string) string {
	if len(s) <= maxEcho {
		return s
	}
	cut := maxEcho
	for cut > maxEcho-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
