package process

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"strconv"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// NewLogger gives a logger that writes JSON lines to w, and makes klog, which
// client-go speaks, write through it. klog's V(n) has slog's level -n: V(4)
// is DEBUG, and V(1) to V(3) lie between INFO and DEBUG. It sets klog's
// globals, so it is called once, before clients are made.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	setKlogVerbosity(max(0, -int(level)))
	klog.SetSlogLogger(log)
	return log
}

// WithLogger gives a context from which libraries that log through logr
// (client-go's contextual logging, cert-manager) take log.
func WithLogger(ctx context.Context, log *slog.Logger) context.Context {
	return logr.NewContext(ctx, logr.FromSlogHandler(log.Handler()))
}

// setKlogVerbosity is needed because klog asks its own flag before it asks the
// logger behind it.
func setKlogVerbosity(v int) {
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	if err := fs.Set("v", strconv.Itoa(v)); err != nil {
		panic(err) // klog has had this flag, taking integers, since it exists
	}
}
