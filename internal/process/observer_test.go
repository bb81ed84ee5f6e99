package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func testConfig(ready func() error) ObserverConfig {
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "keyroll_test_info", Help: "Set to one."})
	gauge.Set(1)
	registry.MustRegister(gauge)
	return ObserverConfig{Addr: "127.0.0.1:0", Gatherer: registry, Ready: ready, Log: slog.New(slog.DiscardHandler)}
}

func TestObserverAnswers(t *testing.T) {
	ready := func() error { return nil }
	unready := func() error { return errors.New("informer caches are not filled yet") }
	tests := map[string]struct {
		method, path string
		ready        func() error
		note         string
		pprof        bool
		wantStatus   int
		wantBody     string
	}{
		"alive whether ready or not":       {path: "/healthz", ready: unready, wantStatus: 200, wantBody: "ok\n"},
		"ready":                            {path: "/readyz", ready: ready, wantStatus: 200, wantBody: "ok\n"},
		"ready with a note":                {path: "/readyz", ready: ready, note: "order is wrong", wantStatus: 200, wantBody: "ok\nnote: order is wrong\n"},
		"not ready says why":               {path: "/readyz", ready: unready, wantStatus: 503, wantBody: "not ready: informer caches are not filled yet\n"},
		"metrics of the given registry":    {path: "/metrics", ready: ready, wantStatus: 200, wantBody: "keyroll_test_info 1\n"},
		"profiles are off unless asked":    {path: "/debug/pprof/", ready: ready, wantStatus: 404},
		"profiles when asked":              {path: "/debug/pprof/cmdline", ready: ready, pprof: true, wantStatus: 200},
		"nothing else is there":            {path: "/", ready: ready, wantStatus: 404},
		"and nothing can be written to it": {method: http.MethodPost, path: "/metrics", ready: ready, wantStatus: 405},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			config := testConfig(tc.ready)
			config.PProf = tc.pprof
			config.Note = func() string { return tc.note }
			recorder := httptest.NewRecorder()
			routes(config).ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, nil))
			if recorder.Code != tc.wantStatus {
				t.Errorf("status %d, want %d", recorder.Code, tc.wantStatus)
			}
			if !strings.Contains(recorder.Body.String(), tc.wantBody) {
				t.Errorf("body %q lacks %q", recorder.Body.String(), tc.wantBody)
			}
		})
	}
}

// A request that is under way when the process is told to stop gets its answer.
func TestObserverFinishesWhatItStarted(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	observer, err := NewObserver(testConfig(func() error {
		close(asked)
		<-release
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- observer.Run(ctx) }()

	type reply struct {
		status int
		err    error
	}
	replied := make(chan reply, 1)
	go func() {
		status, err := get(t.Context(), "http://"+observer.Addr().String()+"/readyz")
		replied <- reply{status, err}
	}()
	<-asked
	stop()
	waitUntilRefused(t, observer)
	close(release)
	if r := <-replied; r.err != nil || r.status != http.StatusOK {
		t.Errorf("request under way got %+v, want 200", r)
	}
	if err := <-ran; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func get(ctx context.Context, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func waitUntilRefused(t *testing.T, o *Observer) {
	t.Helper()
	for {
		if _, err := get(t.Context(), "http://"+o.Addr().String()+"/healthz"); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestObserverTellsOfATakenPort(t *testing.T) {
	config := testConfig(func() error { return nil })
	first, err := NewObserver(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.listener.Close() }()
	config.Addr = first.Addr().String()
	if _, err := NewObserver(config); err == nil {
		t.Error("a second observer on the same port was made, want an error")
	}
}

func TestObserverNeedsItsParts(t *testing.T) {
	tests := map[string]func(*ObserverConfig){
		"no gatherer": func(c *ObserverConfig) { c.Gatherer = nil },
		"no ready":    func(c *ObserverConfig) { c.Ready = nil },
		"no log":      func(c *ObserverConfig) { c.Log = nil },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			config := testConfig(func() error { return nil })
			spoil(&config)
			if _, err := NewObserver(config); err == nil {
				t.Error("want an error")
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	tests := map[string]struct {
		err      error
		want     int
		wantText string
	}{
		"no error":         {},
		"stopped by us":    {err: context.Canceled},
		"an error is told": {err: errors.New("read kubeconfig x: no such file"), want: 1, wantText: `"error":"read kubeconfig x: no such file"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if got := exitCode(tc.err, &stderr); got != tc.want {
				t.Errorf("exit code %d, want %d", got, tc.want)
			}
			if !strings.Contains(stderr.String(), tc.wantText) || (tc.wantText == "") != (stderr.Len() == 0) {
				t.Errorf("stderr %q, want %q", stderr.String(), tc.wantText)
			}
		})
	}
}
