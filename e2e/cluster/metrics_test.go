package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMetrics(t *testing.T) {
	got, err := ParseMetrics(`# HELP calls_total How often.
# TYPE calls_total counter
calls_total{name="a",code="200"} 3
calls_total{name="a",code="500"} 1 1700000000000

calls_total{name="with \"quotes\", commas} and \\",code="200"} 2e+02
up 1
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Metrics{
		{"calls_total", map[string]string{"name": "a", "code": "200"}, 3},
		{"calls_total", map[string]string{"name": "a", "code": "500"}, 1},
		{"calls_total", map[string]string{"name": `with "quotes", commas} and \`, "code": "200"}, 200},
		{"up", map[string]string{}, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	sums := map[string]float64{
		"of one label": got.Sum("calls_total", map[string]string{"name": "a"}),
		"of all":       got.Sum("calls_total", nil),
		"of none":      got.Sum("calls_total", map[string]string{"name": "b"}),
		"of no such":   got.Sum("nothing", nil),
	}
	wantSums := map[string]float64{"of one label": 4, "of all": 204, "of none": 0, "of no such": 0}
	if diff := cmp.Diff(wantSums, sums); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestParseMetricsRefusesWhatIsNone(t *testing.T) {
	for _, text := range []string{"<html>", "name{} x", "name"} {
		if got, err := ParseMetrics(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
