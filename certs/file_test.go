package certs

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pair is two files that somebody else writes.
type pair struct{ cert, key string }

func newPair(t *testing.T) pair {
	dir := t.TempDir()
	return pair{cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")}
}

func (p pair) write(t *testing.T, data map[string][]byte) {
	t.Helper()
	for file, content := range map[string][]byte{p.cert: data["tls.crt"], p.key: data["tls.key"]} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFileFollowsTheFiles(t *testing.T) {
	files := newPair(t)
	synctest.Test(t, func(t *testing.T) {
		f, err := NewFile(FileConfig{CertFile: files.cert, KeyFile: files.key, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		run(t, f)
		time.Sleep(time.Hour) // more failed reads than cert-manager's default allows
		wantUnready(t, f, "were not read yet")

		issuer := issuingCA(t)
		files.write(t, issue(t, issuer))
		waitReady(t, 2*fileInterval, f)
		before := servedBy(t, f)

		// Half of a new pair is not served.
		renewed := issue(t, issuer)
		if err := os.WriteFile(files.cert, renewed["tls.crt"], 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * fileInterval)
		if servedBy(t, f) != before || f.Ready() != nil {
			t.Errorf("the former certificate is no longer served, or Ready = %v", f.Ready())
		}
		files.write(t, renewed)
		time.Sleep(2 * fileInterval)
		if servedBy(t, f) == before {
			t.Error("the renewed certificate is not served")
		}
		time.Sleep(2 * time.Hour)
		wantUnready(t, f, "expired at")
	})
}

func TestNewFileChecksItsConfig(t *testing.T) {
	tests := map[string]func(*FileConfig){
		"no certificate": func(c *FileConfig) { c.CertFile = "" },
		"no key":         func(c *FileConfig) { c.KeyFile = "" },
		"no log":         func(c *FileConfig) { c.Log = nil },
		"no registry":    func(c *FileConfig) { c.Registerer = nil },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			config := FileConfig{CertFile: "a", KeyFile: "b", Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
			spoil(&config)
			if _, err := NewFile(config); err == nil {
				t.Error("want an error")
			}
		})
	}
}
