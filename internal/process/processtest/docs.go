package processtest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// others are metrics that are not ours to name.
var others = regexp.MustCompile(`^(go|process)_`)

// binaries are the prefixes of what one binary alone shows.
var binaries = []string{"keyroll_webhook_", "keyroll_watcher_"}

// CheckDocs holds the tables of a Markdown file against what a binary shows:
// every metric with that prefix, and every one that both binaries have. The
// meaning of a metric is its help.
func (e Exposition) CheckDocs(t *testing.T, file, prefix string) {
	t.Helper()
	shown, listed := e.rows(), documented(t, file, prefix)
	if diff := cmp.Diff(shown, listed); diff != "" || len(shown) == 0 {
		t.Errorf("metrics (-shown +%s):\n%s\nthe rows:\n%s", file, diff, strings.Join(shown, "\n"))
	}
}

// CheckWithinDocs is CheckDocs for a binary that does not show all of its metrics.
func (e Exposition) CheckWithinDocs(t *testing.T, file, prefix string) {
	t.Helper()
	listed := documented(t, file, prefix)
	for _, row := range e.rows() {
		if !slices.Contains(listed, row) {
			t.Errorf("%s lacks\n%s", file, row)
		}
	}
}

// rows are those of the metrics that are ours to name, sorted.
func (e Exposition) rows() []string {
	var rows []string
	for _, f := range e.families() {
		if !others.MatchString(f.name) {
			rows = append(rows, f.row())
		}
	}
	slices.Sort(rows)
	return rows
}

// documented are the rows of a file that are not of another binary, sorted.
func documented(t *testing.T, file, prefix string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "| `keyroll_") && !ofAnother(line, prefix) {
			rows = append(rows, strings.TrimSuffix(line, "\n"))
		}
	}
	slices.Sort(rows)
	return rows
}

// ofAnother reports whether a row is about a metric of another binary.
func ofAnother(row, prefix string) bool {
	return slices.ContainsFunc(binaries, func(b string) bool { return b != prefix && strings.HasPrefix(row, "| `"+b) })
}

// Lint holds the metrics against Prometheus' conventions.
func (e Exposition) Lint(t *testing.T) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(string(e))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
