// Package document reads the project's documents, for tests that hold them
// against the code.
package document

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Section is the text between a heading ("## Events") and the next one of its
// level or above.
func Section(t *testing.T, file, heading string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut("\n"+string(content), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", file, heading)
	}
	var section strings.Builder
	for line := range strings.Lines(text) {
		if level := levelOf(line); level > 0 && level <= levelOf(heading) {
			break
		}
		section.WriteString(line)
	}
	return section.String()
}

// levelOf is how deep a heading is, 0 for a line that is none.
func levelOf(line string) int {
	hashes := len(line) - len(strings.TrimLeft(line, "#"))
	if hashes == 0 || !strings.HasPrefix(line[hashes:], " ") {
		return 0
	}
	return hashes
}

// Rows are the cells of a section's tables, without their heads.
func Rows(section string) [][]string {
	var rows [][]string
	inside := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case strings.HasPrefix(line, "| ---"):
			inside = true
		case inside:
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// First are the first cells of rows, without backquotes.
func First(rows [][]string) []string {
	var names []string
	for _, row := range rows {
		names = append(names, strings.Trim(row[0], "`"))
	}
	return names
}

// CheckNames fails the test unless the first cells of a section's tables are
// these names, in whatever order.
func CheckNames(t *testing.T, file, heading string, names []string) {
	t.Helper()
	want := slices.Sorted(slices.Values(names))
	got := slices.Sorted(slices.Values(First(Rows(Section(t, file, heading)))))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, %s (-code +docs):\n%s", file, heading, diff)
	}
}

// Headings are the texts of a section's headings of that level ("###").
func Headings(section, level string) []string {
	var names []string
	for line := range strings.Lines(section) {
		if text, found := strings.CutPrefix(line, level+" "); found {
			names = append(names, strings.TrimSpace(text))
		}
	}
	return names
}
