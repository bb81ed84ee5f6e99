package annotation

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// Each kind of name is what its regular expression says.
func TestNamesAreSpelledAsTheirRules(t *testing.T) {
	const hex8, hash = "0a1B2c3D", "0123456789abcdef0123456789abcdef"
	tests := map[string]struct {
		rule  string
		is    func(string) bool
		valid []string // from which others are made
	}{
		"an object's name":    {`^[0-9A-Za-z-]{1,127}$`, isObjectName, []string{"db-password", "-", strings.Repeat("a", 127)}},
		"an object's version": {`^[0-9A-Za-z]{32}$`, isObjectVersion, []string{hash}},
		"a file's name":       {`^[-._0-9A-Za-z]{1,253}$`, isFileName, []string{"tls.crt", "a_b", strings.Repeat("a", 253)}},
		"a vault's name":      {`^[A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z]$`, isVaultName, []string{"shop-kv", "a-1", strings.Repeat("a", 24)}},
		"a GUID":              {`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`, isGUID, []string{hex8 + "-0000-1111-aaaa-" + hex8 + "ffff"}},
		"a directory":         {`^[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?$`, isTenant, []string{"contoso.onmicrosoft.com", "a", strings.Repeat("a", 253)}},
		"a generated name":    {`^keyroll-[0-9a-f]{32}$`, IsGenerated, []string{"keyroll-" + hash}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			rule := regexp.MustCompile(tc.rule)
			for _, valid := range tc.valid {
				if !rule.MatchString(valid) {
					t.Fatalf("%q is not valid", valid)
				}
				for _, s := range near(valid) {
					if want := rule.MatchString(s); tc.is(s) != want {
						t.Errorf("%q: %v, want %v", s, !want, want)
					}
				}
			}
		})
	}
}

// near answers a string and others that differ from it in little.
func near(s string) []string {
	all := []string{s, "", s + "a", s + "\n", "a" + s, strings.ToUpper(s), s + s}
	letters := []string{"", "a", "Z", "g", "0", "-", ".", "_", "/", "@", "é", " ", "\n", "\x00", "\xff", "`", "{", "[", ":"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		at := []int{0, len(s) - 1, r.IntN(len(s))}[r.IntN(3)]
		all = append(all, s[:at]+letters[r.IntN(len(letters))]+s[at+r.IntN(2):])
	}
	return all
}
