package alerts

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"keyroll.dev/internal/document"
)

// docs is the folder of the documents, which are held against the code.
const docs = "../../docs/"

// metric is what is known of one: the values of its labels, nil for any.
type metric map[string][]string

// shown are the metrics that queries may ask for: those of docs/metrics.md, which
// is held against the binaries, and a few of others.
func shown(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{
		// k8s.io/apiserver v0.37.2 pkg/admission/metrics/metrics.go
		"apiserver_admission_webhook_rejection_count": {"name": {"pods.keyroll.dev", "workloads.keyroll.dev"}, "type": nil, "operation": nil,
			"error_type": {"calling_webhook_error", "apiserver_internal_error", "no_error"}, "rejection_code": nil},
		"apiserver_admission_webhook_fail_open_count": {"name": {"pods.keyroll.dev", "workloads.keyroll.dev"}, "type": nil},
		"process_resident_memory_bytes":               {},
		"process_cpu_seconds_total":                   {},
	}
	for _, row := range document.Rows(document.Section(t, docs+"metrics.md", "# Metrics")) {
		name := strings.Trim(row[0], "`")
		if len(row) != 4 || !strings.HasPrefix(name, "keyroll_") {
			continue
		}
		m := readLabels(t, name, row[2])
		if row[1] != "histogram" {
			all[name] = m
			continue
		}
		all[name+"_sum"], all[name+"_count"] = m, m
		bucket := maps.Clone(m)
		bucket["le"] = nil
		all[name+"_bucket"] = bucket
	}
	if len(all) < 30 {
		t.Fatalf("only %d metrics in the documents", len(all))
	}
	return all
}

// readLabels reads "`outcome`: created, failed; `reason`".
func readLabels(t *testing.T, metricName, cell string) metric {
	t.Helper()
	m := metric{}
	for part := range strings.SplitSeq(cell, ";") {
		name, values, closed := strings.Cut(strings.TrimSpace(part), ": ")
		name = strings.Trim(name, "`")
		switch {
		case name == "":
		case closed:
			m[name] = strings.Split(values, ", ")
		case name == "reason":
			m[name] = reasons(t, metricName)
		default:
			m[name] = nil
		}
	}
	return m
}

// reasons are too many for the table of metrics; other tables explain them.
func reasons(t *testing.T, metricName string) []string {
	t.Helper()
	if strings.HasPrefix(metricName, "keyroll_watcher_") {
		return slices.Concat(
			document.First(document.Rows(document.Section(t, docs+"troubleshoot.md", "## Events"))),
			document.First(document.Rows(document.Section(t, docs+"troubleshoot.md", "## Why a workload waits"))))
	}
	var all []string
	for _, row := range document.Rows(document.Section(t, docs+"metrics.md", "## Webhook")) {
		if len(row) == 2 {
			all = append(all, strings.Split(row[1], ", ")...)
		}
	}
	return all
}

// scraped are labels that Prometheus adds.
var scraped = []string{"instance", "job", "namespace", "pod"}

func TestRulesAskForWhatIsShown(t *testing.T) {
	all := shown(t)
	for _, r := range readRules(t) {
		check(t, all, r.Alert, r.Expr)
	}
}

func TestDashboardAsksForWhatIsShown(t *testing.T) {
	content, err := os.ReadFile(files + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	all, queries := shown(t), 0
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			queries++
			check(t, all, p.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	if queries < 20 {
		t.Errorf("only %d queries found", queries)
	}
}

// check parses a query and looks up what it names.
func check(t *testing.T, all map[string]metric, where, query string) {
	t.Helper()
	expr, err := language.ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	known := map[string]bool{}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			m, there := all[v.Name]
			if !there {
				t.Errorf("%s asks for %s, which nothing shows", where, v.Name)
			}
			for name := range m {
				known[name] = true
			}
			for _, matcher := range v.LabelMatchers {
				checkMatcher(t, where, v.Name, m, matcher)
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, name := range a.Grouping {
				if !known[name] && !slices.Contains(scraped, name) {
					t.Errorf("%s groups by %s, which none of its metrics has", where, name)
				}
			}
		}
		return nil
	})
}

// checkMatcher wants a label that the metric has and, where its values are
// known, every alternative of the matcher to be one of them.
func checkMatcher(t *testing.T, where, name string, m metric, matcher *labels.Matcher) {
	t.Helper()
	if matcher.Name == model.MetricNameLabel {
		return
	}
	values, there := m[matcher.Name]
	if !there {
		t.Errorf("%s: %s has no label %s", where, name, matcher.Name)
		return
	}
	for _, value := range strings.Split(matcher.Value, "|") {
		if values != nil && !slices.Contains(values, value) {
			t.Errorf("%s: label %s of %s is never %q", where, matcher.Name, name, value)
		}
	}
}
