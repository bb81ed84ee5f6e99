package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"keyroll.dev/e2e/vault"
	"keyroll.dev/e2e/world"
)

// stage prints the story and plays it.
type stage struct {
	out   io.Writer
	begun time.Time
	world *world.World
}

func newStage(out io.Writer) *stage { return &stage{out: out, begun: time.Now()} }

// say begins a step.
func (s *stage) say(format string, args ...any) {
	s.printf("\n%s  +%-5s %s\n", time.Now().Format(time.TimeOnly), time.Since(s.begun).Round(time.Second), fmt.Sprintf(format, args...))
}

func (s *stage) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format, args...) // a terminal that is gone cannot be told
}

// kubectl shows a command and what it prints, and returns that.
func (s *stage) kubectl(ctx context.Context, args ...string) (string, error) {
	s.printf("    $ kubectl %s\n", shown(args))
	cmd := s.world.KubectlCommand(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	for line := range strings.Lines(strings.TrimSpace(out.String())) {
		s.printf("      %s\n", strings.TrimRight(line, "\n"))
	}
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", shown(args), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// commands runs several in order; the first that fails ends it.
func (s *stage) commands(ctx context.Context, all ...string) error {
	for _, line := range all {
		if _, err := s.kubectl(ctx, strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// shown quotes what a shell would split or expand.
func shown(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if strings.ContainsAny(arg, " {}[]*?\\'\"$") {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// wait looks until nothing is lacking.
func (s *stage) wait(ctx context.Context, what string, lacking func() string) error {
	const patience, poll = 2 * time.Minute, 200 * time.Millisecond
	deadline := time.Now().Add(patience)
	for {
		still := lacking()
		if still == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not after %s: %s", what, patience, still)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// rotate sets a new version of a secret, as az keyvault secret set would.
func (s *stage) rotate(name string) (version string) {
	return s.world.Vault.Set(vaultName, vault.Secret, name, fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))
}

// explain adds what Keyroll's processes had to say to an error.
func (s *stage) explain(err error) error {
	const tail = 15
	for _, p := range s.world.Keyroll.Processes() {
		s.printf("\n%s\n", p.Tail(tail))
	}
	return err
}

// short is the beginning of a version, as people write it.
func short(version string) string { return fmt.Sprintf("%.4s...", version) }

// lines sends a value for each line of in, and closes at its end.
func lines(ctx context.Context, in io.Reader) <-chan struct{} {
	found := make(chan struct{})
	go func() {
		defer close(found)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case found <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return found
}
