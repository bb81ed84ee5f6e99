package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// server is one that answers reviews: the webhook or the floor.
type server struct {
	name, address string
	pid           int
	roots         *x509.CertPool
}

func newServer(name, address string, pid int, ca []byte) (server, error) {
	s := server{name: name, address: address, pid: pid, roots: x509.NewCertPool()}
	if !s.roots.AppendCertsFromPEM(ca) {
		return server{}, fmt.Errorf("%s has no CA certificate", name)
	}
	return s, nil
}

func (s server) tls() *tls.Config { return &tls.Config{RootCAs: s.roots, ServerName: "localhost"} }

// loaded is what a load has measured.
type loaded struct {
	rate     float64       // reviews answered per second
	p50, p99 time.Duration // until the answer
	cpu      time.Duration // of the server, per review
	peak     float64       // of its memory, in MiB
}

// measureBoth loads two servers in turn, some rounds each, so that what disturbs
// the machine for a while disturbs both. The figures are the medians of the
// rounds; the peak is that of all.
func measureBoth(ctx context.Context, a, b server, body []byte, connections int) (ofA, ofB loaded, err error) {
	const rounds = 3
	var as, bs []loaded
	for range rounds {
		for _, s := range []struct {
			server
			to *[]loaded
		}{{a, &as}, {b, &bs}} {
			l, err := s.measure(ctx, body, connections)
			if err != nil {
				return loaded{}, loaded{}, err
			}
			*s.to = append(*s.to, l)
		}
	}
	return middle(as), middle(bs), nil
}

// middle is the median of each figure, and the highest of the peaks.
func middle(all []loaded) loaded {
	peak := slices.MaxFunc(all, func(a, b loaded) int { return cmp.Compare(a.peak, b.peak) }).peak
	return loaded{
		rate: medianOf(all, func(l loaded) float64 { return l.rate }),
		p50:  medianOf(all, func(l loaded) time.Duration { return l.p50 }),
		p99:  medianOf(all, func(l loaded) time.Duration { return l.p99 }),
		cpu:  medianOf(all, func(l loaded) time.Duration { return l.cpu }),
		peak: peak,
	}
}

func medianOf[T cmp.Ordered](all []loaded, of func(loaded) T) T {
	var values []T
	for _, l := range all {
		values = append(values, of(l))
	}
	return median(values)
}

// median sorts the values.
func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// measure is load after a warm-up; the server's peak of memory begins anew.
func (s server) measure(ctx context.Context, body []byte, connections int) (loaded, error) {
	const during, warmUp = time.Second, 200 * time.Millisecond
	if _, err := s.load(ctx, body, connections, warmUp); err != nil {
		return loaded{}, err
	}
	if err := forgetPeak(s.pid); err != nil {
		return loaded{}, err
	}
	l, err := s.load(ctx, body, connections, time.Duration(scaled(int(during))))
	if err != nil {
		return loaded{}, err
	}
	l.peak, err = peakOf(s.pid)
	return l, err
}

// load asks the same over this many connections for a while, each review when
// the one before it is answered, over TLS and HTTP/1.1 with keep-alive.
func (s server) load(ctx context.Context, body []byte, connections int, during time.Duration) (loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, during+time.Minute)
	defer cancel()
	all := make([]connection, connections)
	var errs []error
	for i := range all {
		c, err := s.dial(ctx, body)
		errs = append(errs, err)
		if err == nil {
			all[i] = c
			defer c.close()
		}
	}
	if err := errors.Join(errs...); err != nil {
		return loaded{}, err
	}
	before, err := cpuOf(s.pid)
	if err != nil {
		return loaded{}, err
	}
	begun := time.Now()
	latencies, err := askAll(ctx, all, begun.Add(during))
	took := time.Since(begun)
	if err != nil {
		return loaded{}, fmt.Errorf("%s under load: %w", s.name, err)
	}
	after, err := cpuOf(s.pid)
	n := len(latencies)
	slices.Sort(latencies)
	return loaded{
		rate: float64(n) / took.Seconds(), p50: latencies[n/2], p99: latencies[n*99/100],
		cpu: (after - before) / time.Duration(n),
	}, err
}

// askAll asks over all connections until the end, and answers how long each review took.
func askAll(ctx context.Context, all []connection, end time.Time) ([]time.Duration, error) {
	latencies, errs := make([][]time.Duration, len(all)), make([]error, len(all))
	var running sync.WaitGroup
	for i := range all {
		running.Go(func() {
			for first := true; errs[i] == nil && (first || time.Now().Before(end)) && ctx.Err() == nil; first = false {
				asked := time.Now()
				errs[i] = all[i].ask()
				latencies[i] = append(latencies[i], time.Since(asked))
			}
		})
	}
	running.Wait()
	return slices.Concat(latencies...), errors.Join(append(errs, ctx.Err())...)
}

// connection sends the same request again and again. It is written by hand,
// because the client shares the processors with the server.
type connection struct {
	conn    *tls.Conn
	reader  *bufio.Reader
	request []byte
}

func (s server) dial(ctx context.Context, body []byte) (connection, error) {
	dialer := tls.Dialer{Config: s.tls()}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return connection{}, err
	}
	request := fmt.Appendf(nil, "POST /pods?timeout=5s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", s.address, len(body))
	return connection{conn: conn.(*tls.Conn), reader: bufio.NewReader(conn), request: append(request, body...)}, nil
}

func (c connection) close() { _ = c.conn.Close() }

func (c connection) ask() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"allowed":true`))) {
		err = fmt.Errorf("status %d: %.300s", response.StatusCode, answer)
	}
	return err
}

// post sends a body by itself, and answers the status and how long that took.
func (s server) post(ctx context.Context, contentType string, body io.Reader) (status int, answer []byte, took time.Duration, err error) {
	transport := &http.Transport{TLSClientConfig: s.tls()}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.address+"/pods?timeout=5s", body)
	if err != nil {
		return 0, nil, 0, err
	}
	request.Header.Set("Content-Type", contentType)
	begun := time.Now()
	response, err := transport.RoundTrip(request)
	took = time.Since(begun)
	if err != nil {
		return 0, nil, took, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, took, err
}
