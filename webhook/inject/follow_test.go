package inject

import (
	"strings"
	"testing"
)

func TestShort(t *testing.T) {
	fits := strings.Repeat("é", 60)
	for value, want := range map[string]string{"": "", fits: fits, fits + "x": fits + "…"} {
		if got := short(value); got != want {
			t.Errorf("short(%q) is %q, want %q", value, got, want)
		}
	}
}
