package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// report gathers figures, and says what is being measured meanwhile.
type report struct {
	progress io.Writer
	begun    time.Time
	figures  []figure
}

// figure is one line of the table.
type figure struct {
	what string
	unit string
	ours float64
	bare float64 // of the least that has to be done, in the same run; 0: there is no such thing
	held bound   // what it is held to; zero: nothing
}

// bound is what a figure is held to.
type bound struct {
	text string
	kept func(figure) bool
}

// atMost bounds our own figure.
func atMost(most float64) bound {
	return bound{"≤ " + short(most), func(f figure) bool { return f.ours <= most }}
}

// atLeast bounds our own figure from below.
func atLeast(least float64) bound {
	return bound{"≥ " + short(least), func(f figure) bool { return f.ours >= least }}
}

// timesBare bounds our figure as a multiple of the bare one.
func timesBare(most float64) bound {
	return bound{"≤ " + short(most) + " times", func(f figure) bool { return f.ours <= most*f.bare }}
}

// overBare bounds the difference to the bare figure.
func overBare(most float64) bound {
	return bound{"≤ " + short(most) + " more", func(f figure) bool { return f.ours <= f.bare+most }}
}

// add takes up a figure.
func (r *report) add(f figure) { r.figures = append(r.figures, f) }

// say tells what is being done.
func (r *report) say(format string, args ...any) {
	// A terminal that is gone cannot be told.
	_, _ = fmt.Fprintf(r.progress, "+%-6s %s\n", time.Since(r.begun).Round(time.Second), fmt.Sprintf(format, args...))
}

// print writes the table, in Markdown.
func (r *report) print(out io.Writer) error {
	rows := [][]string{{"", "unit", "keyroll", "bare", "ratio", "held to", ""}}
	for _, f := range r.figures {
		rows = append(rows, f.cells())
	}
	_, err := io.WriteString(out, markdown(rows))
	return err
}

func (f figure) cells() []string {
	bare, ratio, verdict := "", "", ""
	if f.bare != 0 {
		bare, ratio = short(f.bare), short(f.ours/f.bare)
	}
	switch {
	case f.held.kept == nil:
	case f.held.kept(f):
		verdict = "kept"
	default:
		verdict = "MISSED"
	}
	return []string{f.what, f.unit, short(f.ours), bare, ratio, f.held.text, verdict}
}

// short writes a number with three digits that mean something.
func short(n float64) string {
	if n >= 100 || n <= -100 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n, 'g', 3, 64)
}

// markdown lines the columns up, the first row being the header. The first
// column and the last two are text, the others numbers.
func markdown(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), len("-:"))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		writeRow(&b, row, widths)
		if i == 0 {
			rule := make([]string, len(row))
			for column, width := range widths {
				rule[column] = strings.Repeat("-", width)
				if isNumber(column) {
					rule[column] = rule[column][1:] + ":"
				}
			}
			writeRow(&b, rule, widths)
		}
	}
	return b.String()
}

func isNumber(column int) bool { return column >= 2 && column <= 4 }

func writeRow(b *strings.Builder, cells []string, widths []int) {
	for i, cell := range cells {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if isNumber(i) {
			cell = pad + cell
		} else {
			cell += pad
		}
		b.WriteString("| " + cell + " ")
	}
	b.WriteString("|\n")
}
