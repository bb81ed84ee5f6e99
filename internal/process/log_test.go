package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
)

// speak writes one line through each way that our code and our libraries log.
func speak(t *testing.T, level slog.Level) (lines []string) {
	t.Helper()
	var out bytes.Buffer
	log := NewLogger(&out, level)
	t.Cleanup(klog.ClearLogger)

	log.Info("Ours", "pod", "shop/web")
	log.Debug("Ours in detail")
	klog.InfoS("Client", "pod", "shop/web")
	klog.V(2).InfoS("Client, spoken louder")
	klog.V(4).InfoS("Client in detail")
	klog.V(6).InfoS("Client in painful detail")
	klog.ErrorS(errors.New("refused"), "Client error")
	klog.Infof("formatted %d", 1)
	library := logr.FromContextOrDiscard(WithLogger(t.Context(), log))
	library.Info("Library")
	library.V(4).Info("Library in detail")
	klog.Flush()

	for line := range strings.Lines(out.String()) {
		var entry struct {
			Time, Level, Msg, Pod, Err string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("line is not JSON: %v: %s", err, line)
		}
		if entry.Time == "" {
			t.Errorf("line without time: %s", line)
		}
		lines = append(lines, strings.TrimRight(strings.Join([]string{entry.Level, entry.Msg, entry.Pod, entry.Err}, "|"), "|"))
	}
	return lines
}

func TestAllLoggersShareOneJSONStream(t *testing.T) {
	tests := map[string]struct {
		level slog.Level
		want  []string
	}{
		"at INFO the details stay out": {
			level: slog.LevelInfo,
			want: []string{
				"INFO|Ours|shop/web", "INFO|Client|shop/web", "ERROR|Client error||refused", "INFO|formatted 1", "INFO|Library",
			},
		},
		"at DEBUG klog's V(4) comes in": {
			level: slog.LevelDebug,
			want: []string{
				"INFO|Ours|shop/web", "DEBUG|Ours in detail", "INFO|Client|shop/web", "DEBUG+2|Client, spoken louder", "DEBUG|Client in detail",
				"ERROR|Client error||refused", "INFO|formatted 1", "INFO|Library", "DEBUG|Library in detail",
			},
		},
		"at ERROR only errors are left": {
			level: slog.LevelError,
			want:  []string{"ERROR|Client error||refused"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, speak(t, tc.level)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}
