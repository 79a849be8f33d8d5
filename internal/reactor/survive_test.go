//go:build linux

package reactor

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/enginetest"
)

func TestABugEndsTheConnectionThatMetItAndNoOther(t *testing.T) {
	n := &enginetest.Halting{}
	p := enginetest.Start(t, open, func(s *enginetest.Setup) { s.Pool.IdleConns = 0 }, enginetest.Node(t, n.ServeHTTP))
	e := p.E.(*contracted)
	c, br := p.Send(enginetest.CRLF("GET /ok HTTP/1.1", "Host: h"))
	enginetest.ReadAnswer(t, br, "GET")
	e.OnDial(func() { panic("a bug") })
	for i := range 4 { // on either loop
		_, broken := p.Send(enginetest.CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 4") + "body")
		if b, err := io.ReadAll(broken); err == nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
		if r := p.Wait(i + 2); !r.Aborted {
			t.Errorf("record %+v", r)
		}
	}
	e.OnDial(func() {})
	if got := enginetest.Ask(t, c, br); got != "200" {
		t.Errorf("another connection got %q", got)
	}
	if n := e.Panics.Swap(0); n != 4 {
		t.Errorf("%d bugs were counted", n)
	}
}

// A raw connection is placed, and its node dialled, as it is accepted; a name's answer, and a handshake's, come by themselves.
func TestABugEndsNoMoreWhereverItIsMet(t *testing.T) {
	echoes := enginetest.RawNode(t, func(c net.Conn, _ int) { io.Copy(c, c) })
	_, port, _ := net.SplitHostPort(echoes)
	cert := enginetest.Cert(t)
	for name, change := range map[string]func(*enginetest.Setup){
		"in accept":        func(*enginetest.Setup) {},
		"behind a name":    func(s *enginetest.Setup) { s.Edit = rename("localhost:" + port) },
		"behind handshake": func(s *enginetest.Setup) { s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} },
	} {
		t.Run(name, func(t *testing.T) {
			p := enginetest.Start(t, open, func(s *enginetest.Setup) {
				change(s)
				edit := s.Edit
				s.Listener.Protocol = roost.ServesTCP
				s.Edit = func(s *roost.Snapshot) {
					s.Listeners[0].Routes[0].Keys[0].Ops[0] = roost.KeyOp{From: roost.FromClientIP}
					if edit != nil {
						edit(s)
					}
				}
			}, echoes)
			e := p.E.(*contracted)
			ask := func() error { // a reset is told once, be it of the connection, of what is said or of what is heard
				c, err := net.Dial("tcp", p.Addr)
				if err != nil {
					return err
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				if strings.HasSuffix(name, "handshake") {
					c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				}
				if _, err = io.WriteString(c, "x"); err == nil {
					_, err = io.ReadFull(c, make([]byte, 1))
				}
				return err
			}
			e.OnDial(func() { panic("a bug") })
			for i := range 4 {
				if err := ask(); err == nil {
					t.Error("it is served")
				}
				if r := p.Wait(i + 1); !r.Aborted {
					t.Errorf("record %+v", r)
				}
			}
			e.OnDial(func() {})
			if err := ask(); err != nil {
				t.Error(err)
			}
			if n := e.Panics.Swap(0); n != 4 {
				t.Errorf("%d bugs were counted", n)
			}
		})
	}
}

func rename(addr string) func(*roost.Snapshot) {
	return func(s *roost.Snapshot) { s.Pools[0].Nodes[0].Addr = addr }
}
