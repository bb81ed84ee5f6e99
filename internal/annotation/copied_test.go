package annotation

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopiedKeysHaveTheirPrefix(t *testing.T) {
	tests := map[string]struct {
		list string
		want []string
	}{
		"no list":       {"", nil},
		"one key":       {"objects", []string{Objects}},
		"several":       {"objects,service-account", []string{Objects, ServiceAccount}},
		"white space":   {"objects, env", []string{Objects, Env}},
		"unknown names": {"other", []string{Prefix + "other"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Copied(map[string]string{FromWorkload: tc.list})); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}
