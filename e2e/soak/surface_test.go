package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyroll.dev/e2e/install"
)

// TestTheSurfaceWithstands has 1,000 connections at once do each of the attacks
// (fewer where each sends megabytes), while the one webhook that is under attack
// goes on answering the API server, within the memory that its Deployment gives it.
func TestTheSurfaceWithstands(t *testing.T) {
	keyroll.ShowLogs(t)
	namespace(t, "attacked")
	var one replicas
	t.Cleanup(one.kill)
	if err := one.roll(t.Context(), shipped()); err != nil {
		t.Fatal(err)
	}
	target := one.running[0]
	limit := keyroll.Deployment("webhook").Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value()
	caller := newCaller(t, "attacked")
	create := podCreator(t, "attacked")

	var report strings.Builder
	report.WriteString("| attack | connections | for | pods meanwhile | refused | p99 | peak memory |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i, a := range attacks {
		if !long && i%3 != 2 {
			continue // each takes as long as the webhook's patience, and make test has less
		}
		pods := underAttack(t, a, target, caller.review(), create)
		peak := peakMemory(t, target)
		took := pods.until(pods[0].at)
		fmt.Fprintf(&report, "| %s | %d | %s | %d | %d | %s | %d MiB |\n", a.name, a.connections(), took.Round(time.Second),
			pods.count(admitted), pods.count(refused), pods.percentile(99).Round(time.Millisecond), peak>>20)
		// One that is refused may be the fault of the machine, which is busy with
		// the attackers themselves. More are the webhook's.
		failed := pods.with(refused)
		if long && len(failed) > len(pods)/10 || pods[len(pods)-1].outcome == refused {
			t.Errorf("%s: %d of %d pods were refused:%s", a.name, len(failed), len(pods), failed.reasons())
		}
		if peak > limit {
			t.Errorf("%s: %d MiB of memory, the limit is %d MiB", a.name, peak>>20, limit>>20)
		}
		if err := target.Ready(t.Context()); err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
	}
	t.Logf("\n%s", report.String())
	m, err := target.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Sum("keyroll_webhook_panics_total", nil); n > 0 {
		t.Errorf("%v requests panicked", n)
	}
}

// underAttack creates pods until every connection has been ended and one more
// pod has been admitted, and answers what became of them.
func underAttack(t *testing.T, a attack, target *install.Process, review []byte, create func(context.Context) (outcome, string)) attempts {
	t.Helper()
	var pods record
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		load(ctx, 5, &pods, create)
	}()
	from := time.Now()
	var attackers sync.WaitGroup
	for i := range a.connections() {
		random := rand.New(rand.NewPCG(1, uint64(i))) // the same for every run
		attackers.Go(func() { a.run(ctx, target.ListenAddress(), random, review) })
	}
	attackers.Wait()
	over := time.Now()
	if err := admittedSince(ctx, over, &pods); err != nil {
		t.Errorf("%s: %v", a.name, err)
	}
	stop()
	<-loaded
	return pods.between(from, time.Now())
}

var highWaterMark = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most that a process has held so far.
func peakMemory(t *testing.T, p *install.Process) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0 // only Linux tells
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	found := highWaterMark.FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in\n%s", status)
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
