package std

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"roost"
)

// What a refused body held must not be read again as what stands behind the body.
func TestABodyOverItsLimitIsNeverReadAsTheNextRequest(t *testing.T) {
	began, got := make(chan struct{}), make(chan string, 10)
	n := rawNode(t, func(c net.Conn, nth int) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		got <- req.URL.Path
		if nth == 1 {
			io.ReadFull(req.Body, make([]byte, 1))
			close(began)
			io.Copy(io.Discard, req.Body)
		}
	})
	p := start(t, func(s *setup) { s.l.MaxBody = 50 }, n)
	payload := "\r\n0\r\n\r\n" + crlf("GET /smuggled HTTP/1.1", "Host: h") + strings.Repeat("x", 50)
	c, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + fmt.Sprintf("1\r\nx\r\n%x\r\n", len(payload)))
	<-began // the chunk's size was read: the payload comes apart from it
	io.WriteString(c, payload)
	if res, _ := readAnswer(t, br, "POST"); res.StatusCode != 413 || !res.Close {
		t.Errorf("%d, close %v", res.StatusCode, res.Close)
	}
	c.CloseWrite()
	ended(t, br)
	if len(got) != 1 {
		t.Errorf("the node got %d requests", len(got))
	}
}

// A busy node's 503 is tried elsewhere only with the whole body at hand.
func TestABodyThatIsNotHeldIsNotSentAgainAfterABusyAnswer(t *testing.T) {
	busy := record(t, crlf("HTTP/1.1 503 Service Unavailable", "Retry-After: 1", "Content-Length: 0"))
	other := record(t, crlf("HTTP/1.1 200 OK", "Content-Length: 0"))
	for _, size := range []int{10_000, 60_000, 70_000, 1 << 20} {
		p := start(t, func(s *setup) { s.p.RetryOn503, s.p.IdleConns = true, 0 }, busy.addr, other.addr)
		body := strings.Repeat("b", size)
		_, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: "+fmt.Sprint(size)) + body)
		res, _ := readAnswer(t, br, "POST")
		_, got, _ := strings.Cut(other.bytes(), "\r\n\r\n")
		if res.StatusCode == 200 && got != body || res.StatusCode != 200 && got != "" {
			t.Errorf("%d bytes: answer %d, the second node got %d bytes", size, res.StatusCode, len(got))
		}
		if want := size <= 64<<10; want != (res.StatusCode == 200) {
			t.Errorf("%d bytes: answer %d", size, res.StatusCode)
		}
	}
}

// A node in HTTP/2 that takes as much of a body as it may unasked and then says that it did not start.
func TestABodyThatIsNotHeldIsNotSentAgainAfterARefusedStream(t *testing.T) {
	refuses := rawNode(t, func(c net.Conn, _ int) {
		io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(c, c)
		f.WriteSettings()
		for got := 0; ; {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if d, ok := frame.(*http2.DataFrame); ok {
				got += len(d.Data())
				if got == 65535 {
					f.WriteRSTStream(d.StreamID, http2.ErrCodeRefusedStream)
				}
			}
		}
	})
	took := make(chan string, 1)
	other := h2node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		took <- string(b)
	})
	p := start(t, func(s *setup) { s.p.Protocol = roost.ProtocolH2C }, refuses, other)
	body := strings.Repeat("0123456789abcdef", 1<<14)
	var msg strings.Builder
	msg.WriteString(crlf("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
	for rest := body; rest != ""; rest = rest[1<<12:] {
		fmt.Fprintf(&msg, "%x\r\n%s\r\n", 1<<12, rest[:1<<12])
	}
	_, br := p.send(msg.String() + "0\r\n\r\n")
	res, _ := readAnswer(t, br, "POST")
	select {
	case got := <-took:
		if got != body {
			t.Errorf("answer %d; the second node took %d bytes for the whole body of %d", res.StatusCode, len(got), len(body))
		}
	default:
		if res.StatusCode != 502 {
			t.Errorf("answer %d", res.StatusCode)
		}
	}
}

func TestANodeThatStopsReadingTheBodyAndNeverAnswersTimesOut(t *testing.T) {
	done := make(chan struct{})
	n := rawNode(t, func(c net.Conn, _ int) { <-done })
	p := start(t, func(s *setup) {
		s.p.BodyTimeout, s.p.HeadTimeout, s.p.MaxTries = 100*time.Millisecond, 100*time.Millisecond, 1
	}, n)
	defer close(done)
	c := p.dial()
	go func() {
		io.WriteString(c, crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 1000000000"))
		for b := make([]byte, 1<<20); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	if res, _ := readAnswer(t, bufio.NewReader(c), "POST"); res.StatusCode != 504 {
		t.Errorf("%d", res.StatusCode)
	}
}

// h2raw begins a session and asks for / on stream 1.
func (p *proxy) h2raw(settings ...http2.Setting) (*net.TCPConn, *http2.Framer) {
	p.t.Helper()
	c, _ := p.send(http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.WriteSettings(settings...)
	var head strings.Builder
	enc := hpack.NewEncoder(&head)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}} {
		enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(head.String()), EndHeaders: true, EndStream: true})
	return c, f
}

func TestAnHTTP2ClientThatGivesNoWindowLosesItsStream(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		n := node(t, func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, size)) })
		p := start(t, func(s *setup) { s.l.SendTimeout = 100 * time.Millisecond }, n)
		c, f := p.h2raw(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Errorf("%d bytes: %v", size, err)
				break
			}
			if _, ok := frame.(*http2.RSTStreamFrame); ok {
				break
			}
		}
		c.Close()
	}
}

func TestATunnelThatWasSilentStillHasTimeAfterOneSideEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{})
		var to, from wire
		node, nodeFar := net.Pipe()
		client, clientFar := net.Pipe()
		from.open(node, &e.buffers)
		to.open(client, &e.buffers)
		tun := &tunnel{half: time.Minute}
		done := make(chan error, 1)
		var count atomic.Int64
		go func() { done <- tun.pour(e, &to, &from, &count) }()
		<-time.After(time.Hour) // of the bubble's clock
		tun.ended.Store(time.Now().UnixNano())
		node.SetReadDeadline(unknown)
		<-time.After(59 * time.Second)
		go nodeFar.Write([]byte("the last word"))
		b := make([]byte, 13)
		if _, err := io.ReadFull(clientFar, b); err != nil || string(b) != "the last word" {
			t.Errorf("%q, %v", b, err)
		}
		said := time.Now()
		if err := <-done; !isTimeout(err) || time.Since(said) != time.Minute {
			t.Errorf("ended with %v after %v", err, time.Since(said))
		}
	})
}

func TestAGateWaitsForThoseThatAnInsiderLetIn(t *testing.T) {
	var g gate
	g.empty.L = &g.mu
	g.enter()
	g.shut = true
	g.also()
	g.leave()
	if g.in != 1 || g.enter() {
		t.Errorf("%d inside", g.in)
	}
}

func TestTargetsAndConnectionsThatLookAlmostRight(t *testing.T) {
	n := record(t, crlf("HTTP/1.1 200 OK", "Content-Length: 0"))
	p := start(t, nil, n.addr)
	_, br := p.send(crlf("GET http://h?q HTTP/1.1", "Host: h"))
	readAnswer(t, br, "GET")
	if r := p.wait(1); string(r.Key) != "/" || !strings.HasPrefix(n.bytes(), "GET /?q HTTP/1.1") {
		t.Errorf("an empty path before a query has key %q", r.Key)
	}
	_, br = p.send(crlf("CONNECT h:443 HTTP/1.1", "Host: h:443") + crlf("GET /in/the/tunnel HTTP/1.1", "Host: h"))
	if res, _ := readAnswer(t, br, "CONNECT"); res.StatusCode != 501 || !res.Close {
		t.Errorf("CONNECT: %d, close %v", res.StatusCode, res.Close)
	}
	_, br = p.send(crlf("POST /exec HTTP/1.1", "Host: h", "Content-Length: 0", "Connection: upgrade", "Upgrade: websocket"))
	readAnswer(t, br, "POST")
	if got := n.bytes(); !strings.Contains(got, "Upgrade: websocket") || strings.Contains(got, "tunnel") {
		t.Errorf("the node got %q", got)
	}
}

func TestAnAnswerWithoutFramingThatADrainCutsDoesNotLookComplete(t *testing.T) {
	hold := make(chan struct{})
	n := rawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, crlf("HTTP/1.1 200 OK")+"half")
		<-hold
	})
	p := start(t, nil, n)
	defer close(hold)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(res.Body, make([]byte, 4))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if p.e.Drain(ctx) == nil {
		t.Error("nothing was cut")
	}
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("after the cut: %q and a clean end", b)
	}
}

// net/url would read a host, or mend what it takes for a mistake; a node must see what the key was taken from.
func TestANodeInHTTP2SeesTheTargetAsItWasSent(t *testing.T) {
	n := h2node(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RequestURI) })
	p := start(t, func(s *setup) { s.p.Protocol = roost.ProtocolH2C }, n)
	for _, host := range []string{"h", "H:8080", "[::1]:80", "[::1]"} {
		for _, target := range []string{"/", "/a|b?", "//", "//a|b", "//a/%2F?", "//h//a?b=//c", "///", "//[x"} {
			_, br := p.send(crlf("GET "+target+" HTTP/1.1", "Host: "+host, "Connection: close"))
			if res, got := readAnswer(t, br, "GET"); res.StatusCode != 200 || got != target {
				t.Errorf("%s: %d, the node saw %q for %q", host, res.StatusCode, got, target)
			}
		}
		_, br := p.send(crlf("GET //%zz/secret HTTP/1.1", "Host: "+host, "Connection: close"))
		if res, got := readAnswer(t, br, "GET"); res.StatusCode == 200 {
			t.Errorf("%s: the node saw %q for what no URL may hold", host, got)
		}
	}
}
