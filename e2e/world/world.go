// Package world puts everything of a test or demo together: a cluster, a vault,
// the CSI driver, and Keyroll as a user would install it.
//
//	cluster ◄── driver ──► vault
//	   ▲
//	   └── webhook, watcher (own manifests, own ServiceAccounts)
package world

import (
	"context"
	"fmt"

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
	Vault   *vault.Service
	Driver  *driver.Driver
	Keyroll *install.Installation
	Webhook *install.Process
	Watcher *install.Process
}

// New fills a running cluster and returns when webhook and watcher are ready.
// All of it ends with the cluster.
func New(ctx context.Context, c *cluster.Cluster, nodes []string, o Options) (*World, error) {
	if o.Timings == (driver.Timings{}) {
		o.Timings = driver.Fast()
	}
	w := &World{Cluster: c, Vault: vault.New()}
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
	if w.Keyroll, err = install.Apply(ctx, c, o.Install); err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	if w.Webhook, w.Watcher, err = w.Keyroll.StartReady(ctx); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	return w, nil
}

// StopWatcher ends the watcher as a kubelet would.
func (w *World) StopWatcher() error { return w.Watcher.Stop() }

// StartWatcher starts another watcher in place of one that has ended, and
// returns when it is ready.
func (w *World) StartWatcher(ctx context.Context) error {
	watcher, err := w.Keyroll.StartWatcher(ctx)
	if err != nil {
		return err
	}
	w.Watcher = watcher
	return watcher.WaitReady(ctx)
}
