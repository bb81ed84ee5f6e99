// Package balancer stands where a Service would: a TCP address in front of
// replicas, of which those that are ready get new connections, in turn.
//
//	client ──► balancer ──► a replica that is ready
//	               └─ probes ─► every replica
//
// It works on connections, as kube-proxy does, and knows nothing of requests:
// a connection stays with its replica until either side closes it, also when
// that replica is not ready any more. A connection for which there is no
// replica, or whose replica does not take it, is reset, and not tried elsewhere.
package balancer

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// ProbeInterval is how often a ready replica is looked at: a cluster takes
	// about as long to notice that a container has ended.
	ProbeInterval = time.Second
	// startInterval is for those that are not ready, so that tests need not wait.
	startInterval = 50 * time.Millisecond
	// probeTimeout is how long a probe may take.
	probeTimeout = time.Second
	// lateProbes is how many probes must be late, one after the other, until a
	// replica counts as not ready: that takes as long as with the two of our
	// Deployments, which are 5 seconds apart.
	lateProbes = 4
	// dialTimeout is as long as the API server waits for a webhook.
	dialTimeout = 5 * time.Second
)

// Replica is one of those that connections are given to.
type Replica struct {
	Address string                      // host:port where it takes connections
	Ready   func(context.Context) error // its readiness probe
	Gone    <-chan struct{}             // closed when it has ended for good; it is forgotten within ProbeInterval
}

// Balancer listens until Close.
type Balancer struct {
	listener net.Listener
	probes   context.Context // ends the probes
	close    context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	ready []string // addresses, the next one first
	open  map[net.Conn]struct{}
}

// Listen starts a balancer without replicas at a loopback address; port 0 takes a free one.
func Listen(address string) (*Balancer, error) {
	listener, err := net.Listen("tcp", address) //nolint:noctx // returns at once
	if err != nil {
		return nil, err
	}
	b := &Balancer{listener: listener, open: map[net.Conn]struct{}{}}
	b.probes, b.close = context.WithCancel(context.Background())
	b.running.Go(b.accept)
	return b, nil
}

// Address is where it listens, host:port.
func (b *Balancer) Address() string { return b.listener.Addr().String() }

// Close ends the balancer, its probes and all connections.
func (b *Balancer) Close() {
	b.close()
	_ = b.listener.Close() // it is gone either way
	b.mu.Lock()
	for c := range b.open {
		_ = c.Close() // likewise
	}
	b.mu.Unlock()
	b.running.Wait()
}

// Add probes a replica from now on, until it is gone.
func (b *Balancer) Add(r Replica) {
	b.running.Go(func() {
		defer b.setReady(r.Address, false)
		for late := 0; ; {
			if err, inTime := b.probe(r); inTime {
				late = 0
				b.setReady(r.Address, err == nil)
			} else if late++; late >= lateProbes {
				b.setReady(r.Address, false)
			}
			pause := startInterval
			if b.Serves(r.Address) {
				pause = ProbeInterval
			}
			select {
			case <-r.Gone:
				return
			case <-b.probes.Done():
				return
			case <-time.After(pause):
			}
		}
	})
}

// probe looks at a replica once.
func (b *Balancer) probe(r Replica) (err error, inTime bool) {
	ctx, cancel := context.WithTimeout(b.probes, probeTimeout)
	defer cancel()
	err = r.Ready(ctx)
	return err, ctx.Err() == nil
}

func (b *Balancer) setReady(address string, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.ready, address)
	switch {
	case ready && i < 0:
		b.ready = append(b.ready, address)
	case !ready && i >= 0:
		b.ready = slices.Delete(b.ready, i, i+1)
	}
}

// Serves is whether the replica at address gets new connections.
func (b *Balancer) Serves(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.ready, address)
}

// next is the replica for a new connection, "" if none is ready.
func (b *Balancer) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ready) == 0 {
		return ""
	}
	address := b.ready[0]
	b.ready = append(slices.Delete(b.ready, 0, 1), address)
	return address
}

func (b *Balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.running.Go(func() { b.connect(client.(*net.TCPConn)) })
	}
}

// connect gives client to a replica and returns when the connection has ended.
func (b *Balancer) connect(client *net.TCPConn) {
	defer b.hold(client)()
	address := b.next()
	if address == "" {
		reset(client)
		return
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(b.probes, "tcp", address)
	if err != nil {
		reset(client)
		return
	}
	replica := conn.(*net.TCPConn)
	defer b.hold(replica)()
	var both sync.WaitGroup
	both.Go(func() { relay(replica, client) })
	both.Go(func() { relay(client, replica) })
	both.Wait()
}

// hold has Close end conn too; what it returns closes conn before that.
func (b *Balancer) hold(conn net.Conn) (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[conn] = struct{}{}
	if b.probes.Err() != nil {
		_ = conn.Close() // Close has not seen it
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, conn)
		_ = conn.Close() // both directions have ended
	}
}

// relay sends on to one side what the other says, and the way in which it ends.
func relay(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		reset(from)
		return
	}
	_ = to.CloseWrite() // it may have closed already
}

// reset closes a connection as one that nobody listens to.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // if that fails, it is closed more politely
	_ = conn.Close()
}
