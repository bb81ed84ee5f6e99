package cluster

import (
	"io"
	"os"
)

// Options of a cluster. The zero value is a cluster with one node.
type Options struct {
	// Nodes to begin with: node-1, node-2 and so on. Default 1; negative: none.
	Nodes int
	// APIOnly leaves controllers, scheduler, kwok and nodes out: objects stay as they are written.
	APIOnly bool
	// LogDir keeps each component's log. Default: a folder that goes away with the cluster.
	LogDir string
	// AuditPolicy records who asked the API server for what, see [Cluster.Requests].
	AuditPolicy bool
	// APIServerArgs and ControllerManagerArgs are added to the components' flags.
	APIServerArgs, ControllerManagerArgs []string
	// Out gets the progress of the first build, and what components that die had
	// to say. Default: standard error.
	Out io.Writer
}

func (o Options) withDefaults() Options {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Out == nil {
		o.Out = os.Stderr
	}
	return o
}
