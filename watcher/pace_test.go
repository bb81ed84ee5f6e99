package watcher

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func webNamed(name string) key { return key{deployments.GroupKind(), shop, name} }

func TestPlacesAreGivenInTheOrderOfTheLine(t *testing.T) {
	p := newPace(2)
	a, b, c, d := webNamed("a"), webNamed("b"), webNamed("c"), webNamed("d")
	steps := []struct {
		what string
		do   func() any
		want any
	}{
		{"a begins", func() any { return p.take(a) }, true},
		{"b begins", func() any { return p.take(b) }, true},
		{"c waits", func() any { return p.take(c) }, false},
		{"d waits", func() any { return p.take(d) }, false},
		{"two go before c", func() any { return p.ahead(c) }, 2},
		{"before d are more than the two that are counted", func() any { return p.ahead(d) }, 2},
		{"a itself does not go before it, but one of the line does", func() any { return p.ahead(a) }, 2},
		{"a ends, so c may go", func() any { return p.free(a) }, []key{c}},
		{"a cannot overtake", func() any { return p.take(a) }, false},
		{"nor d", func() any { return p.take(d) }, false},
		{"c begins", func() any { return p.take(c) }, true},
		{"a again asks while it has its turn", func() any { return p.take(a) }, false},
		{"d is not due any more, and nobody can go for that", func() any { return p.leave(d) }, []key{}},
		{"b ends, so a may go", func() any { return p.free(b) }, []key{a}},
		{"what was not under way frees nothing", func() any { return p.free(d) }, []key(nil)},
		{"a begins", func() any { return p.take(a) }, true},
	}
	for _, step := range steps {
		if diff := cmp.Diff(step.want, step.do(), cmp.AllowUnexported(key{})); diff != "" {
			t.Fatalf("%s (-want +got)\n%s", step.what, diff)
		}
	}
	if underway, waiting := p.counts(); underway != 2 || waiting != 0 {
		t.Errorf("%d under way and %d waiting, want 2 and 0", underway, waiting)
	}
}

func TestWithoutALimitNobodyWaits(t *testing.T) {
	p := newPace(0)
	for i := range 100 {
		if !p.take(webNamed(fmt.Sprint(i))) {
			t.Fatalf("number %d has to wait", i)
		}
	}
}
