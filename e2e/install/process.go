package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/internal/daemon"
)

// Process is a running webhook or watcher: a replica, without its pod. Kill,
// Logs, Tail, Done, Pause and so on are those of daemon.Process.
type Process struct {
	*daemon.Process
	observe string
	listen  string      // of a webhook
	serves  func() bool // of a webhook: whether new connections are given to it
}

// ListenAddress is where a webhook takes connections itself, not through the balancer.
func (p *Process) ListenAddress() string { return p.listen }

// ObserveAddress is where it answers /readyz, /healthz and /metrics.
func (p *Process) ObserveAddress() string { return p.observe }

// Stop ends the process as a kubelet ends its pod: SIGTERM, and SIGKILL only
// after the grace that our Deployments leave; that is an error.
func (p *Process) Stop() error {
	const grace = 2 * time.Minute
	return p.Process.Stop(grace)
}

// Ready is nil if the process says so, else the reason that it gives.
func (p *Process) Ready(ctx context.Context) error {
	body, status, err := p.get(ctx, "/readyz")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/readyz is %d: %s", status, body)
	}
	return err
}

// WaitReady waits for the process to be ready, and a webhook to be called.
func (p *Process) WaitReady(ctx context.Context) error {
	const patience, poll = 2 * time.Minute, 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := p.Ready(ctx)
		if err == nil && (p.serves == nil || p.serves()) {
			return nil
		}
		select {
		case <-p.Done():
			return errors.Join(fmt.Errorf("%s ended before it was ready", p.Name()), p.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to be ready: %w: %w\n%s", p.Name(), ctx.Err(), cmp.Or(err, errNotCalled), p.Tail(25))
		case <-time.After(poll):
		}
	}
}

var errNotCalled = errors.New("the balancer does not call it")

// Metrics are those that the process shows.
func (p *Process) Metrics(ctx context.Context) (cluster.Metrics, error) {
	body, status, err := p.get(ctx, "/metrics")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/metrics of %s is %d", p.Name(), status)
	}
	if err != nil {
		return nil, err
	}
	return cluster.ParseMetrics(body)
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// HeapInUse is how many bytes are in use on the heap after a collection, of a process
// that was started with --pprof.
func (p *Process) HeapInUse(ctx context.Context) (int64, error) {
	body, status, err := p.get(ctx, "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, err
	}
	found := heapAlloc.FindStringSubmatch(body)
	if found == nil {
		return 0, fmt.Errorf("no HeapAlloc in the profile of %s: %d, %.200s", p.Name(), status, body)
	}
	return strconv.ParseInt(found[1], 10, 64)
}

func (p *Process) get(ctx context.Context, path string) (body string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.observe+path, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := observer.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	data, err := io.ReadAll(response.Body)
	return string(data), response.StatusCode, err
}

// observer makes a connection per request, as probes do: an idle one would hold
// up the stop of the process that it looks at.
var observer = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}
