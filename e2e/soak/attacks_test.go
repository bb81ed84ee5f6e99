package soak

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// attack is one thing that somebody with a route to the webhook may do on one
// connection. It ends when the webhook ends the connection, or has answered.
type attack struct {
	name  string
	plain bool // without TLS
	large bool // so many bytes that this machine is busy with sending them
	send  func(conn net.Conn, random *rand.Rand, review []byte) error
}

// maxBody is the size of the largest review that the webhook reads.
const maxBody = 3 << 20

var attacks = []attack{
	{name: "nothing at all", plain: true, send: silence},
	{name: "bytes that are not TLS", plain: true, send: noise},
	{name: "a handshake that is cut off", plain: true, send: cutHandshake},
	{name: "no request after the handshake", send: silence},
	{name: "bytes that are not HTTP", send: noise},
	{name: "a header without end", large: true, send: endlessHeader},
	{name: "a header, byte by byte", send: slowHeader},
	{name: "a body, byte by byte", send: slowBody},
	{name: "a body of 64 KiB that stops there", send: stalledBody},
	{name: "a review that is cut off", send: cutReview},
	{name: "a review with bytes changed", send: changedReview},
	{name: "a small pod of thousands of containers", send: post(thousandsOfContainers)},
	{name: "JSON that nests deeply", large: true, send: post(func(*rand.Rand, []byte) []byte {
		return append([]byte(`{"a":`), bytes.Repeat([]byte("["), maxBody-5)...)
	})},
	{name: "a body of 1 GiB", large: true, send: hugeBody},
	{name: "chunks without end", large: true, send: endlessChunks},
	{name: "a pod of a million containers", large: true, send: post(millionContainers)},
	{name: "a pod of a million annotations", large: true, send: post(millionAnnotations)},
}

// connections is how many do it at the same time.
func (a attack) connections() int {
	if a.large {
		return number(50, 5)
	}
	return number(1000, 100)
}

// run does the attack on a connection of its own to address.
func (a attack) run(ctx context.Context, address string, random *rand.Rand, review []byte) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // longer than the webhook lets anything take
	defer cancel()
	conn, err := a.dial(ctx, address)
	if err != nil {
		return // it may be too busy for attackers
	}
	defer conn.Close() //nolint:errcheck // it may have been closed by the other side
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := a.send(conn, random, review); err != nil {
		return // cut off, as it should be
	}
	_, _ = io.Copy(io.Discard, conn) // whatever the answer is
}

func (a attack) dial(ctx context.Context, address string) (net.Conn, error) {
	if a.plain {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // attackers do not care
	return dialer.DialContext(ctx, "tcp", address)
}

func silence(net.Conn, *rand.Rand, []byte) error { return nil }

func noise(conn net.Conn, random *rand.Rand, _ []byte) error {
	return write(conn, garbage(random, 1+random.IntN(4<<10)))
}

func garbage(random *rand.Rand, n int) []byte {
	all := make([]byte, n)
	for i := range all {
		all[i] = byte(random.Uint32())
	}
	return all
}

func write(conn net.Conn, data []byte) error {
	_, err := conn.Write(data)
	return err
}

// cutHandshake sends the beginning of a client's hello.
func cutHandshake(conn net.Conn, random *rand.Rand, _ []byte) error {
	hello := []byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}
	return write(conn, append(hello, garbage(random, random.IntN(200))...))
}

func head(lines ...string) string {
	return "POST /pods HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + strings.Join(lines, "\r\n")
}

func endlessHeader(conn net.Conn, _ *rand.Rand, _ []byte) error {
	if err := write(conn, []byte(head())); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := write(conn, fmt.Appendf(nil, "X-%d: %01000d\r\n", i, i)); err != nil {
			return err
		}
	}
}

func slowHeader(conn net.Conn, _ *rand.Rand, _ []byte) error {
	return slowly(conn, []byte(head("X-Long: "+strings.Repeat("x", 1000))))
}

func slowBody(conn net.Conn, _ *rand.Rand, review []byte) error {
	if err := write(conn, []byte(head(fmt.Sprintf("Content-Length: %d", maxBody), "", ""))); err != nil {
		return err
	}
	return slowly(conn, review)
}

func slowly(conn net.Conn, data []byte) error {
	for i := range data {
		if err := write(conn, data[i:i+1]); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

func stalledBody(conn net.Conn, _ *rand.Rand, review []byte) error {
	all := head(fmt.Sprintf("Content-Length: %d", maxBody), "", "") + string(review)
	return write(conn, append([]byte(all), bytes.Repeat([]byte(" "), 64<<10-len(review))...))
}

func cutReview(conn net.Conn, random *rand.Rand, review []byte) error {
	cut := review[:random.IntN(len(review))]
	if random.IntN(2) == 0 { // it ends, or it hangs up in the middle
		return postBody(conn, cut)
	}
	if err := write(conn, []byte(head(fmt.Sprintf("Content-Length: %d", len(review)), "", "")+string(cut))); err != nil {
		return err
	}
	return conn.Close()
}

func changedReview(conn net.Conn, random *rand.Rand, review []byte) error {
	changed := bytes.Clone(review)
	for range 1 + random.IntN(8) {
		changed[random.IntN(len(changed))] = byte(random.Uint32())
	}
	return postBody(conn, changed)
}

func hugeBody(conn net.Conn, _ *rand.Rand, review []byte) error {
	const size = 1 << 30
	if err := write(conn, []byte(head(fmt.Sprintf("Content-Length: %d", size), "", "")+string(review))); err != nil {
		return err
	}
	for block := bytes.Repeat([]byte(" "), 64<<10); ; {
		if err := write(conn, block); err != nil {
			return err
		}
	}
}

func endlessChunks(conn net.Conn, _ *rand.Rand, _ []byte) error {
	if err := write(conn, []byte(head("Transfer-Encoding: chunked", "", ""))); err != nil {
		return err
	}
	for {
		if err := write(conn, []byte("1\r\n{\r\n")); err != nil {
			return err
		}
	}
}

// post sends what of makes as the body of a whole request.
func post(of func(*rand.Rand, []byte) []byte) func(net.Conn, *rand.Rand, []byte) error {
	return func(conn net.Conn, random *rand.Rand, review []byte) error {
		return postBody(conn, of(random, review))
	}
}

func postBody(conn net.Conn, body []byte) error {
	request := head(fmt.Sprintf("Content-Length: %d", len(body)), "Connection: close", "", "")
	return write(conn, append([]byte(request), body...))
}

// millionContainers is a review whose body is small beside what it is decoded to.
func millionContainers(_ *rand.Rand, review []byte) []byte {
	list := strings.Repeat("{},", (maxBody-len(review)-10)/3)
	return bytes.Replace(review, []byte(`"containers":[`), []byte(`"containers":[`+list), 1)
}

// thousandsOfContainers is a review of some 60 KiB, which is no large one, and
// whose patch is a hundred times its size.
func thousandsOfContainers(_ *rand.Rand, review []byte) []byte {
	list := strings.Repeat(`{"name":"c"},`, (60<<10-len(review))/13)
	return bytes.Replace(review, []byte(`"containers":[`), []byte(`"containers":[`+list), 1)
}

func millionAnnotations(_ *rand.Rand, review []byte) []byte {
	var list bytes.Buffer
	for i := 0; list.Len() < maxBody-len(review)-20; i++ {
		fmt.Fprintf(&list, `"%x":"",`, i)
	}
	return bytes.Replace(review, []byte(`"annotations":{`), append([]byte(`"annotations":{`), list.Bytes()...), 1)
}
