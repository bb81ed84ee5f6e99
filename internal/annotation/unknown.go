package annotation

import (
	"fmt"
	"slices"
	"strings"
)

// others tells of keyroll.dev/ keys that nobody reads at this place.
func (p *parser) others(place Where) {
	var wrong []string // nearly always none
	for key := range p.annotations {
		if IsInput(key) && !readAt(key, place) {
			wrong = append(wrong, key)
		}
	}
	slices.Sort(wrong)
	for _, key := range wrong {
		if r, known := row(key); known {
			p.add(key, "", misplaced(r.Where))
		} else {
			p.add(key, "", unknownKey(key))
		}
	}
}

func readAt(key string, place Where) bool {
	r, known := row(key)
	return known && (r.Where == OnBoth || r.Where == place)
}

func misplaced(right Where) string {
	if right == OnNamespace {
		return "is read on a namespace only; annotate the namespace, or remove it"
	}
	return "is not read on a namespace; annotate the workload, or remove it"
}

func unknownKey(key string) string {
	if key == InjectionLabel {
		return fmt.Sprintf("is a label of the namespace; write kubectl label namespace NAME %s=%s, and remove the annotation",
			InjectionLabel, InjectionEnabled)
	}
	if known := nearest(key); known != "" {
		return "is not known; did you mean " + known + "?"
	}
	names := make([]string, len(Table))
	for i, r := range Table {
		names[i] = strings.TrimPrefix(r.Key, Prefix)
	}
	return "is not known; known are " + strings.Join(names, ", ")
}

// nearest returns the known key that was probably meant, or "" when none is
// near: at most half of the longer name may differ.
func nearest(key string) string {
	name := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(key, Prefix)), "_", "-")
	if len(name) > maxEcho {
		return ""
	}
	best, found := 0, ""
	for _, r := range Table {
		known := strings.TrimPrefix(r.Key, Prefix)
		d := distance(name, known)
		if 2*d <= max(len(name), len(known)) && (found == "" || d < best) {
			best, found = d, r.Key
		}
	}
	return found
}

// distance counts the bytes to insert, delete, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := 1
			if a[i-1] == b[j-1] {
				replace = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
