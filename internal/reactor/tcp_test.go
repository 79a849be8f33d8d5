//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"roost"
	"roost/internal/proxyproto"
)

func raw(s *setup) { s.l.Protocol, s.key = roost.ServesTCP, roost.KeyOp{From: roost.FromClientIP} }

// echoes greets, as a server that speaks first, and repeats what it hears.
func echoes(t testing.TB, greeting string) string {
	return node(t, func(c *net.TCPConn, _ int) {
		io.WriteString(c, greeting)
		io.Copy(c, c)
	})
}

func TestAStreamNeedsNoByteOfItsClient(t *testing.T) {
	p := start(t, raw, echoes(t, "220 hello\r\n"))
	c, br := p.dial("")
	if s, err := br.ReadString('\n'); s != "220 hello\r\n" {
		t.Fatalf("%q, %v", s, err)
	}
	if n := p.live().Conns.Load(); n != 1 || p.live().InFlight.Load() != 0 {
		t.Errorf("%d connections, %d in flight", n, p.live().InFlight.Load())
	}
	io.WriteString(c, "quit")
	c.CloseWrite()
	if b, err := io.ReadAll(br); string(b) != "quit" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.wait(1); r.Proto != "TCP" || r.BytesIn != 4 || r.BytesOut != 15 || r.Aborted || r.Reason != "" || r.Node != "n1" || string(r.Key) != "127.0.0.1" || r.Tries != 1 {
		t.Errorf("%+v", r)
	}
}

func TestTheFirstBytesGiveTheKey(t *testing.T) {
	p := start(t, func(s *setup) {
		raw(s)
		s.key = roost.KeyOp{From: roost.FromBytes, Name: "\n"}
	}, echoes(t, ""))
	c, br := p.dial("dev")
	io.WriteString(c, "ice-7\nand more")
	c.CloseWrite()
	if b, err := io.ReadAll(br); string(b) != "device-7\nand more" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.wait(1); string(r.Key) != "device-7" || r.BytesIn != 17 {
		t.Errorf("%+v", r)
	}
}

func TestATLSClientsNameGivesTheKeyAndTLSPassesThrough(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.TLS.ServerName) }))
	defer srv.Close()
	p := start(t, func(s *setup) {
		raw(s)
		s.hello, s.key = true, roost.KeyOp{From: roost.FromSNI}
	}, srv.Listener.Addr().String())
	nc, _ := p.dial("")
	c := tls.Client(slowly{nc}, &tls.Config{ServerName: "Device-7.example", InsecureSkipVerify: true})
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); string(b) != "Device-7.example" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	io.Copy(io.Discard, nc) // what closes TLS
	nc.Close()
	if r := p.wait(1); string(r.Key) != "device-7.example" || !strings.EqualFold(r.Host, "device-7.example") || r.Aborted {
		t.Errorf("%+v", r)
	}
}

func TestAStreamUnderTLSIsJudgedByItsPlaintext(t *testing.T) {
	cert, ca := certificate(t, p256(t), nil)
	for _, bySNI := range []bool{true, false} {
		p := start(t, func(s *setup) {
			raw(s)
			s.tls, s.l.ProxyProtocol, s.l.Trust = &tls.Config{Certificates: []tls.Certificate{cert}}, true, everywhere
			s.hello, s.key = true, roost.KeyOp{From: roost.FromSNI}
			if !bySNI {
				s.hello, s.key = false, roost.KeyOp{From: roost.FromBytes, Name: "\n"}
			}
		}, echoes(t, "hi "))
		nc, _ := p.dial("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n")
		c := tls.Client(nc, &tls.Config{RootCAs: ca, ServerName: "roost.test"})
		for _, s := range []string{"fir", "st\n", "second"} {
			if _, err := io.WriteString(c, s); err != nil {
				t.Fatal(err)
			}
		}
		c.CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "hi first\nsecond" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
		want := "first"
		if bySNI {
			want = "roost.test"
		}
		if r := p.wait(1); string(r.Key) != want || r.Host != "roost.test" || r.Client.String() != "192.0.2.1" || r.BytesIn != 12 || r.BytesOut != 15 || r.Aborted {
			t.Errorf("%+v", r)
		}
	}
}

// slowly writes in pieces.
type slowly struct{ net.Conn }

func (s slowly) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = s.Conn.Write(b[n:min(len(b), n+50)])
		n += m
	}
	return n, err
}

func TestAClientThatIsNotToBeServedIsReset(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(*setup)
		says   string
	}{
		{"peek_timeout", func(s *setup) {
			s.key, s.l.HeadTimeout = roost.KeyOp{From: roost.FromBytes, Name: "\n"}, 50*time.Millisecond
		}, "no end of line"},
		{"tls_hello_invalid", func(s *setup) { s.hello = true }, "\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"},
		{"proxy_untrusted", func(s *setup) { s.l.ProxyProtocol = true }, ""},
		{"proxy_invalid", func(s *setup) { s.l.ProxyProtocol, s.l.Trust = true, everywhere }, "GET / HTTP/1.1\r\n"},
		{"proxy_invalid", func(s *setup) {
			s.l.ProxyProtocol, s.l.Trust, s.l.Protocol = true, everywhere, roost.ServesHTTP
		}, "GET / HTTP/1.1\r\n"},
	} {
		p := start(t, func(s *setup) { raw(s); c.change(s) }, echoes(t, ""))
		p.refused(c.says)
		if r := p.wait(1); r.Reason != c.why || !r.Aborted || r.Proto != "TCP" {
			t.Errorf("%s: %+v", c.why, r)
		}
	}
}

// refused is a client that is reset, before or after it said something, and gets nothing.
func (r *rig) refused(says string) {
	r.t.Helper()
	var err error
	for range 5 { // the system tells of a reset once, and net.Dial may ask and not say it
		var c net.Conn
		if c, err = net.Dial("tcp", r.addr); err == nil {
			io.WriteString(c, says)
			var b []byte
			if b, err = io.ReadAll(c); len(b) > 0 {
				r.t.Errorf("%q", b)
			}
			c.Close()
		}
		if errors.Is(err, syscall.ECONNRESET) {
			return
		}
	}
	r.t.Errorf("%q: %v", says, err)
}

var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func TestAListenerOfStreamsHasALimitOfConnections(t *testing.T) {
	p := start(t, func(s *setup) { raw(s); s.l.MaxConns = 1 }, echoes(t, "hi"))
	_, br := p.dial("")
	br.ReadByte() // it stands
	p.refused("")
	if r := p.wait(1); r.Reason != "too_many_connections" {
		t.Errorf("%+v", r)
	}
}

// nowhere is an address at which nobody listens.
func nowhere(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// silence is an address that answers no attempt to connect: its queue is full.
func silence(t testing.TB) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "")
	t.Cleanup(func() { f.Close() })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, _ := syscall.Getsockname(fd)
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for {
		c, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestAStreamTriesAnotherNodeWhenOneIsNotThere(t *testing.T) {
	p := start(t, func(s *setup) { raw(s); s.p.ConnectTimeout = 100 * time.Millisecond }, nowhere(t), silence(t), echoes(t, ""))
	c, br := p.dial("once")
	c.CloseWrite()
	if b, err := io.ReadAll(br); string(b) != "once" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if r := p.wait(1); r.Node != "n3" || r.Why != roost.WhyRetry || r.Aborted {
		t.Errorf("%+v", r)
	}
	q := start(t, raw, nowhere(t), nowhere(t))
	q.refused("once")
	if r := q.wait(1); r.Reason != "node_refused" || r.Tries != 2 || !r.Aborted {
		t.Errorf("%+v", r)
	}
}

func TestANodesNameIsResolved(t *testing.T) {
	_, port, _ := net.SplitHostPort(echoes(t, ""))
	p := start(t, raw, "localhost:"+port)
	c, br := p.dial("x")
	c.CloseWrite()
	if b, err := io.ReadAll(br); string(b) != "x" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAClientThatLeavesWhileItsNodeIsDialledLeavesNothingBehind(t *testing.T) {
	p := start(t, raw, silence(t))
	c, _ := p.dial("x")
	for p.live().InFlight.Load() == 0 { // the attempt has begun
		runtime.Gosched()
	}
	c.SetLinger(0)
	c.Close()
	if r := p.wait(1); r.Reason != "client_gone" || !r.Aborted {
		t.Errorf("%+v", r)
	}
	_, br := p.dial("y")
	for p.live().InFlight.Load() == 0 {
		runtime.Gosched()
	}
	p.stop() // cuts it off
	if _, err := br.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

func TestAPROXYHeaderSaysWhoTheClientIs(t *testing.T) {
	for _, version := range []uint8{0, 1, 2} {
		heard := make(chan string, 1)
		p := start(t, func(s *setup) {
			raw(s)
			s.l.ProxyProtocol, s.l.Trust, s.p.SendProxy = true, everywhere, version
		}, node(t, func(c *net.TCPConn, _ int) {
			b, _ := io.ReadAll(c)
			heard <- string(b)
		}))
		c, br := p.dial("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nhe")
		io.WriteString(c, "llo")
		c.CloseWrite()
		io.ReadAll(br)
		got := <-heard
		if r := p.wait(1); r.Client.String() != "192.0.2.1" || string(r.Key) != "192.0.2.1" || r.BytesIn != 5 {
			t.Errorf("%+v", r)
		}
		var h proxyproto.Header
		if version > 0 {
			if whole, err := proxyproto.Parse(got, &h); !whole || err != nil || h.Version != version || h.Src.String() != "192.0.2.1:12345" || h.Dst.String() != "198.51.100.2:443" {
				t.Errorf("version %d: %q, %+v, %v", version, got, h, err)
			}
		}
		if got[h.Size:] != "hello" {
			t.Errorf("%q", got)
		}
	}
}

func TestHTTPWithPROXYHeaders(t *testing.T) {
	heads := make(chan proxyproto.Header, 2)
	p := start(t, func(s *setup) {
		s.l.ProxyProtocol, s.l.Trust, s.p.SendProxy = true, everywhere, 2
	}, node(t, func(c *net.TCPConn, _ int) {
		br := bufio.NewReader(c)
		b, _ := br.Peek(52)
		var h proxyproto.Header
		proxyproto.Parse(string(b), &h)
		heads <- h
		br.Discard(h.Size)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body := req.Header.Get("X-Forwarded-For")
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}))
	c, br := p.dial("PROXY TCP6 2001:db8::1 2001:db8::2 7 8\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
	for i := range 2 {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "2001:db8::1" {
			t.Errorf("%q", b)
		}
		if h := <-heads; h.Src.String() != "[2001:db8::1]:7" || h.Dst.String() != "[2001:db8::2]:8" {
			t.Errorf("%+v", h) // a new connection for each request: none is shared
		}
		if i == 0 {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		}
	}
}

func TestWithoutAPROXYHeaderTheNodeIsToldOfTheSocket(t *testing.T) {
	heard := make(chan []byte, 1)
	p := start(t, func(s *setup) { raw(s); s.p.SendProxy = 1 }, node(t, func(c *net.TCPConn, _ int) {
		b, _ := io.ReadAll(c)
		heard <- b
	}))
	c, br := p.dial("")
	c.CloseWrite()
	io.ReadAll(br)
	from, to := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	want := fmt.Sprintf("PROXY TCP4 %s %s %d %d\r\n", from.IP, to.IP, from.Port, to.Port)
	if got := <-heard; !bytes.Equal(got, []byte(want)) {
		t.Errorf("%q, not %q", got, want)
	}
}
