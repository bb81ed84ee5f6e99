package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"keyroll.dev/e2e/vault"
)

// clientOfAll is an identity that every ServiceAccount may be, and that may read
// every vault: for whoever plays with the cluster from outside.
const clientOfAll = "88888888-7777-6666-5555-444444444444"

// outside is how other processes do what people do with az and kubectl.
type outside struct {
	address string
	watcher chan watcherRequest
}

// watcherRequest asks that a watcher runs, or that none does.
type watcherRequest struct {
	run  bool
	done chan error
}

// open listens until ctx ends.
//
//	PUT /VAULT/secret/NAME    rotates, see vault.Service.Handler
//	PUT /watcher/running      starts the watcher, DELETE ends it
func (s *stage) open(ctx context.Context) (*outside, error) {
	s.world.Vault.Allow(vault.Identity{TenantID: tenantID, ClientID: clientOfAll})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &outside{address: "http://" + listener.Addr().String(), watcher: make(chan watcherRequest)}
	mux := http.NewServeMux()
	mux.Handle("/", s.world.Vault.Handler())
	mux.HandleFunc("PUT /watcher/running", func(w http.ResponseWriter, r *http.Request) { o.ask(w, r, true) })
	mux.HandleFunc("DELETE /watcher/running", func(w http.ResponseWriter, r *http.Request) { o.ask(w, r, false) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // ends with ctx
	return o, nil
}

// ask leaves the work to who looks after the watcher, and answers when it is done.
func (o *outside) ask(w http.ResponseWriter, r *http.Request, run bool) {
	request := watcherRequest{run: run, done: make(chan error, 1)}
	select {
	case o.watcher <- request:
	case <-r.Context().Done():
		return
	}
	if err := <-request.done; err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// variables are what make e2e-cluster reads, for this cluster.
func (o *outside) variables() []string {
	curl := func(args string) string { return "curl -fsS " + args }
	return []string{
		"E2E_POLL=2s", "E2E_NO_EXEC=yes", "E2E_VAULT=e2e-kv", "E2E_TENANT_ID=" + tenantID, "E2E_CLIENT_ID=" + clientOfAll,
		"E2E_ROTATE=" + curl(fmt.Sprintf(`-X PUT --data-binary "$VALUE" "%s/$VAULT/secret/$NAME"`, o.address)),
		"E2E_STOP_WATCHER=" + curl("-X DELETE "+o.address+"/watcher/running"),
		"E2E_START_WATCHER=" + curl("-X PUT "+o.address+"/watcher/running"),
	}
}

// serve ends or starts the watcher.
func (s *stage) serve(ctx context.Context, r watcherRequest) error {
	if !r.run {
		return s.world.StopWatcher(ctx)
	}
	select {
	case <-s.world.Watcher.Done():
		return s.world.StartWatcher(ctx)
	default:
		return nil // it runs
	}
}
