package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyroll.dev/internal/process/processtest"
)

const metricsDocs, ownMetrics = "../../docs/metrics.md", "keyroll_webhook_"

func TestMetricsAreDocumented(t *testing.T) {
	metrics := processtest.Run(t, run, "--listen=127.0.0.1:0", "--drain=0s").Metrics()
	metrics.CheckDocs(t, metricsDocs, ownMetrics)
	metrics.Lint(t)
}

func TestMetricsOfACertificateThatOthersIssueAreDocumented(t *testing.T) {
	binary := processtest.Run(t, run, "--listen=127.0.0.1:0", "--drain=0s", "--cert-secret=keyroll-webhook-tls")
	binary.Metrics().CheckWithinDocs(t, metricsDocs, ownMetrics)
}

// What client-go has to say of an API server that has nothing, and net/http of
// a client that does not speak TLS, comes as JSON, like our own lines.
func TestTheLogIsOneStream(t *testing.T) {
	binary := processtest.Run(t, run, "--listen=127.0.0.1:0", "--drain=0s", "--log-level=debug")
	binary.Logged("what client-go has to say", func(line map[string]any) bool { return line["logger"] != nil })
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", binary.Address("listen"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	binary.Logged("of the client that does not speak TLS", func(line map[string]any) bool {
		message, _ := line["msg"].(string)
		return line["level"] == "WARN" && strings.Contains(message, "TLS handshake error")
	})
	binary.Stop()
}

// until is a part that runs until it is told to end.
func until(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestSupportOutlivesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		start := time.Now()
		var supported time.Duration
		err := together(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute) // requests under way
			return nil
		}, func(ctx context.Context) error {
			<-ctx.Done()
			supported = time.Since(start)
			return nil
		})
		if want := time.Second + time.Minute; supported != want || err != nil {
			t.Errorf("support ended after %s, want %s; error %v", supported, want, err)
		}
	})
}

func TestPartThatEndsEndsAll(t *testing.T) {
	broken := errors.New("broken")
	fails := func(context.Context) error { return broken }
	tests := map[string]struct {
		server  func(context.Context) error
		support func(context.Context) error
		want    error
	}{
		"a support fails":   {until, fails, broken},
		"the server fails":  {fails, until, broken},
		"a support is done": {until, func(context.Context) error { return nil }, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := together(t.Context(), tc.server, until, tc.support); !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
			})
		})
	}
}
