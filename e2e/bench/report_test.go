package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	r := report{}
	r.add(figure{what: "CPU per admission", unit: "ms", ours: 0.2, bare: 0.1, held: timesBare(2.5)})
	r.add(figure{what: "creation of a pod", unit: "ms", ours: 9.61, bare: 8, held: overBare(1.5)})
	r.add(figure{what: "peak memory", unit: "MiB", ours: 65, held: atMost(64)})
	r.add(figure{what: "rate", unit: "1/s", ours: 12345.6, held: atLeast(6000)})
	r.add(figure{what: "requests", ours: 3})
	var out strings.Builder
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	want := `
|                   | unit | keyroll | bare | ratio | held to     |        |
| ----------------- | ---- | ------: | ---: | ----: | ----------- | ------ |
| CPU per admission | ms   |     0.2 |  0.1 |     2 | ≤ 2.5 times | kept   |
| creation of a pod | ms   |    9.61 |    8 |   1.2 | ≤ 1.5 more  | MISSED |
| peak memory       | MiB  |      65 |      |       | ≤ 64        | MISSED |
| rate              | 1/s  |   12346 |      |       | ≥ 6000      | kept   |
| requests          |      |       3 |      |       |             |        |
`
	if diff := cmp.Diff(want, "\n"+out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		names     []string
		want      int
		wantError string
	}{
		"no name is all":     {nil, len(suites), ""},
		"one by its name":    {[]string{"admission"}, 1, ""},
		"one that is not":    {[]string{"admision"}, 0, `no suite "admision"; there are admission`},
		"the same once more": {[]string{"admission", "admission"}, 2, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			chosen, err := choose(tc.names)
			if len(chosen) != tc.want {
				t.Errorf("%d suites, want %d", len(chosen), tc.want)
			}
			if (err != nil) != (tc.wantError != "") || err != nil && !strings.HasPrefix(err.Error(), tc.wantError) {
				t.Errorf("error %v, want %q", err, tc.wantError)
			}
		})
	}
}
