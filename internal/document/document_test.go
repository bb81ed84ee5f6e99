package document

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = `# Page

## First

| name | what |
| --- | --- |
| ` + "`A`" + ` | one |
| B | two |

### Deeper

#### Deepest
text

## Second

| other |
| --- |
| C |
`

func TestSectionsHaveTheirOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second := Section(t, file, "## First"), Section(t, file, "## Second")
	if diff := cmp.Diff([][]string{{"`A`", "one"}, {"B", "two"}}, Rows(first)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A", "B"}, First(Rows(first))); diff != "" {
		t.Errorf("first cells (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Deeper"}, Headings(first, "###")); diff != "" {
		t.Errorf("headings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"C"}, First(Rows(second))); diff != "" {
		t.Errorf("first cells of the second (-want +got):\n%s", diff)
	}
}
