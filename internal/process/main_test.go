package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestMain lets the test binary be the program that TestSignals signals.
func TestMain(m *testing.M) {
	switch os.Getenv("KEYROLL_TEST_PROGRAM") {
	case "":
		os.Exit(m.Run())
	case "graceful":
		Main("test", func(ctx context.Context, _ []string, stdout, _ io.Writer) error {
			_, _ = fmt.Fprintln(stdout, "running")
			<-ctx.Done()
			return errors.New("stopped late")
		})
	case "hanging":
		Main("test", func(ctx context.Context, _ []string, stdout, _ io.Writer) error {
			_, _ = fmt.Fprintln(stdout, "running")
			<-ctx.Done()
			_, _ = fmt.Fprintln(stdout, "stopping")
			select {}
		})
	}
}

func TestSignals(t *testing.T) {
	tests := map[string]struct {
		program    string
		lines      []string // the program prints; a signal is sent after each
		wantStatus int
	}{
		"the first one asks the program to stop":    {program: "graceful", lines: []string{"running"}, wantStatus: 1},
		"the second one kills a program that hangs": {program: "hanging", lines: []string{"running", "stopping"}, wantStatus: 128 + int(syscall.SIGTERM)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), os.Args[0])
			program.Env = append(os.Environ(), "KEYROLL_TEST_PROGRAM="+tc.program)
			stdout, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			said := bufio.NewScanner(stdout)
			for _, line := range tc.lines {
				if !said.Scan() || said.Text() != line {
					t.Fatalf("program said %q, want %q", said.Text(), line)
				}
				if err := program.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			err = program.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != tc.wantStatus {
				t.Errorf("program ended with %v, want status %d", err, tc.wantStatus)
			}
		})
	}
}
