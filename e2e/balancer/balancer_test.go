package balancer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// replica says its name to who connects, and then every line back.
type replica struct {
	net.Listener
	name  string
	ready atomic.Bool
	gone  chan struct{}
	conns chan net.Conn
}

func startReplica(t *testing.T, b *Balancer, name string) *replica {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{Listener: listener, name: name, gone: make(chan struct{}), conns: make(chan net.Conn, 100)}
	r.ready.Store(true)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.conns <- conn
			go func() {
				_, _ = fmt.Fprintln(conn, name)
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	b.Add(Replica{Address: listener.Addr().String(), Gone: r.gone, Ready: func(context.Context) error {
		if !r.ready.Load() {
			return errors.New("not ready")
		}
		return nil
	}})
	eventually(t, func() bool { return b.Serves(r.address()) })
	return r
}

func (r *replica) address() string { return r.Addr().String() }

func listen(t *testing.T) *Balancer {
	t.Helper()
	b, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// client is a connection through the balancer.
type client struct {
	net.Conn
	lines *bufio.Reader
}

func (c client) read() (string, error) {
	line, err := c.lines.ReadString('\n')
	return line, err
}

// dial connects and returns the name that the replica said, "" if none took the connection.
func dial(t *testing.T, b *Balancer) (client, string) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Address())
	if err != nil {
		return client{}, "" // it was reset that soon
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := client{conn, bufio.NewReader(conn)}
	name, err := c.read()
	if err != nil {
		return c, ""
	}
	return c, name[:len(name)-1]
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func names(t *testing.T, b *Balancer, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		_, name := dial(t, b)
		count[name]++
	}
	return count
}

func TestConnectionsAreSpreadOverWhoIsReady(t *testing.T) {
	b := listen(t)
	startReplica(t, b, "one")
	two := startReplica(t, b, "two")
	if got := names(t, b, 10); got["one"] != 5 || got["two"] != 5 {
		t.Errorf("10 connections went to %v", got)
	}
	two.ready.Store(false)
	eventually(t, func() bool { return !b.Serves(two.address()) })
	if got := names(t, b, 10); got["one"] != 10 {
		t.Errorf("10 connections went to %v, though two is not ready", got)
	}
	two.ready.Store(true)
	eventually(t, func() bool { return b.Serves(two.address()) })
	if got := names(t, b, 10); got["two"] != 5 {
		t.Errorf("10 connections went to %v, though two is ready again", got)
	}
}

func TestAConnectionStaysWithItsReplica(t *testing.T) {
	b := listen(t)
	one := startReplica(t, b, "one")
	c, _ := dial(t, b)
	one.ready.Store(false)
	eventually(t, func() bool { return !b.Serves(one.address()) })
	if _, err := fmt.Fprintln(c, "still there?"); err != nil {
		t.Fatal(err)
	}
	if line, err := c.read(); line != "still there?\n" {
		t.Errorf("read %q, error %v", line, err)
	}
}

func TestWithoutAReplicaAConnectionEnds(t *testing.T) {
	b := listen(t)
	if _, name := dial(t, b); name != "" {
		t.Errorf("%q answers", name)
	}
	one := startReplica(t, b, "one")
	_ = one.Close() // as a process that was killed: nobody has noticed yet
	if _, name := dial(t, b); name != "" {
		t.Errorf("%q answers", name)
	}
}

func TestTheEndOfAReplicaIsTheEndOfItsConnections(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"closed": func(c *net.TCPConn) { _ = c.Close() },
		"reset":  reset,
	} {
		t.Run(name, func(t *testing.T) {
			b := listen(t)
			one := startReplica(t, b, "one")
			c, _ := dial(t, b)
			end((<-one.conns).(*net.TCPConn))
			if line, err := c.read(); err == nil {
				t.Errorf("read %q", line)
			}
		})
	}
}

func TestAClientThatHasSaidAllStillHears(t *testing.T) {
	b := listen(t)
	startReplica(t, b, "one")
	c, _ := dial(t, b)
	if _, err := fmt.Fprintln(c, "last words"); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.lines); string(rest) != "last words\n" || err != nil {
		t.Errorf("read %q, error %v", rest, err)
	}
}

func TestAReplicaThatIsGoneIsForgotten(t *testing.T) {
	b := listen(t)
	one := startReplica(t, b, "one")
	close(one.gone) // though its probe still answers
	eventually(t, func() bool { return !b.Serves(one.address()) })
}

func TestCloseEndsConnections(t *testing.T) {
	b := listen(t)
	startReplica(t, b, "one")
	c, _ := dial(t, b)
	b.Close()
	if line, err := c.read(); err == nil {
		t.Errorf("read %q", line)
	}
	if conn, err := net.Dial("tcp", b.Address()); err == nil {
		_ = conn.Close()
		t.Error("it still listens")
	}
}
