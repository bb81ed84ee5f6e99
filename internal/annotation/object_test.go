package annotation

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObjectForms(t *testing.T) {
	cases := map[string]struct {
		in        string
		canonical string
		id        string
		file      string
	}{
		"a bare name is a secret":        {"db-password", "secret/db-password", "secret/db-password", "db-password"},
		"white space around it":          {" key/a\n", "key/a", "key/a", "a"},
		"a file of another name":         {"cert/web=web.pem", "cert/web=web.pem", "cert/web", "web.pem"},
		"a file of the same name":        {"cert/web=web", "cert/web", "cert/web", "web"},
		"a version":                      {"a@" + someVersion, "secret/a@" + someVersion, "secret/a", "a"},
		"a version and a file":           {"a@" + someVersion + "=b", "secret/a@" + someVersion + "=b", "secret/a", "b"},
		"a name of digits, case is kept": {"0815-A", "secret/0815-A", "secret/0815-A", "0815-A"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := ParseObject(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{o.String(), o.ID(), o.FileName()}
			if diff := cmp.Diff([]string{tc.canonical, tc.id, tc.file}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := ParseObject(o.String())
			if err != nil || again != o {
				t.Errorf("%q is read back as %+v, %v", o.String(), again, err)
			}
		})
	}
}

func TestParseObjectTellsAll(t *testing.T) {
	_, err := ParseObject("a_b@1=c/d")
	const want = `is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault, such as a-b
does not pin a Key Vault version, which has 32 letters and digits; copy it from the vault, or leave '@' out to have the newest
has no valid file name after '='; write letters, digits, '-', '_' and '.', no directory`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
