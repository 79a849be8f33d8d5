package std

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roost"
	"roost/internal/carry"
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
func newTalk(t *testing.T, change func(*setup), head string) *talk {
	set := &setup{}
	set.l, set.p = settings()
	set.l.MinBodyRate, set.l.BodyTimeout, set.l.SendTimeout, set.p.HeadTimeout = leastRate, grace, grace, grace
	if change != nil {
		change(set)
	}
	snap := &atomic.Pointer[roost.Snapshot]{}
	snap.Store(snapshot(set, "a"))
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
		k.pool = set.p
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

// drip writes s in single bytes, one in each pause, until that fails.
func drip(to io.Writer, s string, pause time.Duration) {
	for i := range len(s) {
		<-time.After(pause)
		if _, err := io.WriteString(to, s[i:i+1]); err != nil {
			return
		}
	}
}

func TestARequestHeadThatDripsHasTheTimeOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, "GET / HTTP/1.1\r\n")
		began := time.Now()
		c.also.Go(func() { drip(c.client, strings.Repeat("X: y\r\n", 100), time.Second) })
		<-c.ended
		if c.err == nil || c.err.Error() != "408 head_timeout" || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", c.err, time.Since(began))
		}
		c.close()
	})
}

func TestAnAnswersHeadThatDripsHasTheTimeOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, crlf("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		began := time.Now()
		c.also.Go(func() { drip(c.node, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X: y\r\n", 100), time.Second) })
		<-c.ended
		if c.fault != roost.FaultTimeout || time.Since(began) != grace {
			t.Errorf("%v, %v after %v", c.fault, c.err, time.Since(began))
		}
		c.close()
	})
}

func TestTheTimeOfAnAnswersHeadBeginsWithTheEndOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, func(s *setup) { s.l.MinBodyRate = 0 }, crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 25"))
		br := c.head(c.node)
		c.also.Go(func() { drip(c.client, strings.Repeat(".", 25), time.Second) })
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
			c := newTalk(t, nil, crlf("PUT / HTTP/1.1", "Host: h", head))
			br := c.head(c.node)
			c.also.Go(func() { io.Copy(io.Discard, br) })
			began := time.Now()
			c.also.Go(func() { drip(c.client, strings.Repeat("1\r\n.\r\n", 100), time.Second) })
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
		c := newTalk(t, func(s *setup) { s.p.BodyTimeout = time.Hour }, crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 100"))
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
		io.WriteString(c.node, crlf("HTTP/1.1 204 No Content"))
		c.head(c.client)
		if <-c.ended; c.fault != roost.NoFault {
			t.Errorf("%v, %v", c.fault, c.err)
		}
		c.close()
	})
}

func TestAReaderThatDripsIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTalk(t, nil, crlf("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		began := time.Now()
		c.also.Go(func() {
			io.WriteString(c.node, crlf("HTTP/1.1 200 OK", "Content-Length: 100000")+strings.Repeat(".", 10_000))
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
		c := newTalk(t, nil, crlf("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		const body = 20_000 // 80 s, in writes that each take longer than the timeout
		c.also.Go(func() {
			io.WriteString(c.node, crlf("HTTP/1.1 200 OK", "Content-Length: 20000")+strings.Repeat(".", body))
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
		c := newTalk(t, func(s *setup) { s.p.BodyTimeout = time.Hour }, crlf("GET / HTTP/1.1", "Host: h"))
		c.head(c.node)
		c.also.Go(func() { io.WriteString(c.node, crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")) })
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

func TestABodyThatIsTooSlowIsAnsweredPrecisely(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	p := start(t, func(s *setup) { s.l.MinBodyRate, s.l.BodyTimeout = 1<<20, 100*time.Millisecond }, n)
	conn, br := p.send(crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 100000"))
	go drip(conn, strings.Repeat(".", 1000), 20*time.Millisecond)
	res, body := readAnswer(t, br, "PUT")
	if r := p.wait(1); res.StatusCode != 408 || !strings.Contains(body, "body_too_slow") || r.Fault != roost.FaultClientSlow || r.Reason != "body_too_slow" {
		t.Errorf("%d %q, %+v", res.StatusCode, body, r)
	}
}

func TestAClientThatResetsWhileTheNodeIsSilentIsGone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere it is seen when something is written to the client")
	}
	asked := make(chan struct{})
	stuck := rawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		close(asked)
		io.Copy(io.Discard, c)
	})
	p := start(t, nil, stuck)
	conn, _ := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	<-asked
	conn.SetLinger(0)
	conn.Close()
	if r := p.wait(1); r.Fault != roost.FaultClientGone || r.Reason != "client_gone" || r.Nanos > int64(5*look) {
		t.Errorf("record %+v", r)
	}
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
