package annotation

import (
	"slices"
	"testing"
)

// Every row is read where it says, and refused where it does not: an empty
// value is a problem of every key that is read.
func TestTableIsWhatIsRead(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Table {
		if seen[r.Key] {
			t.Errorf("%s stands twice", r.Key)
		}
		seen[r.Key] = true
		read := "is empty; write its value (" + plain(r.Value) + "), or remove the annotation"
		_, onWorkload := Parse(map[string]string{r.Key: ""})
		_, onNamespace := ParseNamespace(map[string]string{r.Key: ""})
		for place, got := range map[Where]Problems{OnWorkload: onWorkload, OnNamespace: onNamespace} {
			want := misplaced(r.Where)
			if r.Where == place || r.Where == OnBoth {
				want = read
			}
			if !slices.ContainsFunc(got, func(p Problem) bool { return p.Key == r.Key && p.Mend == want }) {
				t.Errorf("%s on a %s: got %q, want %q", r.Key, place, lines(got), want)
			}
		}
	}
}
