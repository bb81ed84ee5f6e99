package alerts

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// interval is that of scrapes and of the evaluation of rules.
const interval = time.Minute

// memory holds series, with a sample every interval from the epoch on. It is
// what the query engine asks.
type memory []promql.Series

// remember reads series in the notation of promtool's unit tests, such as
// `up{job="a"} 1x10 0x5`. One that stands there twice is the later one.
func remember(t *testing.T, notations ...string) memory {
	t.Helper()
	var m memory
	at := map[string]int{}
	for _, notation := range notations {
		name, values, err := language.ParseSeriesDesc(notation)
		if err != nil {
			t.Fatalf("%s: %v", notation, err)
		}
		s := promql.Series{Metric: name}
		for i, v := range values {
			if !v.Omitted {
				s.Floats = append(s.Floats, promql.FPoint{T: (time.Duration(i) * interval).Milliseconds(), F: v.Value})
			}
		}
		if i, there := at[name.String()]; there {
			m[i] = s
			continue
		}
		at[name.String()], m = len(m), append(m, s)
	}
	return m
}

var language = parser.NewParser(parser.Options{})

func (m memory) Querier(_, _ int64) (storage.Querier, error) { return m, nil }

func (m memory) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &set{}
	for _, s := range m {
		if matches(s.Metric, matchers) {
			found.all = append(found.all, promql.NewStorageSeries(s))
		}
	}
	return found
}

func matches(name labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(name.Get(m.Name)) {
			return false
		}
	}
	return true
}

func (m memory) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (m memory) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (m memory) Close() error { return nil }

// set goes through series.
type set struct {
	all  []storage.Series
	next int
}

func (s *set) Next() bool                        { s.next++; return s.next <= len(s.all) }
func (s *set) At() storage.Series                { return s.all[s.next-1] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }
