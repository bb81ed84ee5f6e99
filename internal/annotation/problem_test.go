package annotation

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestProblemsError(t *testing.T) {
	many := Problems{}
	for i := range 53 {
		many = append(many, NewProblem(Objects, fmt.Sprint(i), "wrong"))
	}
	cases := map[string]struct {
		problems Problems
		want     string
	}{
		"one is one line": {
			Problems{NewProblem(Vault, "x\n", "is wrong")},
			`keyroll.dev/vault: "x\n": is wrong`,
		},
		"without a value": {
			Problems{NewProblem(Vault, "", "is needed")},
			`keyroll.dev/vault: is needed`,
		},
		"several are a list": {
			Problems{NewProblem(Vault, "x", "is wrong"), NewProblem(Env, "", "is empty")},
			"2 problems:\n- keyroll.dev/vault: \"x\": is wrong\n- keyroll.dev/env: is empty",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.problems.Err()
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if err := (Problems)(nil).Err(); err != nil {
		t.Errorf("no problem is an error: %v", err)
	}
	got := many.Error()
	if n := strings.Count(got, "wrong"); n != 50 || !strings.HasSuffix(got, "\n- and 3 more") {
		t.Errorf("of 53 problems %d are told, ending %q", n, got[len(got)-20:])
	}
}

func TestNewProblemRepeatsLittle(t *testing.T) {
	for name, value := range map[string]string{
		"short":             "ä",
		"exactly the bound": strings.Repeat("a", maxEcho),
		"long":              strings.Repeat("a", 1000),
		"cut in characters": strings.Repeat("a", maxEcho-1) + strings.Repeat("ä", 100),
		"four bytes each":   "abc" + strings.Repeat("😀", 100),
	} {
		t.Run(name, func(t *testing.T) {
			got := NewProblem(value, value, "")
			if got.Key != got.Value {
				t.Errorf("key is cut to %q, value to %q", got.Key, got.Value)
			}
			kept, cut := strings.CutSuffix(got.Value, "…")
			if !strings.HasPrefix(value, kept) || !utf8.ValidString(kept) {
				t.Errorf("%q does not begin with %q", value, kept)
			}
			if wantCut := len(value) > maxEcho; cut != wantCut || len(kept) > maxEcho || cut && len(kept) < maxEcho-3 {
				t.Errorf("%d bytes become %d, cut is %v", len(value), len(kept), cut)
			}
		})
	}
	if got := NewProblem("", strings.Repeat("\xa0", 1000), "").Value; len(got) > maxEcho+3 {
		t.Errorf("what is no text is repeated with %d bytes", len(got))
	}
}
