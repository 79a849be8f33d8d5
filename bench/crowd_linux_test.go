package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// serveTLS answers behind the bench's own kind of certificate.
func serveTLS(t *testing.T, handler http.Handler) (port int) {
	crt, err := makeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(crt.cert, crt.key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, handler)
}

func TestTheCertificateIsBelievedByWhoeverChecksIt(t *testing.T) {
	crt, err := makeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(crt.both, crt.both) // as HAProxy reads it
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{pair}})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(b, clientTLS(crt.roots))
	if err := client.Handshake(); err != nil {
		t.Error(err)
	}
	if st := client.ConnectionState(); st.Version != tls.VersionTLS13 || tls.CipherSuiteName(st.CipherSuite) != suite {
		t.Errorf("%s, %s", tls.VersionName(st.Version), tls.CipherSuiteName(st.CipherSuite))
	}
	go client.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLoadOverTLSCountsGoodAnswersAndHandshakes(t *testing.T) {
	h := testHarness(t, 0.1)
	var wrong atomic.Bool
	var seen sync.Map // addresses of clients
	count := func() (n int64) {
		seen.Range(func(any, any) bool { n++; return true })
		return n
	}
	port := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.RemoteAddr, nil)
		if wrong.Load() {
			w.Write(body(99))
			return
		}
		w.Write(body(100))
	}))
	c := Case{Front: TLS, Conns: 4, Path: pathSmall}
	s := h.steady(t, c, port)
	if s.Errors != 0 || s.Wrong != 0 || s.P50 <= 0 || s.P999 < s.P50 || s.RSS == 0 {
		t.Errorf("%+v", s)
	}
	if n := count(); n%int64(c.Conns) != 0 || n > 8*int64(c.Conns) { // each of its runs opens them once
		t.Errorf("%d connections for a few runs with %d", n, c.Conns)
	}
	seen.Clear()
	c.PerRequest = true
	if s := h.steady(t, c, port); s.Errors != 0 || count() < s.Requests {
		t.Errorf("%d connections: %+v", count(), s)
	}
	wrong.Store(true)
	if s, err := h.once(t, c, port); err != nil || s.Requests != 0 || s.Wrong == 0 || s.Errors == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestIdleConnectionsHaveTheirExchangeAndLiveOn(t *testing.T) {
	h := testHarness(t, 0.1)
	ports := startUpstream(t, h)
	r := &runner{target: target{port: ports[0]}, pids: []int{os.Getpid()}}
	for _, c := range []Case{
		{Kind: Idle, Conns: 40, Path: pathSmall},
		{Kind: Idle, Conns: 40, Path: pathEcho, Upgrade: true},
		{Kind: Idle, Conns: 40, Path: path32K, Post: 32 << 10},
	} {
		s, err := h.load(t.Context(), Load{Case: c}, r, -1)
		if err != nil || s.Requests != 40 || s.Errors != 0 || s.RSS == 0 {
			t.Errorf("%s: %+v, %v", c.Path, s, err)
		}
	}
}

func TestIdleConnectionsThatTheProxyEndsAreCounted(t *testing.T) {
	h := testHarness(t, 0.1)
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.Write(body(100))
	}))
	s, err := h.load(t.Context(), Load{Case: Case{Kind: Idle, Conns: 9, Path: pathSmall}}, &runner{target: target{port: port}, pids: []int{os.Getpid()}}, -1)
	if err != nil || s.Requests != 9 || s.Errors != 9 {
		t.Errorf("%+v, %v", s, err)
	}
}

// limited takes so many connections and does with the others as told.
type limited struct {
	net.Listener
	left   int
	refuse func(net.Conn)
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.left--; l.left >= 0 {
			return c, nil
		}
		l.refuse(c)
	}
}

func TestAFloodIsCountedToTheLastConnection(t *testing.T) {
	h := testHarness(t, 0.1)
	for name, c := range map[string]struct {
		refuse func(net.Conn)
		want   Sample
	}{
		"503": {func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 503 full\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			c.Close()
		}, Sample{Served: 30, Kept: 30, Refused: 10}},
		"closed": {func(c net.Conn) { c.Close() }, Sample{Served: 30, Kept: 30, Closed: 10}},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := serveOn(t, &limited{ln, 30, c.refuse}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(body(100)) }))
		s, err := h.once(t, Case{Kind: Flooded, Conns: 40, Limit: 30, Path: pathSmall}, port)
		got := Sample{Served: s.Served, Kept: s.Kept, Refused: s.Refused, Closed: s.Closed, Silent: s.Silent}
		if err != nil || got != c.want || s.Requests != 40 {
			t.Errorf("%s: %+v, %v; want %+v", name, s, err, c.want)
		}
	}
}

func TestSlowClientsStandBesideALoad(t *testing.T) {
	h := testHarness(t, 0.2)
	ports := startUpstream(t, h)
	s, err := h.once(t, Case{Kind: Slow, Conns: 4, Rate: 200, Path: pathSmall, Slow: 50}, ports[0])
	if err != nil || s.Slow != 50 || s.Cut != 0 || s.Errors != 0 || s.P99 <= 0 || s.AloneP99 <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestASlowClientThatIsCutIsCountedAndComesBack(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	d := &dripper{load: &Load{Port: ln.Addr().(*net.TCPAddr).Port}, conns: make([]net.Conn, 2)}
	defer d.hangUp()
	d.step(t.Context(), 0, 2) // opens the first of two
	if got := d.count(); got != (Drips{Open: 1}) {
		t.Fatalf("%+v", got)
	}
	(<-accepted).Close()
	for d.cut == 0 { // one byte is taken by the socket; the next finds out
		d.step(t.Context(), 0, 2)
	}
	if got := d.count(); got != (Drips{Cut: 1}) {
		t.Errorf("%+v", got)
	}
	d.step(t.Context(), 0, 2)
	if got := d.count(); got != (Drips{Open: 1, Cut: 1}) {
		t.Errorf("%+v", got)
	}
	(<-accepted).Close()
}

func TestACrowdStopsAtItsFirstFailureAndDoesAllOtherwise(t *testing.T) {
	var done atomic.Int64
	if err := crowd(1000, func(int, []byte) error { done.Add(1); return nil }); err != nil || done.Load() != 1000 {
		t.Errorf("%d of 1000, %v", done.Load(), err)
	}
	done.Store(0)
	err := crowd(1_000_000, func(i int, _ []byte) error { done.Add(1); return io.EOF })
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "connection ") || done.Load() > openers {
		t.Errorf("%v after %d", err, done.Load())
	}
}

func TestARelayIsCheckedByAddresses(t *testing.T) {
	h := testHarness(t, 0.1)
	ports := startUpstream(t, h)
	var turn atomic.Int64
	for _, c := range []struct {
		name, want string
		choose     func(from net.Addr) int
	}{
		{"by address", "", func(from net.Addr) int { return int(from.(*net.TCPAddr).IP.To4()[3] % nodes) }},
		{"in turn", "no affinity", func(net.Addr) int { return int(turn.Add(1) % nodes) }},
		{"all to one", "1 of 4", func(net.Addr) int { return 0 }},
	} {
		port := relay(t, func(from net.Addr) target { return target{port: ports[c.choose(from)]} })
		err := check(t.Context(), target{port: port}, Relay)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	reader := serve(t, proxy(t, ports, byHash))
	if err := check(t.Context(), target{port: reader}, Relay); err == nil || !strings.Contains(err.Error(), "no relay") {
		t.Errorf("a proxy that reads HTTP: %v", err)
	}
}

// relay copies bytes both ways until the test ends.
func relay(t *testing.T, choose func(net.Addr) target) (port int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			node, err := choose(c.RemoteAddr()).connect(ctx, 0)
			if err != nil {
				c.Close()
				continue
			}
			wg.Go(func() { io.Copy(node, c); node.Close() })
			wg.Go(func() { io.Copy(c, node); c.Close() })
		}
	})
	return ln.Addr().(*net.TCPAddr).Port
}
