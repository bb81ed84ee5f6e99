// Package stories holds the end-to-end tests: what a user does, and what then
// must have happened, on a real control plane. Rollouts are counted by template
// generations and ReplicaSets, and content is compared with what the driver
// delivered to each container at its start.
package stories
