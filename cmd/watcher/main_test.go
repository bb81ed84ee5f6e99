package main

import (
	"testing"

	"keyroll.dev/internal/process/processtest"
)

func TestMetricsAreDocumented(t *testing.T) {
	metrics := processtest.Run(t, run, "--secret-trigger=false").Metrics()
	metrics.CheckDocs(t, "../../docs/metrics.md", "keyroll_watcher_")
	metrics.Lint(t)
}

// What client-go has to say of an API server that has nothing comes as JSON,
// like our own lines.
func TestTheLogIsOneStream(t *testing.T) {
	binary := processtest.Run(t, run, "--secret-trigger=false", "--log-level=debug")
	binary.Logged("what client-go has to say", func(line map[string]any) bool { return line["logger"] != nil })
	binary.Stop()
}
