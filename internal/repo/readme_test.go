package repo

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/annotation"
)

// CI runs what the README tells people to run.
func TestCIRunsTheReadmesTests(t *testing.T) {
	const command = "make test"
	if !strings.Contains(read(t, "README.md"), "\n"+command+" ") {
		t.Errorf("the README does not show %q", command)
	}
	var commands []string
	for _, line := range strings.Split(read(t, ".ci/run"), "\n") {
		if strings.HasPrefix(line, "make ") {
			commands = append(commands, line)
		}
	}
	if diff := cmp.Diff([]string{command, "make check"}, commands); diff != "" {
		t.Errorf(".ci/run (-want +got)\n%s", diff)
	}
}

func TestDocumentsNameRealTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	mention := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
	for path, text := range documents(t) {
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s says make %s, which the Makefile does not know", path, m[1])
			}
		}
	}
}

func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`]\(([^)#]+)(?:#[^)]*)?\)`)
	for path, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := filepath.Join(root, filepath.Dir(path), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

func TestReadmeTellsTheContract(t *testing.T) {
	want := []string{"| annotation | on | value | default | meaning |", "| --- | --- | --- | --- | --- |"}
	for _, row := range annotation.Table {
		cells := []string{"`" + strings.TrimPrefix(row.Key, annotation.Prefix) + "`", string(row.Where), row.Value, row.Default, row.Meaning}
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		want = append(want, "| "+strings.Join(cells, " | ")+" |")
	}
	var got []string
	for _, line := range strings.Split(read(t, "README.md"), "\n") {
		if line == want[0] || len(got) > 0 {
			if !strings.HasPrefix(line, "|") {
				break
			}
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the annotation table (-want +got)\n%s", diff)
	}
}

// documents are the README and everything in docs, by path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"README.md": read(t, "README.md")}
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		path := filepath.Join("docs", filepath.Base(file))
		out[path] = read(t, path)
	}
	return out
}
