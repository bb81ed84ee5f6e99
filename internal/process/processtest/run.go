// Package processtest runs a binary of ours in a test, the whole of it but for
// main, against an API server that answers nothing but "not found", and looks
// at what it shows and logs.
package processtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Binary is a binary that runs.
type Binary struct {
	t    *testing.T
	stop func()

	mu    sync.Mutex
	lines []map[string]any
	more  chan struct{} // closed and renewed with each line
}

// Run starts a binary by its run function, with a kubeconfig and ports of its own
// besides args. It ends with the test, if not before.
func Run(t *testing.T, run func(ctx context.Context, args []string, stdout, stderr io.Writer) error, args ...string) *Binary {
	t.Helper()
	b := &Binary{t: t, more: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	ended, logged := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- run(ctx, append([]string{"--kubeconfig=" + kubeconfig(t), "--observe=127.0.0.1:0"}, args...), io.Discard, write)
		_ = write.Close()
	}()
	go func() {
		defer close(logged)
		b.read(read)
	}()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		<-logged
	})
	t.Cleanup(b.stop)
	return b
}

// Stop ends the binary, and waits until it has logged its last line.
func (b *Binary) Stop() { b.stop() }

// read takes the log, of which every line must be a JSON object.
func (b *Binary) read(log io.Reader) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line map[string]any
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		if err := decoder.Decode(&line); err != nil || decoder.More() {
			b.t.Errorf("a line of the log is no JSON object: %s", lines.Text())
			continue
		}
		b.mu.Lock()
		b.lines = append(b.lines, line)
		close(b.more)
		b.more = make(chan struct{})
		b.mu.Unlock()
	}
}

// Logged waits for a line of the log that is as wanted, and answers it.
func (b *Binary) Logged(what string, wanted func(line map[string]any) bool) map[string]any {
	b.t.Helper()
	patience := time.After(time.Minute)
	for seen := 0; ; {
		b.mu.Lock()
		lines, more := b.lines[seen:], b.more
		b.mu.Unlock()
		seen += len(lines)
		for _, line := range lines {
			if wanted(line) {
				return line
			}
		}
		select {
		case <-more:
		case <-patience:
			b.t.Fatalf("the log does not tell %s", what)
		}
	}
}

// Address is one that the binary says it listens on: "observe", "listen".
func (b *Binary) Address(name string) string {
	b.t.Helper()
	line := b.Logged("the address to "+name, func(line map[string]any) bool { return line[name] != nil })
	return line[name].(string)
}

// Metrics are what the binary shows to Prometheus.
func (b *Binary) Metrics() Exposition {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://"+b.Address("observe")+"/metrics", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.t.Fatalf("scrape: %s, %v", response.Status, err)
	}
	return Exposition(text)
}

// kubeconfig names an API server that has nothing.
func kubeconfig(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"not here"}`)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: '" + server.URL + "'}}]\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
