package rollout

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func sampleBaseline(since time.Time) Baseline {
	return Baseline{
		Stamp:   "aa-2",
		Classes: map[string]ClassBaseline{class: newClassBaseline(versions("v1"), since)},
		Secrets: map[string]SecretBaseline{env: {Digest: "A", Since: since, Unsettled: true, Feeds: "f", Answered: []string{"A"}}},
	}
}

func TestLedgerIsReadAsItWasWritten(t *testing.T) {
	want := Ledger{"w": sampleBaseline(now), "x": {Stamp: "bb-3", Newest: "cc-4", Classes: map[string]ClassBaseline{class: {Digest: "v1", Mixed: true}}}}
	data, dropped := want.Data()
	got, err := ReadLedger(data)
	if err != nil || dropped != 0 {
		t.Fatalf("%v, %d dropped", err, dropped)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLedgerLeavesOutWhatItCannotRead(t *testing.T) {
	data, _ := Ledger{"w": {Stamp: "aa-2"}}.Data()
	data["bad"], data["worse"] = "{", `{"stamp":7}`
	got, err := ReadLedger(data)
	if diff := cmp.Diff(Ledger{"w": {Stamp: "aa-2"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err == nil || !strings.Contains(err.Error(), "baseline of bad") || !strings.Contains(err.Error(), "baseline of worse") {
		t.Errorf("error %v, want one that names both", err)
	}
}

func TestLedgerStaysBounded(t *testing.T) {
	size := func(data map[string]string) int {
		n := 0
		for key, value := range data {
			n += len(key) + len(value)
		}
		return n
	}
	ledger := func(n int, objects int) Ledger {
		l := Ledger{}
		for i := range n {
			b := sampleBaseline(now.Add(time.Duration(i) * time.Second))
			v := map[string]string{}
			for j := range objects {
				v[fmt.Sprintf("secret/%d", j)] = strings.Repeat("v", 32)
			}
			b.Classes[class] = newClassBaseline(v, b.Classes[class].Since)
			l[types.UID(fmt.Sprintf("workload-%05d", n-1-i))] = b
		}
		return l
	}

	all, dropped := ledger(100, 30).Data()
	if dropped != 0 || !strings.Contains(all["workload-00000"], "versions") {
		t.Errorf("a small ledger loses something: %d dropped, %s", dropped, all["workload-00000"])
	}

	brief, dropped := ledger(1000, 30).Data()
	if dropped != 0 || len(brief) != 1000 || strings.Contains(brief["workload-00000"], "versions") {
		t.Errorf("a large ledger should lose its versions alone: %d dropped, %s", dropped, brief["workload-00000"])
	}
	if size(brief) > maxLedger {
		t.Errorf("%d bytes, want at most %d", size(brief), maxLedger)
	}

	few, dropped := ledger(6000, 1).Data()
	if dropped == 0 || len(few)+dropped != 6000 || size(few) > maxLedger {
		t.Errorf("%d kept, %d dropped, %d bytes, want 6000 in all and at most %d bytes", len(few), dropped, size(few), maxLedger)
	}
	if _, kept := few["workload-05999"]; kept {
		t.Error("the oldest is kept")
	}
	if _, kept := few["workload-00000"]; !kept {
		t.Error("the newest is dropped")
	}
	if last := size(few) + len(few["workload-00000"]) + len("workload-00000"); last <= maxLedger {
		t.Errorf("%d dropped, though one more would fit", dropped)
	}
}

func TestLedgerMerge(t *testing.T) {
	older, newer := sampleBaseline(now), sampleBaseline(now.Add(time.Second))
	newer.Stamp = "bb-3"
	tests := map[string]struct{ ours, theirs, want Ledger }{
		"theirs is newer":  {Ledger{"w": older}, Ledger{"w": newer}, Ledger{"w": newer}},
		"ours is newer":    {Ledger{"w": newer}, Ledger{"w": older}, Ledger{"w": newer}},
		"only they know":   {nil, Ledger{"w": older}, Ledger{"w": older}},
		"only we know":     {Ledger{"w": older}, nil, Ledger{"w": older}},
		"ours is as old":   {Ledger{"w": older}, Ledger{"w": {Stamp: "cc-4", Classes: older.Classes}}, Ledger{"w": older}},
		"nobody knows any": {nil, nil, Ledger{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.ours.Merge(tt.theirs)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfirmedAt(t *testing.T) {
	b := Baseline{
		Classes: map[string]ClassBaseline{"a": {Since: at(2)}, "b": {Since: at(1)}},
		Secrets: map[string]SecretBaseline{"c": {Since: at(3)}, "d": {Since: at(1)}},
	}
	if got := b.confirmedAt(); !got.Equal(at(3)) {
		t.Errorf("confirmedAt() = %v, want the Secret's %v", got, at(3))
	}
	delete(b.Secrets, "c")
	if got := b.confirmedAt(); !got.Equal(at(2)) {
		t.Errorf("confirmedAt() = %v, want the class's %v", got, at(2))
	}
}

func TestSame(t *testing.T) {
	tests := map[string]struct {
		change func(*Baseline)
		want   bool
	}{
		"nothing": {func(*Baseline) {}, true},
		"times and provenance": {func(b *Baseline) {
			s := b.Secrets[env]
			s.Since, s.Feeds, s.Answered = t0, "g", nil
			b.Secrets[env] = s
		}, true},
		"versions for people": {func(b *Baseline) { *b = b.brief() }, true},
		"the stamp":           {func(b *Baseline) { b.Stamp = "bb-3" }, false},
		"a class's versions":  {func(b *Baseline) { b.Classes[class] = newClassBaseline(versions("v2"), now) }, false},
		"a class mixed": {func(b *Baseline) {
			c := b.Classes[class]
			c.Mixed = true
			b.Classes[class] = c
		}, false},
		"a class less":      {func(b *Baseline) { delete(b.Classes, class) }, false},
		"a Secret's digest": {func(b *Baseline) { b.Secrets[env] = SecretBaseline{Digest: "B", Unsettled: true} }, false},
		"a Secret settled":  {func(b *Baseline) { b.Secrets[env] = SecretBaseline{Digest: "A"} }, false},
		"a Secret less":     {func(b *Baseline) { delete(b.Secrets, env) }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := sampleBaseline(now)
			tt.change(&b)
			if got := b.Same(sampleBaseline(now)); got != tt.want {
				t.Errorf("Same() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestReasonsListsEachConstantOnce(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Reason
	for _, d := range source.Decls {
		if group, ok := d.(*ast.GenDecl); ok && group.Tok == token.CONST {
			for _, spec := range group.Specs {
				for _, value := range spec.(*ast.ValueSpec).Values {
					declared = append(declared, Reason(strings.Trim(value.(*ast.BasicLit).Value, `"`)))
				}
			}
		}
	}
	listed := slices.Sorted(slices.Values(Reasons))
	slices.Sort(declared)
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("Reasons (-declared +listed):\n%s", diff)
	}
}

func TestFreshnessString(t *testing.T) {
	for f, want := range map[Freshness]string{Fresh: "fresh", Stale: "stale", Unknown: "unknown", 7: "invalid"} {
		if got := f.String(); got != want {
			t.Errorf("%d is %q, want %q", int(f), got, want)
		}
	}
}
