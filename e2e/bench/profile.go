package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keyroll.dev/e2e/install"
)

// saveHeap keeps what a process holds in memory, for go tool pprof, if logs are kept.
func saveHeap(ctx context.Context, p *install.Process, what string) error {
	return save(ctx, p, "heap?gc=1", what+".heap")
}

// saveCPU keeps what a process spends CPU time on in the seconds from now on, if
// logs are kept. It answers at once; what it returns waits for the end of it.
func saveCPU(ctx context.Context, p *install.Process, what string, seconds int) (wait func() error) {
	ended := make(chan error, 1)
	go func() { ended <- save(ctx, p, fmt.Sprintf("profile?seconds=%d", seconds), what+".cpu") }()
	return func() error { return <-ended }
}

func save(ctx context.Context, p *install.Process, profile, name string) error {
	if *logs == "" {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ObserveAddress()+"/debug/pprof/"+profile, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	for begin := time.Now(); err != nil && time.Since(begin) < 5*time.Second; { // it may just have started
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		response, err = http.DefaultClient.Do(request)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("profile of %s: %s", p.Name(), response.Status)
	}
	if err := os.MkdirAll(*logs, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(*logs, strings.ReplaceAll(name, " ", "-")))
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, response.Body); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
