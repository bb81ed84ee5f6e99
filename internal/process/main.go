package process

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Run is the body of a program. It returns when ctx ends or the program's work
// is done; a nil error, [flag.ErrHelp] and [context.Canceled] are a clean end.
type Run func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// name is the program's name in the user agent of its requests. It is set once
// by Main before anything else runs.
var name = "process"

// Main runs the program called programName ("webhook") and exits with its
// status. It is the one place that reads the arguments, takes signals and
// exits.
func Main(programName string, run Run) {
	name = programName
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		os.Exit(killedBy(<-signals)) // the graceful stop hangs
	}()
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}

// killedBy is the status that a shell gives to a program that a signal ended.
func killedBy(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return 1
}

// exitCode tells of err on stderr, in the shape of the log stream, and answers
// the status to exit with.
func exitCode(err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) || errors.Is(err, context.Canceled) {
		return 0
	}
	slog.New(slog.NewJSONHandler(stderr, nil)).Error("Stopped by an error", "error", err.Error())
	return 1
}
