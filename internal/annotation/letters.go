package annotation

// letters is the set of bytes that a kind of name is made of. Values are looked
// at byte by byte, because every admission looks at several: as a regular
// expression, one with a bound on its length takes a hundred times as long.
type letters [256]bool

func lettersOf(s string) *letters {
	var l letters
	for _, c := range []byte(s) {
		l[c] = true
	}
	return &l
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

var (
	alphabetic   = lettersOf(lower + upper)
	alphanumeric = lettersOf(lower + upper + digits)
	hexadecimal  = lettersOf("abcdefABCDEF" + digits)
	dashed       = lettersOf(lower + upper + digits + "-")
	dotted       = lettersOf(lower + upper + digits + "-.")
	filed        = lettersOf(lower + upper + digits + "-._")
)

// spell reports whether s is made of these letters alone, and has from least to
// most of them.
func (l *letters) spell(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if !l[s[i]] {
			return false
		}
	}
	return true
}

// enclose reports whether s is not empty and begins and ends with one of these letters.
func (l *letters) enclose(s string) bool {
	return s != "" && l[s[0]] && l[s[len(s)-1]]
}
