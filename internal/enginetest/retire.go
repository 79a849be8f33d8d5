package enginetest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

// Second adds a listener to what p serves.
func (p *Proxy) Second() roost.ListenerID {
	next := Successor(p.Snap.Load())
	view := next.Listeners[0]
	view.Name = "second"
	next.Listeners = append(next.Listeners, view)
	p.Snap.Store(next)
	return roost.ListenerID(len(next.Listeners) - 1)
}

// ListenOn listens on a free port of the loopback, or on a unix socket.
func ListenOn(t testing.TB, network string) net.Listener {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (engine subject) TestARetiredListenerFinishesWhatItHasAndNothingElseEnds(t *testing.T) {
	t.Parallel()
	cert := Cert(t)
	for name, kind := range map[string]struct {
		network string
		secure  bool
	}{"tcp": {"tcp", false}, "tls": {"tcp", true}, "unix": {"unix", false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &Halting{At: make(chan bool), On: make(chan bool)}
			p := engine.start(t, nil, Node(t, n.ServeHTTP))
			var conf func() *tls.Config
			if kind.secure {
				conf = func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
			}
			open := func(ln net.Listener, send string) (net.Conn, *bufio.Reader) {
				c, err := net.Dial(kind.network, ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				c.SetDeadline(time.Now().Add(20 * time.Second))
				if kind.secure {
					c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				}
				io.WriteString(c, send)
				return c, bufio.NewReader(c)
			}
			id, ln := p.Second(), ListenOn(t, kind.network)
			served := p.serve(ln, id, conf)
			mainConn, main := p.Send(CRLF("GET /ok HTTP/1.1", "Host: h"))
			ReadAnswer(t, main, "GET")
			ic, idle := open(ln, CRLF("GET /ok HTTP/1.1", "Host: h"))
			ReadAnswer(t, idle, "GET")
			bc, busy := open(ln, CRLF("GET /wait HTTP/1.1", "Host: h"))
			<-n.At
			tc, tunnel := open(ln, CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
			http.ReadResponse(tunnel, nil)
			late, crossing := open(ln, CRLF("GET /ok HTTP/1.1", "Host: h"))
			ReadAnswer(t, crossing, "GET")

			p.E.Retire(id)
			p.E.Retire(id) // again says nothing new
			if got := Ask(t, late, crossing); got != "200 close" {
				t.Errorf("a request that crossed the close got %q", got)
			}
			Ended(t, idle)
			late.Close() // or we would wait for it to end its side
			ic.Close()
			n.On <- true
			if res, body := ReadAnswer(t, busy, "GET"); body != "waited" || !res.Close {
				t.Errorf("the request under way got %q, close %v", body, res.Close)
			}
			Ended(t, busy)
			bc.Close()
			if _, err := net.Dial(kind.network, ln.Addr().String()); err == nil {
				t.Error("a connection was accepted")
			}

			// The listener returns, on another socket, while the tunnel lives on.
			again := ListenOn(t, kind.network)
			returned := p.serve(again, id, conf)
			nc, next := open(again, CRLF("GET /ok HTTP/1.1", "Host: h"))
			ReadAnswer(t, next, "GET")
			for limit := Deadline(t, 10*time.Second); p.E.Connections(id) != 2 && limit.Err() == nil; {
				<-time.After(time.Millisecond)
			}
			if got := p.E.Connections(id); got != 2 {
				t.Errorf("%d connections, want the tunnel and the new one", got)
			}
			if got := Ask(t, nc, next); got != "200" {
				t.Errorf("the listener that returned answers %q", got)
			}
			if got := Ask(t, mainConn, main); got != "200" {
				t.Errorf("the other listener answers %q", got)
			}
			select {
			case err := <-served:
				t.Fatalf("Serve returned %v, with a tunnel still open", err)
			default:
			}
			io.WriteString(tc, "!")
			if b, err := tunnel.ReadByte(); b != '!' {
				t.Errorf("the tunnel: %q, %v", b, err)
			}
			tc.Close()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
			nc.Close()
			p.E.Retire(id)
			if err := <-returned; err != nil {
				t.Errorf("Serve: %v", err)
			}
			if got := p.E.Connections(id); got != 0 {
				t.Errorf("%d connections are left", got)
			}
		})
	}
}

func (engine subject) TestStreamsOfARetiredListenerAreAnswered(t *testing.T) {
	n := &Halting{At: make(chan bool), On: make(chan bool)}
	p := engine.start(t, nil, Node(t, n.ServeHTTP))
	id, ln := p.Second(), ListenOn(t, "tcp")
	served := p.serve(ln, id, nil)
	c := h2client(t)
	got := make(chan string)
	go func() {
		_, body := Get(t, c, "http://"+ln.Addr().String()+"/wait")
		got <- body
	}()
	<-n.At
	p.E.Retire(id)
	n.On <- true
	if body := <-got; body != "waited" {
		t.Errorf("got %q", body)
	}
	if err := <-served; err != nil { // the client keeps its connection: it is we who end it
		t.Errorf("Serve: %v", err)
	}
}

func (engine subject) TestAListenerThatBrokeIsNotTakenForARetiredOne(t *testing.T) {
	p := engine.start(t, nil)
	ln := ListenOn(t, "tcp")
	ln.Close()
	if err := <-p.serve(ln, p.Second(), nil); err == nil {
		t.Error("no error")
	}
}

func (engine subject) TestAnEngineThatDrainsServesNothingNew(t *testing.T) {
	p := engine.start(t, nil)
	p.E.Drain(Deadline(t, 10*time.Second))
	ln := ListenOn(t, "tcp")
	if err := <-p.serve(ln, 0, nil); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("its listener is still open")
	}
}

// One listener keeps its socket while TLS is switched on, given another certificate, and switched off. Connections that
// stand keep what they began with.
func (engine subject) TestTLSOfAListenerChangesFromConnectionToConnection(t *testing.T) {
	first, second := Cert(t), Cert(t)
	var conf atomic.Pointer[tls.Config]
	p := engine.start(t, nil, Node(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Forwarded-Proto")) }))
	id, ln := p.Second(), ListenOn(t, "tcp")
	p.serve(ln, id, conf.Load)
	t.Cleanup(func() { p.E.Retire(id) })
	type client struct {
		c    net.Conn
		br   *bufio.Reader
		want string
	}
	var clients []client
	for i, cert := range []*tls.Certificate{nil, &first, &second, nil} {
		conf.Store(nil)
		if cert != nil {
			conf.Store(&tls.Config{Certificates: []tls.Certificate{*cert}})
		}
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want := "http"
		if cert != nil {
			tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if err := tc.Handshake(); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			if !bytes.Equal(tc.ConnectionState().PeerCertificates[0].Raw, cert.Certificate[0]) {
				t.Errorf("connection %d: another certificate", i)
			}
			c, want = tc, "https"
		}
		clients = append(clients, client{c, bufio.NewReader(c), want})
		for j, k := range clients {
			io.WriteString(k.c, CRLF("GET / HTTP/1.1", "Host: h"))
			if _, body := ReadAnswer(t, k.br, "GET"); body != k.want {
				t.Errorf("connection %d, after change %d: %q, want %q", j, i, body, k.want)
			}
		}
	}
}

// Two engines, as two processes do, hold the same listening socket. The first one hands over under load: no client sees
// anything of it, neither those that are connected nor those that come.
func (engine subject) TestAHandOverUnderLoadFailsNobody(t *testing.T) {
	n := &Halting{}
	addr := Node(t, n.ServeHTTP)
	var shared net.Listener
	old := engine.start(t, func(s *Setup) { s.Wrap = func(ln net.Listener) net.Listener { shared = ln; return ln } }, addr)
	file, err := shared.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dup, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	fresh := engine.start(t, func(s *Setup) { s.Wrap = func(ln net.Listener) net.Listener { ln.Close(); return dup } }, addr)

	tc, tunnel := old.Send(CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
	http.ReadResponse(tunnel, nil)
	if old.E.Connections(0) == 0 { // whichever accepted it: the one that hands over is the one with the tunnel
		old, fresh = fresh, old
	}
	stop := make(chan bool)
	var clients sync.WaitGroup
	var answered atomic.Int64
	warm := make(chan bool, 500)
	for i := range 10 {
		clients.Go(func() {
			for {
				c, err := net.Dial("tcp", shared.Addr().String())
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				br := bufio.NewReader(c)
				for range 20 {
					io.WriteString(c, CRLF("GET /ok HTTP/1.1", "Host: h"))
					res, err := http.ReadResponse(br, nil)
					if err != nil || res.StatusCode != 200 {
						t.Errorf("client %d: %v, %v", i, res, err)
						c.Close()
						return
					}
					io.Copy(io.Discard, res.Body)
					answered.Add(1)
					select {
					case warm <- true:
					case <-stop:
						c.Close()
						return
					}
					if res.Close {
						break
					}
				}
				c.Close()
			}
		})
	}
	some := func() {
		for range cap(warm) {
			<-warm
		}
	}
	some()
	handed := make(chan error)
	go func() { handed <- old.E.HandOver(Deadline(t, 20*time.Second)) }()
	some()
	for limit := Deadline(t, 10*time.Second); old.E.Connections(0) > 1 && limit.Err() == nil; {
		some()
	}
	if got := old.E.Connections(0); got != 1 {
		t.Errorf("%d connections are left, want the tunnel", got)
	}
	some()
	close(stop)
	clients.Wait()
	select {
	case err := <-handed:
		t.Errorf("handed over (%v), with a tunnel still open", err)
	default:
	}
	io.WriteString(tc, "!")
	if b, err := tunnel.ReadByte(); b != '!' {
		t.Errorf("the tunnel: %q, %v", b, err)
	}
	tc.Close()
	if err := <-handed; err != nil {
		t.Error(err)
	}
	t.Logf("%d requests", answered.Load())
}

func (engine subject) TestAHandOverLeavesTheQueueToTheOtherProcess(t *testing.T) {
	p := engine.start(t, nil, Node(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	ln := ListenOn(t, "tcp")
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p.serve(ln, p.Second(), nil)
	if err := p.E.HandOver(Deadline(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String()) // nobody accepts now
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, CRLF("GET / HTTP/1.1", "Host: h"))
	dup, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	other := engine.start(t, nil, Node(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	other.serve(dup, 0, nil)
	if _, body := ReadAnswer(t, bufio.NewReader(c), "GET"); body != "hello" {
		t.Errorf("got %q", body)
	}
}

// A drain under way may be given a shorter deadline by another one, as when a process that has handed over is told to end.
func (engine subject) TestOfTwoDrainsTheFirstDeadlineCuts(t *testing.T) {
	n := &Halting{}
	p := engine.start(t, nil, Node(t, n.ServeHTTP))
	_, tunnel := p.Send(CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
	http.ReadResponse(tunnel, nil)
	long := make(chan error)
	go func() { long <- p.E.HandOver(Deadline(t, time.Hour)) }()
	if err := p.E.Drain(Deadline(t, 30*time.Millisecond)); err == nil {
		t.Error("nothing was cut")
	}
	if err := <-long; err != nil {
		t.Error(err)
	}
}
