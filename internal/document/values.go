package document

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// emptyValue is one of a chart's section that is empty, with what holds then:
//
//	settleMax: "" # 4m
var emptyValue = regexp.MustCompile(`^  ([A-Za-z]+): ""(?: # ([^ :\n]+))?`)

var capital = regexp.MustCompile(`[A-Z]`)

// CheckDefaults holds what a section of the chart's values says of those that are
// empty against the defaults of the flags that they set. What holds for those in
// except is no default of a flag.
func CheckDefaults(t *testing.T, values, section string, flags *flag.FlagSet, except ...string) {
	t.Helper()
	content, err := os.ReadFile(values)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut("\n"+string(content), "\n"+section+":\n")
	checked := 0
	for line := range strings.Lines(text) {
		if line != "\n" && !strings.HasPrefix(line, " ") {
			break // the next section
		}
		value := emptyValue.FindStringSubmatch(line)
		if value == nil || slices.Contains(except, value[1]) {
			continue
		}
		checked++
		name := capital.ReplaceAllStringFunc(value[1], func(letter string) string { return "-" + strings.ToLower(letter) })
		if f := flags.Lookup(name); f == nil || !sameValue(value[2], f.DefValue) {
			t.Errorf("%s: %s.%s is %q when empty; the flag is %+v", values, section, value[1], value[2], f)
		}
	}
	if checked == 0 {
		t.Errorf("%s: nothing is empty in %s", values, section)
	}
}

// sameValue takes 2m and 2m0s for the same.
func sameValue(a, b string) bool {
	x, errX := time.ParseDuration(a)
	y, errY := time.ParseDuration(b)
	return a == b || errX == nil && errY == nil && x == y
}
