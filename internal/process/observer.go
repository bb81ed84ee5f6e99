package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// shutdownGrace is how long a request that is being answered may still take
// once the observer is told to stop. A scrape takes milliseconds.
const shutdownGrace = 5 * time.Second

// ObserverConfig is what an [Observer] needs.
type ObserverConfig struct {
	Addr     string              // where to listen, ":8080"; port 0 takes a free one
	Gatherer prometheus.Gatherer // what /metrics shows
	Ready    func() error        // nil: ready; the error's text is the answer of /readyz
	Note     func() string       // may be nil: what else to say on /readyz, of a fault that is no reason not to be ready
	PProf    bool                // serve /debug/pprof/ too: it shows memory, so only when asked
	Log      *slog.Logger
}

// Observer answers those who look at the process: probes and metrics. It
// speaks plain HTTP and holds nothing secret.
//
//	/healthz  200 as long as the process answers
//	/readyz   200, maybe with a note, or 503 with the reason
//	/metrics  Prometheus and OpenMetrics text
type Observer struct {
	listener net.Listener
	server   *http.Server
}

// NewObserver listens at once, so that a taken port is an error at start and
// [Observer.Addr] is known; requests are answered from Run on.
func NewObserver(c ObserverConfig) (*Observer, error) {
	switch {
	case c.Gatherer == nil:
		return nil, errors.New("observer needs a Gatherer")
	case c.Ready == nil:
		return nil, errors.New("observer needs a Ready function")
	case c.Log == nil:
		return nil, errors.New("observer needs a Log")
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(context.Background(), "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for probes and metrics: %w", err)
	}
	return &Observer{listener: listener, server: newServer(c)}, nil
}

// Addr is the address that is listened on.
func (o *Observer) Addr() net.Addr { return o.listener.Addr() }

// Run answers requests until ctx ends, then lets those under way finish. The
// Observer is used up afterwards.
func (o *Observer) Run(ctx context.Context) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		graceCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopped <- o.server.Shutdown(graceCtx)
	})
	err := o.server.Serve(o.listener)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve probes and metrics: %w", err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("stop serving probes and metrics: %w", err)
	}
	return nil
}

func newServer(c ObserverConfig) *http.Server {
	return &http.Server{
		Handler:           routes(c),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      90 * time.Second, // a CPU profile takes 30 s unless asked otherwise
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
}

func routes(c ObserverConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answer(w, http.StatusOK, strings.Join(append([]string{"ok"}, c.notes()...), "\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4,
	}))
	if c.PProf {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (c ObserverConfig) notes() []string {
	if c.Note == nil {
		return nil
	}
	if note := c.Note(); note != "" {
		return []string{"note: " + note}
	}
	return nil
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A probe that has hung up needs no answer.
	_, _ = io.WriteString(w, text+"\n")
}
