package std

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/enginetest"
)

// inn is a listener whose connections another engine accepts, and passes on to p.
type inn struct {
	p  *proxy
	id roost.ListenerID
	ln net.Listener
}

func (p *proxy) inn(network string) *inn {
	in := &inn{p: p, id: p.Second(), ln: enginetest.ListenOn(p.T, network)}
	p.T.Cleanup(func() { in.ln.Close() })
	return in
}

// host keeps guests until the test or the context ends.
func (p *proxy) host(ctx context.Context) { p.Go(func() { p.e.Host(ctx) }) }

// visit is a client that is passed on with all that it has sent. gone is closed when it has ended.
func (in *inn) visit(send string, change func(*Guest)) (c net.Conn, br *bufio.Reader, gone chan struct{}) {
	t := in.p.T
	t.Helper()
	c, err := net.Dial(in.ln.Addr().Network(), in.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, send)
	accepted, err := in.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	gone = make(chan struct{})
	g := Guest{Conn: accepted, Ahead: make([]byte, len(send)), Done: func() { close(gone) },
		Peer: carry.Peer{Listener: in.id, Addr: netip.MustParseAddr("203.0.113.9")}}
	if _, err := io.ReadFull(accepted, g.Ahead); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&g)
	}
	in.p.e.Take(g)
	return c, bufio.NewReader(c), gone
}

var hello = enginetest.CRLF("GET /ok HTTP/1.1", "Host: h")

func ok(t testing.TB, br *bufio.Reader) *http.Response {
	t.Helper()
	res, _ := enginetest.ReadAnswer(t, br, "GET")
	if res.StatusCode != 200 {
		t.Errorf("answered %d", res.StatusCode)
	}
	return res
}

func TestAGuestIsServedLikeOneThatWasAccepted(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		p := start(t, func(s *enginetest.Setup) { s.Listener.MaxConns = 1 }, enginetest.Node(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", len(body))
		}))
		p.host(p.Ctx)
		in := p.inn(network)
		body := strings.Repeat("x", 100_000) // more than a buffer; the last half has not come when it is passed on
		raw := enginetest.CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 100000") + body
		c, br, gone := in.visit(raw[:50_000], nil)
		c2, br2, gone2 := in.visit(hello[:9], nil) // MaxConns is the other engine's to keep
		io.WriteString(c, raw[50_000:])
		if res, got := enginetest.ReadAnswer(t, br, "POST"); res.StatusCode != 200 || got != "203.0.113.9 100000" {
			t.Errorf("%s: %d %q", network, res.StatusCode, got)
		}
		io.WriteString(c2, hello[9:])
		ok(t, br2)
		if got := enginetest.Ask(t, c, br); got != "200" {
			t.Errorf("%s: the next request got %q", network, got)
		}
		if n := p.e.Connections(in.id); n != 0 {
			t.Errorf("%s: %d connections, but they are counted by who passed them on", network, n)
		}
		select {
		case <-gone:
			t.Errorf("%s: it is over already", network)
		default:
		}
		c.Close()
		<-gone
		c2.Close()
		<-gone2
	}
}

// A client may begin with HTTP/2, and not go over to it once it has spoken HTTP/1.1.
func TestAGuestSpeaksHTTP2OnlyFromTheBeginning(t *testing.T) {
	p := start(t, nil, enginetest.Node(t, (&enginetest.Halting{}).ServeHTTP))
	p.host(p.Ctx)
	in := p.inn("tcp")
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, ahead := range []int{1, len(preface), len(preface) + 9} {
		c, br, gone := in.visit((preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")[:ahead], nil)
		io.WriteString(c, (preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")[ahead:])
		frame := make([]byte, 9)
		if _, err := io.ReadFull(br, frame); err != nil || frame[3] != 4 { // SETTINGS
			t.Errorf("%d bytes ahead: %x, %v", ahead, frame, err)
		}
		c.Close()
		<-gone
	}
	_, br, gone := in.visit(preface, func(g *Guest) { g.Served = true })
	if res, _ := enginetest.ReadAnswer(t, br, "GET"); res.StatusCode < 400 || res.ProtoMajor != 1 {
		t.Errorf("a preface after a request got %s", res.Status)
	}
	<-gone
}

func TestAGuestThatHasShakenHandsSpeaksWhatWasAgreed(t *testing.T) {
	cert := enginetest.Cert(t)
	p := start(t, nil, enginetest.Node(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("Via"))
	}))
	p.host(p.Ctx)
	in := p.inn("tcp")
	for _, h2 := range []bool{false, true} {
		tr := &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		gone := make(chan struct{})
		go func() {
			accepted, err := in.ln.Accept()
			if err != nil {
				return
			}
			secure := tls.Server(accepted, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
			g := Guest{Conn: secure, Peer: carry.Peer{Listener: in.id, TLS: true}, Done: func() { close(gone) }}
			if err := secure.Handshake(); err != nil {
				t.Error(err)
			}
			if !h2 { // the loop would have read it, to find out that it cannot carry it
				g.Ahead = make([]byte, 10)
				io.ReadFull(secure, g.Ahead)
			}
			p.e.Take(g)
		}()
		res, got := enginetest.Get(t, &http.Client{Transport: tr}, "https://"+in.ln.Addr().String()+"/")
		if want := fmt.Sprintf("https %s roost", strings.TrimPrefix(res.Proto, "HTTP/")[:3]); got != want || h2 != (res.ProtoMajor == 2) {
			t.Errorf("%s: %q, want %q", res.Proto, got, want)
		}
		tr.CloseIdleConnections()
		<-gone
	}
}

func TestGuestsOfARetiredListenerFinishAndThoseOfOneThatReturnedStay(t *testing.T) {
	n := &enginetest.Halting{At: make(chan bool), On: make(chan bool)}
	p := start(t, nil, enginetest.Node(t, n.ServeHTTP))
	p.host(p.Ctx)
	in := p.inn("tcp")
	retired := func(yes bool) {
		next := enginetest.Successor(p.Snap.Load())
		next.Listeners = append([]roost.ListenerView(nil), next.Listeners...)
		next.Listeners[in.id].Retired = yes
		p.Snap.Store(next)
	}
	ic, idle, _ := in.visit(hello, nil)
	ok(t, idle)
	bc, busy, gone := in.visit(enginetest.CRLF("GET /wait HTTP/1.1", "Host: h"), nil)
	<-n.At
	retired(true)
	p.e.Retire(in.id)
	enginetest.Ended(t, idle)
	ic.Close()
	lc, late, lateGone := in.visit(hello, nil) // it was on its way from one engine to the other
	if res := ok(t, late); !res.Close {
		t.Error("a guest that comes late is not told to close")
	}
	lc.Close()
	<-lateGone
	n.On <- true
	if res, body := enginetest.ReadAnswer(t, busy, "GET"); body != "waited" || !res.Close {
		t.Errorf("the request under way got %q, close %v", body, res.Close)
	}
	bc.Close()
	<-gone
	retired(false)
	sc, stays, _ := in.visit(hello, nil)
	if res := ok(t, stays); res.Close {
		t.Error("a guest of a listener that returned is told to close")
	}
	if got := enginetest.Ask(t, sc, stays); got != "200" {
		t.Errorf("its next request got %q", got)
	}
	sc.Close()
}

func TestADrainWaitsForGuestsAndForThoseThatComeMeanwhile(t *testing.T) {
	n := &enginetest.Halting{At: make(chan bool), On: make(chan bool)}
	p := start(t, nil, enginetest.Node(t, n.ServeHTTP))
	p.host(p.Ctx)
	in := p.inn("tcp")
	bc, busy, _ := in.visit(enginetest.CRLF("GET /wait HTTP/1.1", "Host: h"), nil)
	<-n.At
	drained := make(chan error)
	go func() { drained <- p.e.Drain(enginetest.Deadline(t, 20*time.Second)) }()
	<-p.Served // the listener is closed: the drain has begun
	p.Served <- nil
	c, late, _ := in.visit(hello, nil)
	if res := ok(t, late); !res.Close {
		t.Error("a guest that comes in a drain is not told to close")
	}
	c.Close()
	select {
	case err := <-drained:
		t.Fatalf("drained (%v) before its guest was answered", err)
	default:
	}
	n.On <- true
	enginetest.ReadAnswer(t, busy, "GET")
	bc.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}

	// The other engine is not through yet, and passes on one that will not end.
	_, tunnel, gone := in.visit(enginetest.CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"), nil)
	http.ReadResponse(tunnel, nil)
	if err := p.e.Drain(enginetest.Deadline(t, 30*time.Millisecond)); err == nil || !strings.Contains(err.Error(), "1 connections") {
		t.Errorf("the second drain: %v", err)
	}
	<-gone
}

func TestTheEndOfTheirHostCutsGuestsAndRefusesMore(t *testing.T) {
	n := &enginetest.Halting{At: make(chan bool), On: make(chan bool)}
	p := start(t, nil, enginetest.Node(t, n.ServeHTTP))
	ctx, leave := context.WithCancel(p.Ctx)
	in := p.inn("tcp")
	c, early, _ := in.visit(hello, nil) // before there is a host
	ok(t, early)
	_, tunnel, gone := in.visit(enginetest.CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"), nil)
	http.ReadResponse(tunnel, nil)
	over := make(chan error)
	go func() { over <- p.e.Host(ctx) }()
	if got := enginetest.Ask(t, c, early); got != "200" {
		t.Errorf("got %q", got)
	}
	leave()
	if err := <-over; err != nil {
		t.Error(err)
	}
	select {
	case <-gone:
	default:
		t.Error("it does not wait for its guests")
	}
	_, _, gone = in.visit(hello, nil)
	<-gone
	own, ownBr := p.Send("")
	if got := enginetest.Ask(t, own, ownBr); got != "200" {
		t.Errorf("the engine's own listener answers %q", got)
	}
}

// Without a listener of its own, an engine still sees to it that tunnels to a node that is cut end.
func TestTunnelsOfGuestsToACutNodeEnd(t *testing.T) {
	over := make(chan error, 1)
	p := start(t, nil, enginetest.Chatty(t, over))
	p.host(p.Ctx)
	in := p.inn("tcp")
	own := p.Dial()
	for limit := enginetest.Deadline(t, 10*time.Second); p.e.Connections(0) == 0 && limit.Err() == nil; { // until Serve has begun
		<-time.After(time.Millisecond)
	}
	own.Close()
	p.e.Retire(0)
	<-p.Served
	p.Served <- nil
	c, br, gone := in.visit(enginetest.Upgrade, nil)
	enginetest.ReadUntil(t, br, "hello")
	p.CutNodes(0)
	if b, err := io.ReadAll(br); err != nil || len(b) > 0 {
		t.Errorf("the client's side ended with %q, %v", b, err)
	}
	c.Close()
	if err := <-over; err != nil {
		t.Errorf("the node's side ended with %v", err)
	}
	<-gone
}
