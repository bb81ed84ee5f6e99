package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// auditPolicy writes one line per request, when it has been answered.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- level: Metadata
`

func (c *Cluster) auditPath() string { return filepath.Join(c.logs, "audit.log") }

// Request is one answered request to the API server, as its audit log has it.
// A watch is answered when it ends.
type Request struct {
	User, Agent                  string
	Verb                         string // get, list, watch, create, update, patch, delete, deletecollection
	Group, Resource, Subresource string
	Namespace, Name              string
	URI                          string
	Code                         int
	Received                     time.Time
}

// Requests that the API server received since the given time, in the order of
// their answers. A request may appear a moment after its client has the answer.
func (c *Cluster) Requests(since time.Time) (Requests, error) {
	if !c.options.AuditPolicy {
		return nil, fmt.Errorf("the cluster was started without Options.AuditPolicy")
	}
	file, err := os.Open(c.auditPath())
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	return readRequests(file, since)
}

func readRequests(log io.Reader, since time.Time) (Requests, error) {
	var all Requests
	for lines := bufio.NewReader(log); ; {
		line, err := lines.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return all, nil // a line without an end is still being written
		case err != nil:
			return nil, err
		}
		r, err := parseRequest(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("audit log: %w", err)
		case !r.Received.Before(since):
			all = append(all, r)
		}
	}
}

func parseRequest(line []byte) (Request, error) {
	var e struct {
		Verb, UserAgent, RequestURI string
		User                        struct{ Username string }
		ObjectRef                   struct{ Resource, Subresource, Namespace, Name, APIGroup string }
		ResponseStatus              struct{ Code int }
		RequestReceivedTimestamp    time.Time
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Request{}, err
	}
	return Request{
		User: e.User.Username, Agent: e.UserAgent,
		Verb:  e.Verb,
		Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		URI: e.RequestURI, Code: e.ResponseStatus.Code, Received: e.RequestReceivedTimestamp,
	}, nil
}

// Requests can be narrowed and counted.
type Requests []Request

// Where keeps those that keep is true for.
func (r Requests) Where(keep func(Request) bool) Requests {
	var kept Requests
	for _, request := range r {
		if keep(request) {
			kept = append(kept, request)
		}
	}
	return kept
}

// By keeps those of one user, such as system:serviceaccount:NAMESPACE:NAME.
func (r Requests) By(user string) Requests {
	return r.Where(func(q Request) bool { return q.User == user })
}

// Count is the number of requests for each "verb resource" or "verb resource/subresource".
func (r Requests) Count() map[string]int {
	count := map[string]int{}
	for _, q := range r {
		count[strings.TrimSuffix(q.Verb+" "+q.Resource+"/"+q.Subresource, "/")]++
	}
	return count
}

// APIServerMetrics are what the API server counts about itself.
func (c *Cluster) APIServerMetrics(ctx context.Context) (Metrics, error) {
	text, err := c.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics of the API server: %w", err)
	}
	return ParseMetrics(string(text))
}

// WebhookCalls is how often the API server has called the admission webhook of
// that name (such as pods.keyroll.dev) since it started.
func (c *Cluster) WebhookCalls(ctx context.Context, webhook string) (int, error) {
	m, err := c.APIServerMetrics(ctx)
	if err != nil {
		return 0, err
	}
	return int(m.Sum("apiserver_admission_webhook_request_total", map[string]string{"name": webhook})), nil
}
