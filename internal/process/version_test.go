package process

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionOf(t *testing.T) {
	module := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123"}
	tests := map[string]struct {
		info *debug.BuildInfo
		want string
	}{
		"no build info":           {want: "devel"},
		"a module's version":      {info: module("v1.2.3"), want: "v1.2.3"},
		"a commit":                {info: module("(devel)", revision), want: "devel-0123456789ab"},
		"a commit and more":       {info: module("", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), want: "devel-0123456789ab-dirty"},
		"a tree without a commit": {info: module("(devel)"), want: "devel"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := versionOf(tc.info); got != tc.want {
				t.Errorf("version %q, want %q", got, tc.want)
			}
		})
	}
}

func TestReleaseVersionWins(t *testing.T) {
	version = "v9.9.9"
	t.Cleanup(func() { version = "" })
	if got := Version(); got != "v9.9.9" {
		t.Errorf("version %q, want v9.9.9", got)
	}
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: t}}]
`

func TestRESTConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := RESTConfig(file, 50, 100)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://127.0.0.1:6443" || cfg.QPS != 50 || cfg.Burst != 100 || !strings.HasPrefix(cfg.UserAgent, "keyroll-") {
		t.Errorf("host %q, qps %v, burst %d, user agent %q", cfg.Host, cfg.QPS, cfg.Burst, cfg.UserAgent)
	}
	if _, err := RESTConfig(file+".missing", 0, 0); err == nil || !strings.Contains(err.Error(), ".missing") {
		t.Errorf("a missing file gives %v, want an error that names it", err)
	}
}
