// Package chart holds the tests of the Helm chart against a real API server: what
// each variant renders is accepted, and a release is installed, upgraded, changed
// from one mode to another and removed while pods that ask for secrets are created.
//
//	helm (pinned in tools/go.mod) ─► post-renderer: this test binary, points the webhooks to loopback
//	      │
//	      ▼
//	API server ─► kwok runs the pods of the Deployments, in name only
//	      │
//	      └─► the Deployments as they stand there ─► processes, replaced as their pods would be
package chart
