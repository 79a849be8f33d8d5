//go:build linux

package reactor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"roost"
	"roost/internal/enginetest"
	"roost/internal/std"
)

// contracted is an engine as its contract drives it: two loops, and what they pass goes to std.
type contracted struct {
	*Engine
	beside *std.Engine
	dials  *atomic.Pointer[func()]
	hosted sync.Once
	stop   context.CancelFunc
	over   sync.WaitGroup
}

// loopsOfTests are enough for connections to be on different ones.
const loopsOfTests = 2

func open(t testing.TB, o enginetest.Options) enginetest.Engine {
	t.Helper()
	dials := &atomic.Pointer[func()]{}
	c := openOn(t, o, func() (kernel, error) {
		s, err := openSystem()
		return &hooked{s, dials}, err
	})
	c.dials = dials
	return c
}

func openOn(t testing.TB, o enginetest.Options, system func() (kernel, error)) *contracted {
	t.Helper()
	c := &contracted{}
	c.beside = std.New(std.Options{Snapshot: o.Snapshot, Record: o.Record, Log: o.Log})
	e, err := newEngine(Options{Snapshot: o.Snapshot, Record: o.Record, Log: o.Log, Loops: loopsOfTests, Pass: c.take}, system)
	if err != nil {
		t.Fatal(err)
	}
	c.Engine = e
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.over.Go(func() { e.Run(ctx) })
	return c
}

// Serve has what was passed on cut off with the rest: the contexts of all listeners end together.
func (c *contracted) Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf func() *tls.Config) error {
	c.hosted.Do(func() { c.over.Go(func() { c.beside.Host(ctx) }) })
	return c.Engine.Serve(ctx, ln, id, conf)
}

func (c *contracted) take(p Passed) {
	c.beside.Take(std.Guest{Conn: p.Conn, Peer: p.Peer, Ahead: p.Ahead, Served: p.Served, Done: p.Done})
}

func (c *contracted) Retire(id roost.ListenerID) {
	c.Engine.Retire(id)
	c.beside.Retire(id)
}

func (c *contracted) Drain(ctx context.Context) error {
	return c.end(ctx, c.Engine.Drain, c.beside.Drain)
}

func (c *contracted) HandOver(ctx context.Context) error {
	return c.end(ctx, c.Engine.HandOver, c.beside.HandOver)
}

// end ends both at once: a connection that is passed on counts with the one that accepted it.
func (c *contracted) end(ctx context.Context, ends ...func(context.Context) error) error {
	errs := make([]error, len(ends))
	var all sync.WaitGroup
	for i, end := range ends {
		all.Go(func() { errs[i] = end(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c *contracted) Upkeep(now time.Time) {
	var done sync.WaitGroup
	for _, l := range c.loops {
		done.Add(1)
		if !l.post(func(l *loop) {
			defer done.Done()
			l.kept, l.swept = 0, 0
			l.upkeep()
		}) {
			done.Done()
		}
	}
	done.Wait()
}

func (c *contracted) OnDial(f func()) { c.dials.Store(&f) }

func (c *contracted) Stop(t testing.TB) {
	c.stop()
	c.over.Wait()
	c.beside.Drain(context.Background()) // nothing is left but idle connections to nodes
	if n := c.Panics.Load() + c.beside.Panics.Load(); n > 0 {
		t.Errorf("%d panics", n)
	}
	for _, l := range c.loops {
		if l.slab.used != 0 || l.buffers.lent != 0 || l.pipes.open != 0 || l.wheel.n != 0 || len(l.lines) != 0 || l.stats.resting.Load() != 0 || l.clients.Load() != 0 {
			t.Errorf("loop %d is left with %d connections, %d buffers, %d pipes, %d deadlines, %d lines, %d idle to nodes, %d of clients",
				l.id, l.slab.used, l.buffers.lent, l.pipes.open, l.wheel.n, len(l.lines), l.stats.resting.Load(), l.clients.Load())
		}
	}
}

// hooked is a kernel that tells of dials.
type hooked struct {
	kernel
	dials *atomic.Pointer[func()]
}

func (k *hooked) dial(to *target) (int32, syscall.Errno) {
	if f := k.dials.Load(); f != nil {
		(*f)()
	}
	return k.kernel.dial(to)
}

func TestContract(t *testing.T) { enginetest.Run(t, open) }
