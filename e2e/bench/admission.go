package main

import (
	"context"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/install"
)

// admission measures the webhook.
func admission(ctx context.Context, r *report) error {
	r.say("boot a control plane and the webhook")
	c, err := cluster.Start(ctx, cluster.Options{Nodes: -1, Out: r.progress})
	if err != nil {
		return err
	}
	defer c.Stop()
	keyroll, err := install.Apply(ctx, c, install.Options{})
	if err != nil {
		return err
	}
	webhook, err := keyroll.StartWebhook(ctx)
	if err != nil {
		return err
	}
	if err := webhook.WaitReady(ctx); err != nil {
		return err
	}
	peak, err := peakOf(webhook.Pid())
	if err != nil {
		return err
	}
	r.add(figure{what: "memory of the webhook at its start", unit: "MiB", ours: peak})
	return nil
}
