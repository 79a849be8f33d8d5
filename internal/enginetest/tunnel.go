package enginetest

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func (engine subject) TestWebSocketsPassThrough(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err = c.Write(r.Context(), kind, b); err != nil {
				return
			}
		}
	})
	cert := Cert(t)
	bothWays(t, func(t *testing.T, secure bool) {
		p := engine.start(t, func(s *Setup) {
			if secure {
				s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
		}, n)
		url, hc := "ws://"+p.Addr+"/chat", Client(t)
		if secure {
			url = "wss://" + p.Addr + "/chat"
			hc.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"chat"}, HTTPClient: hc})
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadLimit(1 << 20)
		live := p.Snap.Load().Pools[0].Nodes[0].Live
		for _, size := range []int{0, 1, 200, 70_000, 500_000} {
			want := strings.Repeat("w", size)
			if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); err != nil || string(got) != want {
				t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
			}
			if live.InFlight.Load() != 0 || live.Conns.Load() != 1 {
				t.Errorf("in flight %d, connections %d", live.InFlight.Load(), live.Conns.Load())
			}
		}
		c.Close(websocket.StatusNormalClosure, "")
		if r := p.Wait(1); !r.Upgraded || r.Status != 101 || r.BytesIn < 570_000 || r.BytesOut < 570_000 || r.Target != "/chat" {
			t.Errorf("record %+v", r)
		}
	})
}

// Upgrade asks for a tunnel.
const Upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

func (engine subject) TestBytesReadAheadOfATunnelAreNotLost(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		http.ReadRequest(br)
		io.WriteString(c, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")+"early")
		io.Copy(c, br)
	})
	p := engine.start(t, nil, n)
	c, br := p.Send(Upgrade + "ahead") // in one segment with the request, before anything was agreed
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("%v, %v", res, err)
	}
	io.WriteString(c, " and behind")
	c.CloseWrite()
	if b, err := io.ReadAll(br); err != nil || string(b) != "earlyahead and behind" {
		t.Errorf("%q, %v", b, err)
	}
}

func (engine subject) TestATunnelsSidesEndOneByOne(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		http.ReadRequest(br)
		io.WriteString(c, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"))
		b, _ := io.ReadAll(br) // until the client has ended its side
		io.WriteString(c, "you said "+string(b))
	})
	p := engine.start(t, nil, n)
	c, br := p.Send(Upgrade)
	http.ReadResponse(br, nil)
	io.WriteString(c, "all")
	c.CloseWrite()
	if b, err := io.ReadAll(br); err != nil || string(b) != "you said all" {
		t.Errorf("%q, %v", b, err)
	}
}

func (engine subject) TestAHalfEndedTunnelDoesNotLastForEver(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"))
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	})
	p := engine.start(t, func(s *Setup) { s.Pool.BodyTimeout = 30 * time.Millisecond }, n)
	_, br := p.Send(Upgrade)
	http.ReadResponse(br, nil)
	io.Copy(io.Discard, br) // and then says nothing, without ending its side
	if r := p.Wait(1); !r.Upgraded {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestARefusedUpgradeIsAnOrdinaryAnswer(t *testing.T) {
	n := replies(t, CRLF("HTTP/1.1 426 Upgrade Required", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 2")+"no", false)
	p := engine.start(t, nil, n)
	_, br := p.Send(Upgrade + Upgrade)
	for range 2 {
		res, body := ReadAnswer(t, br, "GET")
		if res.StatusCode != 426 || body != "no" || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Connection") != "Upgrade" {
			t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
		}
	}
}

func (engine subject) TestAnUpgradeToSomethingElseIsRefused(t *testing.T) {
	n := replies(t, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: h2c"), false)
	p := engine.start(t, nil, n)
	_, br := p.Send(Upgrade)
	if res, body := ReadAnswer(t, br, "GET"); res.StatusCode != 502 || !strings.Contains(body, "node_protocol") {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func (engine subject) TestASideOfATunnelThatBreaksBreaksTheOther(t *testing.T) {
	switched := CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, switched+"half of it")
		c.(*net.TCPConn).SetLinger(0)
	})
	p := engine.start(t, nil, n)
	_, br := p.Send(Upgrade)
	http.ReadResponse(br, nil)
	if b, err := io.ReadAll(br); err == nil {
		t.Errorf("what the node broke off looks complete: %q", b)
	}
	if r := p.Wait(1); !r.Aborted {
		t.Errorf("record %+v", r)
	}

	broke := make(chan error, 1)
	n = RawNode(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		http.ReadRequest(br)
		io.WriteString(c, switched)
		_, err := io.Copy(io.Discard, br)
		broke <- err
	})
	p = engine.start(t, nil, n)
	c, br := p.Send(Upgrade)
	http.ReadResponse(br, nil)
	c.SetLinger(0)
	c.Close()
	if err := <-broke; err == nil {
		t.Error("what the client broke off looks complete")
	}
	if r := p.Wait(1); !r.Aborted {
		t.Errorf("record %+v", r)
	}
}
