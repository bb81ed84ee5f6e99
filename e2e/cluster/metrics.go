package cluster

import (
	"bufio"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Metrics are the samples of one scrape.
type Metrics []Sample

// Sample is one line of it.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"`)
	unescape   = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

// ParseMetrics reads Prometheus' text format, in which /metrics of the API
// server and of our own binaries is written.
func ParseMetrics(text string) (Metrics, error) {
	var all Metrics
	lines := bufio.NewScanner(strings.NewReader(text))
	const longest = 1 << 20
	lines.Buffer(nil, longest)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		sample, err := parseSample(line)
		if err != nil {
			return nil, err
		}
		all = append(all, sample)
	}
	return all, lines.Err()
}

func parseSample(line string) (Sample, error) {
	parts := sampleLine.FindStringSubmatch(line)
	if parts == nil {
		return Sample{}, fmt.Errorf("not a sample: %q", line)
	}
	value, err := strconv.ParseFloat(parts[3], 64)
	if err != nil {
		return Sample{}, fmt.Errorf("value of %q: %w", line, err)
	}
	labels := map[string]string{}
	for _, pair := range labelPair.FindAllStringSubmatch(parts[2], -1) {
		labels[pair[1]] = unescape.Replace(pair[2])
	}
	return Sample{Name: parts[1], Labels: labels, Value: value}, nil
}

// Sum adds the samples of that name which have all the given labels. It is 0
// when there is none: a counter that never counted is not there.
func (m Metrics) Sum(name string, labels map[string]string) float64 {
	var sum float64
	for _, s := range m {
		if s.Name == name && s.has(labels) {
			sum += s.Value
		}
	}
	return sum
}

func (s Sample) has(labels map[string]string) bool {
	for name, value := range labels {
		if s.Labels[name] != value {
			return false
		}
	}
	return true
}
