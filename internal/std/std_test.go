package std

import (
	"syscall"
	"testing"
	"time"

	"roost/internal/enginetest"
)

func TestContract(t *testing.T) { enginetest.Run(t, open) }

// contracted is an engine as its contract drives it.
type contracted struct{ *Engine }

func open(_ testing.TB, o enginetest.Options) enginetest.Engine {
	return contracted{New(Options{Snapshot: o.Snapshot, Record: o.Record, Log: o.Log})}
}

func (c contracted) Upkeep(now time.Time) { c.upkeep(now) }

func (c contracted) OnDial(f func()) {
	c.nodes.dialer.net.Control = func(string, string, syscall.RawConn) error { f(); return nil }
}

func (c contracted) Stop(t testing.TB) {
	c.nodes.close()
	if n := c.Panics.Load(); n > 0 {
		t.Errorf("%d panics", n)
	}
}

// proxy is one whose engine can be looked into.
type proxy struct {
	*enginetest.Proxy
	e *Engine
}

func start(t testing.TB, change func(*enginetest.Setup), nodes ...string) *proxy {
	t.Helper()
	p := enginetest.Start(t, open, change, nodes...)
	return &proxy{p, p.E.(contracted).Engine}
}
