// Package world puts everything of a test or demo together: a cluster, a vault,
// the CSI driver, and Keyroll as a user would install it.
//
//	New    cluster ◄── driver ──► vault                              models, which tests steer
//	          ▲
//	          └── webhook, watcher (own manifests, own ServiceAccounts)
//	Adopt  a cluster that has all of that: the driver, Keyroll, and a vault that
//	       a command rotates
//
// What differs between the two is behind [Content]. What only models can do
// needs a World that [World.Modelled] says yes to.
package world

import (
	"context"
	"fmt"
	"time"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/vault"
)

// Options of a world. The zero value has the older driver, which polls every
// two seconds, and Keyroll with install.FastWatcher.
type Options struct {
	Generation driver.Generation
	Timings    driver.Timings // zero: driver.Fast
	Install    install.Options
}

// World is a cluster in which Keyroll runs.
type World struct {
	*cluster.Cluster
	Content
	Pace     Pace
	Identity Identity

	// What follows is there only if the world is modelled.

	Vault   *vault.Service
	Driver  *driver.Driver
	Keyroll *install.Installation
	Webhook *install.Process
	Watcher *install.Process

	given *Given // nil: modelled
}

// Identity is who reads the vaults for the pods of all stories.
type Identity struct{ TenantID, ClientID string }

// Pace is how long things take in a world.
type Pace struct {
	Patience time.Duration // with whatever is to happen
	Quiet    time.Duration // after which what is not to happen would have: several polls
}

// paceOf is the pace where the driver polls that often.
func paceOf(poll time.Duration) Pace {
	return Pace{Patience: 170*time.Second + 5*poll, Quiet: 3 * poll}
}

// TenantID and ClientID are those of the identity in a modelled world.
const (
	TenantID = "11111111-2222-3333-4444-555555555555"
	ClientID = "99999999-8888-7777-6666-555555555555"
)

// New fills a running cluster and returns when webhook and watcher are ready.
// All of it ends with the cluster.
func New(ctx context.Context, c *cluster.Cluster, nodes []string, o Options) (*World, error) {
	if o.Timings == (driver.Timings{}) {
		o.Timings = driver.Fast()
	}
	w := &World{Cluster: c, Vault: vault.New(), Pace: paceOf(o.Timings.PollInterval), Identity: Identity{TenantID, ClientID}}
	var err error
	w.Driver, err = driver.New(driver.Config{
		REST: c.Admin(), Vault: w.Vault, Nodes: nodes,
		Generation: o.Generation, RotationEnabled: true, Timings: o.Timings,
	})
	if err != nil {
		return nil, fmt.Errorf("driver: %w", err)
	}
	// The driver outlives ctx, which may be that of the set-up alone.
	if err := w.Driver.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("driver: %w", err)
	}
	c.AtStop(w.Driver.Stop)
	w.Content = modelled{w.Vault, w.Driver}
	if w.Keyroll, err = install.Apply(ctx, c, o.Install); err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	if w.Webhook, w.Watcher, err = w.Keyroll.StartReady(ctx); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	return w, nil
}

// Modelled reports whether driver and vault are models.
func (w *World) Modelled() bool { return w.given == nil }

// On is the same world for pods on nodes that have a driver of their own.
func (w *World) On(d *driver.Driver) *World {
	other := *w
	other.Driver, other.Content = d, modelled{w.Vault, d}
	return &other
}

// ShowLogs prints the end of webhook's and watcher's logs if the test fails.
func (w *World) ShowLogs(t install.Failing) {
	t.Helper()
	if w.Modelled() {
		w.Keyroll.ShowLogs(t)
		return
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", w.given.logs(w.Cluster))
		}
	})
}

// StopWatcher ends the watcher as a kubelet would.
func (w *World) StopWatcher(ctx context.Context) error {
	if w.Modelled() {
		return w.Watcher.Stop()
	}
	return w.given.stopWatcher(ctx)
}

// StartWatcher starts another watcher in place of one that has ended, and
// returns when it is ready.
func (w *World) StartWatcher(ctx context.Context) error {
	if !w.Modelled() {
		return w.given.startWatcher(ctx)
	}
	watcher, err := w.Keyroll.StartWatcher(ctx)
	if err != nil {
		return err
	}
	w.Watcher = watcher
	return watcher.WaitReady(ctx)
}
