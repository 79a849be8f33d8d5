//go:build linux

package reactor

import (
	"io"
	"testing"

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
