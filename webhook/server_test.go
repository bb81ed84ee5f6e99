package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// certificate is self-signed, for 127.0.0.1, with the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// running is a server that runs, and a client that trusts it.
type running struct {
	*Server
	client *http.Client
	stop   context.CancelFunc
	ended  chan error
}

func (r *running) url(path string) string { return "https://" + r.Addr().String() + path }

func run(t *testing.T, handler http.Handler, drain time.Duration) *running {
	t.Helper()
	return runLingering(t, handler, drain, 0)
}

func runLingering(t *testing.T, handler http.Handler, drain, linger time.Duration) *running {
	t.Helper()
	cert, pool := certificate(t)
	s, err := NewServer(ServerConfig{
		Addr: "127.0.0.1:0", Handler: handler, Drain: drain, Linger: linger, Log: slog.New(slog.DiscardHandler),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	r := &running{Server: s, client: &http.Client{Transport: transport}, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	t.Cleanup(transport.CloseIdleConnections)
	return r
}

func (r *running) post(t *testing.T, path string, body io.Reader) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url(path), body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return r.client.Do(request)
}

func TestServerAnswersByHTTPS(t *testing.T) {
	h, _, _ := newHandler(t, shop())
	server := run(t, h, 0)
	response, err := server.post(t, "/pods", bytes.NewReader(reviewOf(t, request("Pod", pod(""), nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"allowed":true`)) {
		t.Errorf("status %d, body %s, error %v", response.StatusCode, body, err)
	}
	if response.ProtoMajor != 1 {
		t.Errorf("spoke %s, the API server would speak HTTP/1.1", response.Proto)
	}
	server.stop()
	if err := <-server.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestServerRefusesOldTLS(t *testing.T) {
	server := run(t, http.NotFoundHandler(), 0)
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}
	if _, err := dialer.DialContext(t.Context(), "tcp", server.Addr().String()); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2 was answered with %v", err)
	}
	server.stop()
	if err := <-server.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// awaitDraining waits until the server has heard that it is to end.
func (r *running) awaitDraining() {
	for r.Ready() == nil {
		time.Sleep(time.Millisecond)
	}
}

func TestServerFinishesWhatItStarted(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := run(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.WriteHeader(http.StatusNoContent)
	}), 0)
	answered := make(chan error, 1)
	go func() {
		_, err := server.expect(t)
		answered <- err
	}()
	<-arrived
	server.stop()
	server.awaitDraining()
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := <-server.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// Between the end of readiness and the last Endpoints update requests still come;
// whoever sends one is told to go elsewhere with the next.
func TestServerAnswersWhileItDrains(t *testing.T) {
	server := run(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}), time.Hour)
	if err := server.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if last, err := server.expect(t); err != nil || last {
		t.Errorf("an early request: the last on its connection: %v, error %v", last, err)
	}
	server.stop()
	server.awaitDraining()
	if last, err := server.expect(t); err != nil || !last {
		t.Errorf("a late request: the last on its connection: %v, error %v", last, err)
	}
	if err := server.server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-server.ended; err == nil {
		t.Error("no error, though its listener was taken away")
	}
}

// An idle connection is not taken from a client, who may just be using it.
func TestServerLeavesIdleConnectionsToTheirClients(t *testing.T) {
	noContent := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for name, end := range map[string]func(*testing.T, *running){
		"the client uses it once more": func(t *testing.T, server *running) {
			if last, err := server.expect(t); err != nil || !last {
				t.Errorf("the last on its connection: %v, error %v", last, err)
			}
		},
		"the client closes it": func(_ *testing.T, server *running) { server.client.CloseIdleConnections() },
	} {
		t.Run(name, func(t *testing.T) {
			server := runLingering(t, noContent, 0, time.Hour)
			if _, err := server.expect(t); err != nil {
				t.Fatal(err)
			}
			server.stop()
			server.awaitDraining()
			select {
			case err := <-server.ended:
				t.Fatalf("ended with a connection open: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			end(t, server)
			if err := <-server.ended; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
	t.Run("for as long as it may linger", func(t *testing.T) {
		server := runLingering(t, noContent, 0, 50*time.Millisecond)
		if _, err := server.expect(t); err != nil {
			t.Fatal(err)
		}
		server.stop()
		if err := <-server.ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// expect answers whether the connection was closed after the answer.
func (r *running) expect(t *testing.T) (last bool, err error) {
	response, err := r.post(t, "/", http.NoBody)
	if err != nil {
		return false, err
	}
	if response.StatusCode != http.StatusNoContent {
		err = errors.New(response.Status)
	}
	return response.Close, errors.Join(err, response.Body.Close())
}

func TestServerTellsOfATakenPort(t *testing.T) {
	var listen net.ListenConfig
	taken, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = NewServer(ServerConfig{
		Addr: taken.Addr().String(), Handler: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
	})
	if err == nil {
		t.Error("no error")
	}
}
