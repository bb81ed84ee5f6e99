// Package soak keeps creating pods on a real control plane while one thing after
// the other is taken from the webhook, and shows what its surface and the
// watcher's lease withstand.
//
//	pods, 20 a second ──► API server ──► balancer ──► webhook replicas
//	fresh connections, 10 a second ─────────┘
//
// The API server keeps connections open for as long as they are used, so pods
// alone would rarely see a certificate. A second load therefore makes a new
// connection for each review and verifies it by the live caBundle, as an API
// server does that has just started.
//
// make soak plays the whole length and prints the figures of docs/reliability.md;
// make test plays a short form.
package soak
