package std

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/enginetest"
)

// leastRate is that of the tests: with a grace of ten seconds.
const leastRate, grace = 240, 10 * time.Second

// talk is one exchange between a client and a node, both in memory, by the clock of a bubble.
type talk struct {
	k            *work
	client, node net.Conn // the test's ends
	near, far    net.Conn // the engine's

	ended chan struct{}
	fault roost.Fault
	err   error
	also  sync.WaitGroup // what the test does beside
}

// newTalk gives the exchange's head to the engine, which has a connection to the node already.
func newTalk(t *testing.T, change func(*enginetest.Setup), head string) *talk {
	set := &enginetest.Setup{}
	set.Listener, set.Pool = enginetest.Settings()
	set.Listener.MinBodyRate, set.Listener.BodyTimeout, set.Listener.SendTimeout, set.Pool.HeadTimeout = leastRate, grace, grace, grace
	if change != nil {
		change(set)
	}
	snap := &atomic.Pointer[roost.Snapshot]{}
	snap.Store(enginetest.Snapshot(set, "a"))
	e := New(Options{Snapshot: snap})
	c := &talk{ended: make(chan struct{})}
	c.near, c.client = net.Pipe()
	c.far, c.node = net.Pipe()
	k := e.borrow(newConn(&front{e: e, ctx: t.Context()}, c.near), snap.Load())
	c.k = k
	go func() {
		defer close(c.ended)
		if reply, ok := k.readHead(snap.Load()); !ok {
			c.err = fmt.Errorf("%d %s", reply.Status, reply.Code)
			return
		}
		k.x.Accept(snap.Load(), &k.c.peer, &k.req, text(k.head), 0, 0)
		k.begin()
		k.x.Choose(1, 0)
		k.n = &nodeConn{}
		k.n.open(c.far, &e.buffers)
		k.pool = set.Pool
		_, c.fault, c.err = k.converse()
		if k.up.running {
			k.up.cancel()
		}
		if k.up.fault != roost.NoFault {
			c.fault, c.err = k.up.fault, k.up.err
		}
	}()
	io.WriteString(c.client, head)
	return c
}

// head reads a head from one of the test's ends, and hardly anything ahead.
func (c *talk) head(from net.Conn) *bufio.Reader {
	br := bufio.NewReaderSize(from, 16)
	for line := ""; line != "\r\n"; {
		line, _ = br.ReadString('\n')
	}
	return br
}

func (c *talk) close() {
	for _, end := range []net.Conn{c.near, c.client, c.far, c.node} {
		end.Close()
	}
	<-c.ended
	c.also.Wait()
}

func TestARequestHeadThatDripsHasTheTimeOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, "GET / HTTP/1.1\r\n")
		began := time.Now()
		c.also.Go(func() { enginetest.Drip(c.client, strings.Repeat("X: y\r\n", 100), time.Second) })
		<-c.ended
		if c.err == nil || c.err.Error() != "408 head_timeout" || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", c.err, time.Since(began))
		}
		c.close()
	})
}

func TestAnAnswersHeadThatDripsHasTheTimeOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, enginetest.CRLF("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		began := time.Now()
		c.also.Go(func() { enginetest.Drip(c.node, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X: y\r\n", 100), time.Second) })
		<-c.ended
		if c.fault != roost.FaultTimeout || time.Since(began) != grace {
			t.Errorf("%v, %v after %v", c.fault, c.err, time.Since(began))
		}
		c.close()
	})
}

func TestTheTimeOfAnAnswersHeadBeginsWithTheEndOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, func(s *enginetest.Setup) { s.Listener.MinBodyRate = 0 }, enginetest.CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 25"))
		br := c.head(c.node)
		c.also.Go(func() { enginetest.Drip(c.client, strings.Repeat(".", 25), time.Second) })
		io.CopyN(io.Discard, br, 25)
		began := time.Now()
		<-c.ended
		if c.fault != roost.FaultTimeout || time.Since(began) != grace {
			t.Errorf("%v, %v after %v", c.fault, c.err, time.Since(began))
		}
		c.close()
	})
}

func TestARequestBodyThatDripsIsTooSlow(t *testing.T) {
	for _, head := range []string{"Content-Length: 600", "Transfer-Encoding: chunked"} {
		synctest.Test(t, func(t *testing.T) {
			c := newTalk(t, nil, enginetest.CRLF("PUT / HTTP/1.1", "Host: h", head))
			br := c.head(c.node)
			c.also.Go(func() { io.Copy(io.Discard, br) })
			began := time.Now()
			c.also.Go(func() { enginetest.Drip(c.client, strings.Repeat("1\r\n.\r\n", 100), time.Second) })
			<-c.ended
			if c.fault != roost.FaultClientSlow || c.err != carry.ErrTooSlow || time.Since(began) != grace+time.Second {
				t.Errorf("%s: %v, %v after %v", head, c.fault, c.err, time.Since(began))
			}
			c.close()
		})
	}
}

func TestARequestBodyThatItsNodeHoldsBackIsNotTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, func(s *enginetest.Setup) { s.Pool.BodyTimeout = time.Hour }, enginetest.CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 100"))
		br := c.head(c.node)
		c.also.Go(func() {
			for range 10 {
				io.WriteString(c.client, "0123456789")
			}
		})
		for range 10 {
			<-time.After(5 * time.Second) // together beyond the grace
			io.ReadFull(br, make([]byte, 10))
		}
		io.WriteString(c.node, enginetest.CRLF("HTTP/1.1 204 No Content"))
		c.head(c.client)
		if <-c.ended; c.fault != roost.NoFault {
			t.Errorf("%v, %v", c.fault, c.err)
		}
		c.close()
	})
}

func TestAReaderThatDripsIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, enginetest.CRLF("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		began := time.Now()
		c.also.Go(func() {
			io.WriteString(c.node, enginetest.CRLF("HTTP/1.1 200 OK", "Content-Length: 100000")+strings.Repeat(".", 10_000))
		})
		c.also.Go(func() {
			for b := make([]byte, 1); ; <-time.After(time.Second) {
				if _, err := c.client.Read(b); err != nil {
					return
				}
			}
		})
		<-c.ended
		if took := time.Since(began); c.fault != roost.FaultClientSlow || c.err != carry.ErrTooSlow || took < grace || took > 2*grace {
			t.Errorf("%v, %v after %v", c.fault, c.err, took)
		}
		c.close()
	})
}

func TestAReaderThatIsSlowButKeepsTheRateGetsItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, enginetest.CRLF("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		const body = 20_000 // 80 s, in writes that each take longer than the timeout
		c.also.Go(func() {
			io.WriteString(c.node, enginetest.CRLF("HTTP/1.1 200 OK", "Content-Length: 20000")+strings.Repeat(".", body))
		})
		br := c.head(c.client)
		got := int64(0)
		for got < body {
			n, err := io.CopyN(io.Discard, br, 250)
			if got += n; err != nil {
				break
			}
			<-time.After(time.Second)
		}
		if <-c.ended; got != body || c.fault != roost.NoFault {
			t.Errorf("%d bytes, then %v, %v", got, c.fault, c.err)
		}
		c.close()
	})
}

func TestEventsMayBeRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, func(s *enginetest.Setup) { s.Pool.BodyTimeout = time.Hour }, enginetest.CRLF("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		c.also.Go(func() { io.WriteString(c.node, enginetest.CRLF("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")) })
		br := c.head(c.client)
		event := []byte("1\r\n.\r\n")
		for range 20 {
			<-time.After(10 * time.Minute)
			c.also.Go(func() { c.node.Write(event) })
			got := make([]byte, len(event))
			if _, err := io.ReadFull(br, got); err != nil || !bytes.Equal(got, event) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		c.close()
	})
}

func TestAClientThatOnlyEndedItsSideIsNotGone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(nc); err != nil || len(b) > 0 {
		t.Fatalf("%q, %v", b, err)
	}
	if c := (&conn{nc: nc}); c.gone() {
		t.Error("gone")
	}
}

// While both sides stream, the silence of one is no fault, nor is the slowness of the request; only the silence of both
// is. The clock is the bubble's, the connections are in memory.
func TestSilenceOfOneSideOfAStreamIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = grace
		c := newTalk(t, func(s *enginetest.Setup) { s.Pool.BodyTimeout = limit }, enginetest.CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
		br := c.head(c.node)
		io.WriteString(c.node, enginetest.CRLF("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
		from := c.head(c.client)
		chunk := []byte("1\r\n.\r\n")
		pass := func(to io.Writer, from io.Reader) {
			t.Helper()
			go to.Write(chunk)
			got := make([]byte, len(chunk))
			if _, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, chunk) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		for range 10 { // for five times the limit, only the node
			<-time.After(limit / 2)
			pass(c.node, from)
		}
		for range 10 { // and then only the client
			<-time.After(limit / 2)
			pass(c.client, br)
		}
		quiet := time.Now()
		<-c.ended
		if waited := time.Since(quiet); c.fault == roost.NoFault || waited < limit || waited > 2*limit {
			t.Errorf("%v after %v", c.fault, waited)
		}
		c.close()
	})
}
