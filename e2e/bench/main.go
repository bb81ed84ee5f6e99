// Command bench measures Keyroll as users run it: the built binaries, under the
// ServiceAccounts of the manifests, on a real control plane on this machine.
// Each figure stands beside that of the least which any program in its place has
// to do, measured in the same run, because the ratio of the two tells more of
// the program than of the machine.
//
//	bench [-small] [SUITE...]   all suites by default
//
//	main ─► suites ─► figures ─► one table, with what each figure is held to
//
// It exits non-zero if something could not be measured, not if a figure is bad:
// the table says that. What runs at the same time on the machine disturbs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// suite is a group of measurements. It boots what it needs and stops it again,
// so that no suite is disturbed by what another one left behind.
type suite struct {
	name, about string
	run         func(context.Context, *report) error
}

var suites = []suite{
	{"admission", "what the webhook costs beside a server that answers the same to everything", admission},
	{"rotation", "how soon after a rotation the last workload is patched, and what the API server is asked, beside bare patches", rotation},
	{"scale", "memory, CPU and time to start of the watcher: idle, beside many Secrets, with 5,000 workloads and 20,000 pods", scale},
}

// small is for trying the bench itself.
var small = flag.Bool("small", false, "measure with a tenth of the objects")

// logs keeps what would go away with the clusters.
var logs = flag.String("logs", "", "`folder` for the logs of all processes, and for profiles of their CPU time and the watcher's memory")

// scaled is a number of objects.
func scaled(n int) int {
	if *small {
		return max(1, n/10)
	}
	return n
}

func main() {
	flag.Usage = usage
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "bench [-small] [SUITE...]")
	for _, s := range suites {
		fmt.Fprintf(os.Stderr, "  %-10s %s\n", s.name, s.about)
	}
}

// run measures the named suites, or all, and prints the table.
func run(ctx context.Context, names []string) error {
	if len(names) > 0 && names[0] == floorCommand {
		return serveFloor(ctx, names[1:])
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	r := &report{progress: os.Stderr, begun: time.Now()}
	var errs []error
	for _, s := range chosen {
		if err := s.run(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(append(errs, r.print(os.Stdout))...)
}

// choose answers the suites of these names in the order given, or all.
func choose(names []string) ([]suite, error) {
	if len(names) == 0 {
		return suites, nil
	}
	var chosen []suite
	for _, name := range names {
		i := slices.IndexFunc(suites, func(s suite) bool { return s.name == name })
		if i < 0 {
			var known []string
			for _, s := range suites {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("no suite %q; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, suites[i])
	}
	return chosen, nil
}
