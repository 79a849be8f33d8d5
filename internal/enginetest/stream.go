package enginetest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/proxyproto"
	"roost/internal/route"
)

// startRaw serves raw connections by the key, in the words of a configuration; host is what the route matches.
func (engine subject) startRaw(t *testing.T, key, host string, change func(*Setup), nodes ...string) *Proxy {
	t.Helper()
	k, err := route.ParseKey(key, route.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	p := engine.start(t, func(s *Setup) {
		s.Listener.Protocol = roost.ServesTCP
		if change != nil {
			change(s)
		}
		s.Edit = func(s *roost.Snapshot) {
			rt := &roost.Route{Name: "raw", PoolID: "pool", Keys: []roost.KeyProgram{k}, Match: roost.Match{Host: host}, OnMissing: roost.MissingReject}
			s.Listeners[0].Routes, s.Listeners[0].Hello = []*roost.Route{rt}, route.NeedsHello(rt)
		}
	}, nodes...)
	return p
}

// turnedAway says what is to be answered by the connection's end, and by nothing else. It may be over before it is known to
// have begun.
func (p *Proxy) turnedAway(send string, half bool) {
	p.T.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, send)
	if half {
		c.(*net.TCPConn).CloseWrite()
	}
	if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		p.T.Errorf("after %q: %q, %v", send, b, err)
	}
}

// echo is a node that sends back what it gets, and tells its own end after the client's.
func echo(t *testing.T) string {
	return RawNode(t, func(c net.Conn, _ int) { io.Copy(struct{ io.Writer }{c}, c) })
}

func (engine subject) TestBytesGoBothWaysUntilBothSidesEnd(t *testing.T) {
	p := engine.startRaw(t, "client_ip", "", nil, echo(t))
	c := p.Dial()
	for _, want := range []string{"hello", strings.Repeat("x", 300_000)} {
		go io.WriteString(c, want)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	live := p.First.Pools[0].Nodes[0].Live
	if live.Conns.Load() != 1 || live.InFlight.Load() != 0 {
		t.Errorf("connections %d, in flight %d", live.Conns.Load(), live.InFlight.Load())
	}
	io.WriteString(c, "last words")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "last words" {
		t.Errorf("after the client's end: %q, %v", b, err)
	}
	r := p.Wait(1)
	if r.Proto != "TCP" || r.BytesIn != 300_015 || r.BytesOut != 300_015 || r.Aborted || string(r.Key) != "127.0.0.1" || r.Node != "n1" || r.Route.Name != "raw" {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestAServerMaySpeakFirst(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		io.WriteString(c, "220 ready\r\n")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	})
	p := engine.startRaw(t, "client_ip", "", nil, n)
	c := p.Dial()
	if b, err := io.ReadAll(c); err != nil || string(b) != "220 ready\r\n" {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	p.Wait(1)
}

func (engine subject) TestTLSPassesThroughByTheNameAskedFor(t *testing.T) {
	cert := Cert(t)
	n := RawNode(t, func(c net.Conn, _ int) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		fmt.Fprintf(s, "for %s\n", sniOf(s))
		s.Close()
	})
	p := engine.startRaw(t, "sni", "*.example.com", nil, n)
	c := tls.Client(p.Dial(), &tls.Config{ServerName: "A.example.com", InsecureSkipVerify: true})
	if b, err := io.ReadAll(c); err != nil || string(b) != "for A.example.com\n" {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	if r := p.Wait(1); string(r.Key) != "a.example.com" || r.Host != "A.example.com" {
		t.Errorf("record %+v", r)
	}
	for i, conf := range []*tls.Config{{ServerName: "example.org"}, {InsecureSkipVerify: true}} {
		if err := tls.Client(p.Dial(), conf).Handshake(); err == nil {
			t.Errorf("%+v is served", conf)
		}
		if r := p.Wait(i + 2); r.Reason != "no_route" || !r.Aborted {
			t.Errorf("record %+v", r)
		}
	}
}

func sniOf(c *tls.Conn) string {
	if err := c.Handshake(); err != nil {
		return err.Error()
	}
	return c.ConnectionState().ServerName
}

func (engine subject) TestTLSThatEndsHereGivesItsNameAndClearBytes(t *testing.T) {
	cert := Cert(t)
	p := engine.startRaw(t, "sni", "", func(s *Setup) { s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} }, echo(t))
	c := tls.Client(p.Dial(), &tls.Config{ServerName: "a.example", InsecureSkipVerify: true})
	io.WriteString(c, "hello")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.Wait(1); string(r.Key) != "a.example" || r.Host != "a.example" || r.BytesIn != 5 {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestKeysAreMadeOfFirstBytesHoweverTheyCome(t *testing.T) {
	for _, c := range []struct{ key, send, want string }{
		{"bytes[1:4]", "0123456789", "123"},
		{`bytes_until:\r\n`, "room 7\r\nhello", "room 7"},
		{"{bytes[0:2]}-{bytes_until:!}", "ab cd!rest", "ab-ab cd"},
	} {
		p := engine.startRaw(t, c.key, "", nil, echo(t))
		for i, step := range []int{1, len(c.send)} {
			conn := p.Dial()
			for b := c.send; b != ""; b = b[min(step, len(b)):] {
				io.WriteString(conn, b[:min(step, len(b))])
			}
			conn.CloseWrite()
			if b, err := io.ReadAll(conn); err != nil || string(b) != c.send {
				t.Errorf("%s: %q came back, %v", c.key, b, err)
			}
			if r := p.Wait(i + 1); string(r.Key) != c.want || r.BytesIn != int64(len(c.send)) {
				t.Errorf("%s: record %+v", c.key, r)
			}
		}
	}
}

func (engine subject) TestWhatCannotBePlacedIsClosedWithAReason(t *testing.T) {
	short := func(s *Setup) { s.Listener.HeadTimeout = 50 * time.Millisecond }
	dead, _ := net.Listen("tcp", "127.0.0.1:0")
	dead.Close()
	for _, c := range []struct {
		key, host, send string
		half            bool
		change          func(*Setup)
		node            string
		reason          string
	}{
		{"bytes[0:8]", "", "short", true, nil, "", "key_missing"},
		{"bytes[0:8]", "", "short", false, short, "", "peek_timeout"},
		{"bytes[0:8]", "", "", false, short, "", "peek_timeout"},
		{`bytes_until:\n`, "", strings.Repeat("x", roost.MaxFirst), false, nil, "", "key_missing"},
		{"sni", "", "\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", false, nil, "", "tls_hello_invalid"},
		{"sni", "", "\x16\x03\x01\x00\x05\x01", true, nil, "", "tls_hello_invalid"},
		{"sni", "", "SSH-2.0-x\r\n", false, nil, "", "key_missing"},
		{"sni", "a.example", "SSH-2.0-x\r\n", false, nil, "", "no_route"},
		{"client_ip", "", "", false, nil, dead.Addr().String(), "node_refused"},
	} {
		if c.node == "" {
			c.node = echo(t)
		}
		p := engine.startRaw(t, c.key, c.host, c.change, c.node)
		p.turnedAway(c.send, c.half)
		if r := p.Wait(1); r.Reason != c.reason || r.Proto != "TCP" || r.Status != 0 {
			t.Errorf("%s of %q: %+v", c.key, c.send, r)
		}
	}
	// Who connects and leaves without a word asked for nothing.
	p := engine.startRaw(t, "bytes[0:8]", "", nil, echo(t))
	p.Dial().Close()
	io.WriteString(p.Dial(), "")
	_, br := p.Send("12345678")
	br.ReadByte()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.records) > 0 {
		t.Errorf("records %+v", p.records)
	}
}

func (engine subject) TestADeadNodeIsLeftForTheNextAndNothingIsLost(t *testing.T) {
	dead, _ := net.Listen("tcp", "127.0.0.1:0")
	dead.Close()
	p := engine.startRaw(t, "bytes[0:4]", "", nil, dead.Addr().String(), echo(t))
	c, br := p.Send("key and more")
	c.CloseWrite()
	if b, err := io.ReadAll(br); err != nil || string(b) != "key and more" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.Wait(1); r.Node != "n2" || r.Tries != 2 || r.Reason != "" || r.Aborted {
		t.Errorf("record %+v", r)
	}
	if l := p.First.Pools[0].Nodes[0].Live; l.ConnectFail.Load() != 1 || l.HoldUntil.Load() == 0 {
		t.Error("the node is not on hold")
	}
	if l := p.First.Pools[0].Nodes[1].Live; l.Requests.Load() != 1 {
		t.Errorf("%d attempts tallied", l.Requests.Load())
	}
}

func (engine subject) TestANodeThatBreaksOffResetsNobodysOtherConnection(t *testing.T) {
	n := RawNode(t, func(c net.Conn, n int) {
		if n == 1 {
			io.ReadFull(c, make([]byte, 4))
			c.(*net.TCPConn).SetLinger(0)
			return
		}
		io.Copy(struct{ io.Writer }{c}, c)
	})
	p := engine.startRaw(t, "client_ip", "", nil, n)
	first, br := p.Send("boom")
	if _, err := br.ReadByte(); err == nil {
		t.Error("a byte came")
	}
	first.Close()
	if r := p.Wait(1); !r.Aborted || r.Tries != 1 {
		t.Errorf("record %+v", r)
	}
	second, br2 := p.Send("ok")
	second.CloseWrite()
	if b, err := io.ReadAll(br2); err != nil || string(b) != "ok" {
		t.Errorf("%q, %v", b, err)
	}
}

// trusting makes a listener take PROXY headers from the loopback network.
func trusting(s *Setup) {
	s.Listener.ProxyProtocol, s.Listener.Trust = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func (engine subject) TestAProxyHeaderTellsOfTheClientAndGoesOn(t *testing.T) {
	heads := make(chan proxyproto.Header, 1)
	n := RawNode(t, func(c net.Conn, _ int) {
		b := make([]byte, 4096)
		for have := 0; ; {
			m, err := c.Read(b[have:])
			if err != nil {
				return
			}
			var h proxyproto.Header
			have += m
			if whole, err := proxyproto.Parse(string(b[:have]), &h); whole {
				heads <- h
				c.Write(b[h.Size:have])
				io.Copy(struct{ io.Writer }{c}, c)
				return
			} else if err != nil {
				t.Error(err)
				return
			}
		}
	})
	in := proxyproto.Header{Src: netip.MustParseAddrPort("192.0.2.7:4242"), Dst: netip.MustParseAddrPort("198.51.100.1:8883"),
		TLVs: "\xea\x00\x05\x01vpce"}
	for version := range uint8(3) {
		if version == 0 {
			continue
		}
		p := engine.startRaw(t, "{proxy_tlv:aws}@{client_ip}", "", func(s *Setup) { trusting(s); s.Pool.SendProxy = version }, n)
		b := append(proxyproto.AppendV2(nil, &in), "hello"...)
		c := p.Dial()
		for i := range b { // in pieces of one byte
			c.Write(b[i : i+1])
		}
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Fatalf("version %d: %q, %v", version, got, err)
		}
		if h := <-heads; h.Version != version || h.Src != in.Src || h.Dst != in.Dst || version == 2 && h.TLVs != in.TLVs {
			t.Errorf("the node got %+v", h)
		}
		if r := p.Wait(1); string(r.Key) != "\x01vpce@192.0.2.7" || r.Client.String() != "192.0.2.7" || r.BytesIn != 5 {
			t.Errorf("record %+v", r)
		}
		// A health check of the proxy itself.
		p = engine.startRaw(t, "client_ip", "", func(s *Setup) { trusting(s); s.Pool.SendProxy = version }, n)
		c, br := p.Send(string(proxyproto.AppendV2(nil, &proxyproto.Header{Local: true})))
		c.CloseWrite()
		io.ReadAll(br)
		if h := <-heads; h.Src.Addr() != loopback || h.Dst.String() != p.Addr {
			t.Errorf("the node got %+v", h)
		}
	}
}

func (engine subject) TestProxyHeadersAreTakenFromTrustedNetworksAlone(t *testing.T) {
	const ask = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	n := Node(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Forwarded-For")) })
	for _, c := range []struct {
		head   string
		change func(*Setup)
		want   string // the client that the node hears of, or
		reason string
	}{
		{"PROXY TCP4 192.0.2.7 198.51.100.1 4242 80\r\n", trusting, "192.0.2.7", ""},
		{"PROXY UNKNOWN\r\n", trusting, "127.0.0.1", ""},
		{"PROXY TCP4 192.0.2.7 198.51.100.1 4242 80\r\n", func(s *Setup) { s.Listener.ProxyProtocol = true }, "", "proxy_untrusted"},
		{"PROXY TCP4 192.0.2.7\r\n", trusting, "", "proxy_invalid"},
		{"", trusting, "", "proxy_invalid"},
	} {
		p := engine.start(t, c.change, n)
		if c.reason != "" {
			p.turnedAway(c.head+ask, false)
			if r := p.Wait(1); r.Reason != c.reason {
				t.Errorf("%q: %+v", c.head, r)
			}
			continue
		}
		_, br := p.Send(c.head + ask)
		if _, got := ReadAnswer(t, br, "GET"); got != c.want {
			t.Errorf("%q: the node heard of %q", c.head, got)
		}
	}
}

func (engine subject) TestAProxyHeaderStandsInFrontOfTLS(t *testing.T) {
	cert := Cert(t)
	p := engine.startRaw(t, "client_ip", "", func(s *Setup) {
		trusting(s)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}, echo(t))
	raw, _ := p.Send("PROXY TCP4 192.0.2.7 198.51.100.1 4242 80\r\n")
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	io.WriteString(c, "hello")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.Wait(1); string(r.Key) != "192.0.2.7" {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestHTTPNodesHearOfEachClientOnItsOwnConnection(t *testing.T) {
	n := RawNode(t, func(c net.Conn, conn int) {
		br := bufio.NewReader(c)
		head, _ := br.ReadString('\n')
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			body := fmt.Sprintf("%d: %s", conn, head)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	p := engine.start(t, func(s *Setup) { s.Pool.SendProxy = 1 }, n)
	c, br := p.Send("")
	for i := range 2 {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		want := fmt.Sprintf("%d: PROXY TCP4 127.0.0.1 127.0.0.1 %d %s\r\n", i+1, c.LocalAddr().(*net.TCPAddr).Port, p.Addr[strings.LastIndexByte(p.Addr, ':')+1:])
		if _, got := ReadAnswer(t, br, "GET"); got != want {
			t.Errorf("the node got %q, want %q", got, want)
		}
	}
}

func (engine subject) TestRawConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	p := engine.startRaw(t, "client_ip", "", func(s *Setup) { s.Listener.MaxConns = 1 }, echo(t))
	first, br := p.Send("x")
	br.ReadByte()
	p.turnedAway("", false)
	if r := p.Wait(1); r.Reason != "too_many_connections" {
		t.Errorf("record %+v", r)
	}
	first.CloseWrite()
	if _, err := io.ReadAll(br); err != nil {
		t.Error(err)
	}
}

func (engine subject) TestRawConnectionsToACutNodeEnd(t *testing.T) {
	p := engine.startRaw(t, "client_ip", "", nil, echo(t))
	_, br := p.Send("x")
	br.ReadByte()
	s := *p.First
	s.Pools = []roost.PoolView{p.First.Pools[0]}
	s.Pools[0].Nodes = []roost.NodeView{p.First.Pools[0].Nodes[0]}
	s.Pools[0].Nodes[0].Cut = true
	p.Snap.Store(&s)
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("%v", err)
	}
	if r := p.Wait(1); !r.Aborted || r.Cause == "" || r.Reason != "" {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestARetiredListenerLetsRawConnectionsLiveAndEndsThoseThatSaidNothing(t *testing.T) {
	p := engine.startRaw(t, "bytes[0:1]", "", nil, echo(t))
	c, br := p.Send("x")
	br.ReadByte()
	silent := p.Dial()
	p.E.Retire(0)
	if b, err := io.ReadAll(silent); len(b) > 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	io.WriteString(c, "y")
	if b, err := br.ReadByte(); b != 'y' || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	c.CloseWrite()
	if _, err := io.ReadAll(br); err != nil {
		t.Error(err)
	}
}
