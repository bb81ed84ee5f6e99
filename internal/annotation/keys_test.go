package annotation

import "testing"

func TestIsInput(t *testing.T) {
	cases := map[string]bool{
		Objects: true, RestartOn: true, Prefix + "unknown": true, InjectionLabel: true, Prefix: true,
		Dependencies: false, Content: false, FromWorkload: false, InjectedLabel: false,
		"keyroll.dev": false, "example.com/objects": false, "x.keyroll.dev/objects": false, "": false,
	}
	for key, want := range cases {
		if got := IsInput(key); got != want {
			t.Errorf("IsInput(%q) is %v, want %v", key, got, want)
		}
	}
	for _, r := range Table {
		if !IsInput(r.Key) {
			t.Errorf("%s is in the table and no input", r.Key)
		}
	}
}
