package annotation

import "testing"

func TestAsked(t *testing.T) {
	objects := []Object{{Type: TypeSecret, Name: "a"}}
	cases := map[string]struct {
		settings Settings
		want     bool
	}{
		"nothing":                      {Settings{}, false},
		"only what rolls it":           {Settings{RestartOn: Triggers{Auto: true}}, false},
		"objects":                      {Settings{Objects: objects}, true},
		"a class":                      {Settings{SecretProviderClass: "akv"}, true},
		"objects, and opted out":       {Settings{Objects: objects, InjectFalse: true}, false},
		"a class, and opted out of it": {Settings{SecretProviderClass: "akv", InjectFalse: true}, false},
	}
	for name, tc := range cases {
		if got := tc.settings.Asked(); got != tc.want {
			t.Errorf("%s: asked is %v, want %v", name, got, tc.want)
		}
	}
}
