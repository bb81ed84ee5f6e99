package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestStory plays the demo to its end, as make demo does.
func TestStory(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a control plane")
	}
	var out bytes.Buffer
	if err := run(t.Context(), strings.NewReader(""), &out, false); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if want := "one rotation, one rollout"; !strings.Contains(out.String(), want) {
		t.Errorf("the story does not end with %q:\n%s", want, out.String())
	}
}
