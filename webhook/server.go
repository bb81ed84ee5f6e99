package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// shutdownGrace is how long requests under way may still take at the end: more
// than any is given.
const shutdownGrace = 10 * time.Second

// ServerConfig is what a [Server] needs.
type ServerConfig struct {
	Addr           string // where to listen, ":9443"; port 0 takes a free one
	Handler        http.Handler
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Drain is how long new connections are still expected after the end was asked
	// for, until nobody makes any because we are not ready.
	Drain time.Duration
	// Linger is how long after that clients may take to close their connections.
	Linger time.Duration
	Log    *slog.Logger
}

// Server serves a handler by HTTPS.
type Server struct {
	listener      net.Listener
	server        *http.Server
	drain, linger time.Duration
	draining      atomic.Bool
	connections   connections
}

// NewServer listens at once, so that a taken port is an error at start.
func NewServer(c ServerConfig) (*Server, error) {
	switch {
	case c.Handler == nil:
		return nil, errors.New("server needs a Handler")
	case c.GetCertificate == nil:
		return nil, errors.New("server needs a GetCertificate function")
	case c.Drain < 0 || c.Linger < 0:
		return nil, errors.New("server cannot drain or linger for a negative time")
	case c.Log == nil:
		return nil, errors.New("server needs a Log")
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(context.Background(), "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for admission reviews: %w", err)
	}
	s := &Server{listener: listener, drain: c.Drain, linger: c.Linger, connections: connections{gone: make(chan struct{}, 1)}}
	s.server = &http.Server{
		Handler:   s.sendAway(c.Handler),
		ConnState: s.connections.note,
		// The API server speaks HTTP/1.1 with the webhooks behind a Service, so
		// that its requests are spread (kubernetes#75791). HTTP/2 would be there
		// for others alone, with many requests on each of their connections.
		Protocols: http1(),
		// The one client is the API server, of our own age.
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: c.GetCertificate},
		// Reviews come at once; who sends slowly is not the API server.
		ReadHeaderTimeout: 3 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		// Longer than the API server keeps an idle connection, so that it is
		// never the one to find it closed.
		IdleTimeout:    3 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

func http1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// sendAway has who still asks while we drain close its connection after the
// answer. A connection that we close may just be taking the next request, which
// is lost then; one that its client closes, having been told to, is not. Those
// on which nothing more is asked the client closes when they have been idle for
// long enough, if we linger until then.
func (s *Server) sendAway(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Ready is nil until the end was asked for.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	return nil
}

// Run serves until ctx ends; then it stops being ready and goes on answering
// for the time of Drain, and for that of Linger as long as there are connections.
// Requests under way are finished. The Server is used up afterwards.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("serve admission reviews: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	select {
	case err := <-served:
		return fmt.Errorf("serve admission reviews: %w", err)
	case <-time.After(s.drain):
	}
	s.connections.awaitNone(s.linger)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.server.Shutdown(grace); err != nil {
		return fmt.Errorf("stop serving admission reviews: %w", err)
	}
	return nil
}

// connections counts those that are open.
type connections struct {
	open atomic.Int64
	gone chan struct{} // receives when there is none left; holds one
}

// note is the server's ConnState.
func (c *connections) note(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateClosed:
		if c.open.Add(-1) > 0 {
			return
		}
		select {
		case c.gone <- struct{}{}:
		default:
		}
	case http.StateActive, http.StateIdle, http.StateHijacked: // open as before
	}
}

// awaitNone returns when there is none left, or the time is over.
func (c *connections) awaitNone(limit time.Duration) {
	over := time.After(limit)
	for c.open.Load() > 0 {
		select {
		case <-c.gone:
		case <-over:
			return
		}
	}
}
