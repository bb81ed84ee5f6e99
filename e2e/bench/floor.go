package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/internal/daemon"
)

// floorCommand makes the bench run as the floor server: a process of its own,
// so that its CPU time and memory are its own.
const floorCommand = "floor"

// serveFloor answers every review the same, over TLS: what no webhook in Go can
// do with less. It reads the body, for it has to arrive, and looks at nothing.
func serveFloor(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(floorCommand, flag.ContinueOnError)
	listen := fs.String("listen", "", "address")
	cert, key := fs.String("cert", "", "PEM file"), fs.String("key", "", "PEM file")
	answerFile := fs.String("answer", "", "file with the answer")
	if err := fs.Parse(args); err != nil {
		return err
	}
	answer, err := os.ReadFile(*answerFile)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              *listen,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: 3 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
			_, _ = w.Write(answer)
		}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServeTLS(*cert, *key); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// floor is a running floor server.
type floor struct {
	*daemon.Process
	address string
}

// startFloor starts a server that answers with the file's content.
func startFloor(ctx context.Context, logs, cert, key, answer string) (*floor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := cluster.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort("localhost", strconv.Itoa(ports[0]))
	p, err := daemon.Start(daemon.Spec{
		Name: floorCommand, Path: self, Logs: logs,
		Args: []string{floorCommand, "-listen", address, "-cert", cert, "-key", key, "-answer", answer},
	})
	if err != nil {
		return nil, err
	}
	f := &floor{Process: p, address: address}
	return f, f.wait(ctx)
}

// wait returns once the server listens.
func (f *floor) wait(ctx context.Context) error {
	const patience, poll = 10 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dialer net.Dialer
	for {
		connection, err := dialer.DialContext(ctx, "tcp", f.address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-f.Done():
			return errors.Join(errors.New("the floor server has ended"), f.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait for the floor server: %w", err)
		case <-time.After(poll):
		}
	}
}
