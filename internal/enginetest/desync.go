package enginetest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"roost"
)

// What a refused body held must not be read again as what stands behind the body.
func (engine subject) TestABodyOverItsLimitIsNeverReadAsTheNextRequest(t *testing.T) {
	began, got := make(chan struct{}), make(chan string, 10)
	n := RawNode(t, func(c net.Conn, nth int) {
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
	p := engine.start(t, func(s *Setup) { s.Listener.MaxBody = 50 }, n)
	payload := "\r\n0\r\n\r\n" + CRLF("GET /smuggled HTTP/1.1", "Host: h") + strings.Repeat("x", 50)
	c, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + fmt.Sprintf("1\r\nx\r\n%x\r\n", len(payload)))
	<-began // the chunk's size was read: the payload comes apart from it
	io.WriteString(c, payload)
	if res, _ := ReadAnswer(t, br, "POST"); res.StatusCode != 413 || !res.Close {
		t.Errorf("%d, close %v", res.StatusCode, res.Close)
	}
	c.CloseWrite()
	Ended(t, br)
	if len(got) != 1 {
		t.Errorf("the node got %d requests", len(got))
	}
}

// A busy node's 503 is tried elsewhere only with the whole body at hand.
func (engine subject) TestABodyThatIsNotHeldIsNotSentAgainAfterABusyAnswer(t *testing.T) {
	busy := record(t, CRLF("HTTP/1.1 503 Service Unavailable", "Retry-After: 1", "Content-Length: 0"))
	other := record(t, CRLF("HTTP/1.1 200 OK", "Content-Length: 0"))
	for _, size := range []int{10_000, 60_000, 70_000, 1 << 20} {
		p := engine.start(t, func(s *Setup) { s.Pool.RetryOn503, s.Pool.IdleConns = true, 0 }, busy.addr, other.addr)
		body := strings.Repeat("b", size)
		_, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: "+fmt.Sprint(size)) + body)
		res, _ := ReadAnswer(t, br, "POST")
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
func (engine subject) TestABodyThatIsNotHeldIsNotSentAgainAfterARefusedStream(t *testing.T) {
	refuses := RawNode(t, func(c net.Conn, _ int) {
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
	p := engine.start(t, func(s *Setup) { s.Pool.Protocol = roost.ProtocolH2C }, refuses, other)
	body := strings.Repeat("0123456789abcdef", 1<<14)
	var msg strings.Builder
	msg.WriteString(CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
	for rest := body; rest != ""; rest = rest[1<<12:] {
		fmt.Fprintf(&msg, "%x\r\n%s\r\n", 1<<12, rest[:1<<12])
	}
	_, br := p.Send(msg.String() + "0\r\n\r\n")
	res, _ := ReadAnswer(t, br, "POST")
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

func (engine subject) TestANodeThatStopsReadingTheBodyAndNeverAnswersTimesOut(t *testing.T) {
	done := make(chan struct{})
	n := RawNode(t, func(c net.Conn, _ int) { <-done })
	p := engine.start(t, func(s *Setup) {
		s.Pool.BodyTimeout, s.Pool.HeadTimeout, s.Pool.MaxTries = 100*time.Millisecond, 100*time.Millisecond, 1
	}, n)
	defer close(done)
	c := p.Dial()
	go func() {
		io.WriteString(c, CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 1000000000"))
		for b := make([]byte, 1<<20); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	if res, _ := ReadAnswer(t, bufio.NewReader(c), "POST"); res.StatusCode != 504 {
		t.Errorf("%d", res.StatusCode)
	}
}

// h2raw begins a session and asks for / on stream 1.
func (p *Proxy) h2raw(settings ...http2.Setting) (*net.TCPConn, *http2.Framer) {
	p.T.Helper()
	c, _ := p.Send(http2.ClientPreface)
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

func (engine subject) TestAnHTTP2ClientThatGivesNoWindowLosesItsStream(t *testing.T) {
	for size, fault := range map[int]roost.Fault{100: roost.NoFault, 1 << 20: roost.FaultClientSlow} {
		n := Node(t, func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, size)) })
		p := engine.start(t, func(s *Setup) { s.Listener.SendTimeout = 100 * time.Millisecond }, n)
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
		if r := p.Wait(1); r.Fault != fault || r.Status != 200 {
			t.Errorf("%d bytes: record %+v", size, r)
		}
		c.Close()
	}
}

func (engine subject) TestTargetsAndConnectionsThatLookAlmostRight(t *testing.T) {
	n := record(t, CRLF("HTTP/1.1 200 OK", "Content-Length: 0"))
	p := engine.start(t, nil, n.addr)
	_, br := p.Send(CRLF("GET http://h?q HTTP/1.1", "Host: h"))
	ReadAnswer(t, br, "GET")
	if r := p.Wait(1); string(r.Key) != "/" || !strings.HasPrefix(n.bytes(), "GET /?q HTTP/1.1") {
		t.Errorf("an empty path before a query has key %q", r.Key)
	}
	_, br = p.Send(CRLF("CONNECT h:443 HTTP/1.1", "Host: h:443") + CRLF("GET /in/the/tunnel HTTP/1.1", "Host: h"))
	if res, _ := ReadAnswer(t, br, "CONNECT"); res.StatusCode != 501 || !res.Close {
		t.Errorf("CONNECT: %d, close %v", res.StatusCode, res.Close)
	}
	_, br = p.Send(CRLF("POST /exec HTTP/1.1", "Host: h", "Content-Length: 0", "Connection: upgrade", "Upgrade: websocket"))
	ReadAnswer(t, br, "POST")
	if got := n.bytes(); !strings.Contains(got, "Upgrade: websocket") || strings.Contains(got, "tunnel") {
		t.Errorf("the node got %q", got)
	}
}

func (engine subject) TestAnAnswerWithoutFramingThatADrainCutsDoesNotLookComplete(t *testing.T) {
	hold := make(chan struct{})
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, CRLF("HTTP/1.1 200 OK")+"half")
		<-hold
	})
	p := engine.start(t, nil, n)
	defer close(hold)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(res.Body, make([]byte, 4))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if p.E.Drain(ctx) == nil {
		t.Error("nothing was cut")
	}
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("after the cut: %q and a clean end", b)
	}
}

// net/url would read a host, or mend what it takes for a mistake; a node must see what the key was taken from.
func (engine subject) TestANodeInHTTP2SeesTheTargetAsItWasSent(t *testing.T) {
	n := h2node(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RequestURI) })
	p := engine.start(t, func(s *Setup) { s.Pool.Protocol = roost.ProtocolH2C }, n)
	for _, host := range []string{"h", "H:8080", "[::1]:80", "[::1]"} {
		for _, target := range []string{"/", "/a|b?", "//", "//a|b", "//a/%2F?", "//h//a?b=//c", "///", "//[x"} {
			_, br := p.Send(CRLF("GET "+target+" HTTP/1.1", "Host: "+host, "Connection: close"))
			if res, got := ReadAnswer(t, br, "GET"); res.StatusCode != 200 || got != target {
				t.Errorf("%s: %d, the node saw %q for %q", host, res.StatusCode, got, target)
			}
		}
		_, br := p.Send(CRLF("GET //%zz/secret HTTP/1.1", "Host: "+host, "Connection: close"))
		if res, got := ReadAnswer(t, br, "GET"); res.StatusCode == 200 {
			t.Errorf("%s: the node saw %q for what no URL may hold", host, got)
		}
	}
}
