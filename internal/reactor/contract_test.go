//go:build linux

package reactor

import (
	"context"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"roost/internal/enginetest"
	"roost/internal/std"
)

// contracted is an engine as its contract drives it: two loops, and what they pass goes to std.
type contracted struct {
	*Engine
	beside *std.Engine
	dials  *atomic.Pointer[func()]
	stop   context.CancelFunc
	over   sync.WaitGroup
}

// pending are the tests, by a part of their names, that wait for what is being written: what is behind TLS, what is carried
// as bytes, and what is passed on.
var pending = regexp.MustCompile(`/TLS|/tls|Tunnel|tunnel|WebSocket|HTTP2|Stream|h2|HTTP/2|GRPC|BothVersions|HandOver|SnapshotsAreFreed|SlowTo|TwoDrains|DrainsDeadline|UpkeepGoesOn|NodesOnUnix`)

func open(t testing.TB, o enginetest.Options) enginetest.Engine {
	t.Helper()
	if pending.MatchString(t.Name()) {
		t.Skip("not yet")
	}
	c := &contracted{dials: &atomic.Pointer[func()]{}}
	c.beside = std.New(std.Options{Snapshot: o.Snapshot, Record: o.Record, Log: o.Log})
	e, err := newEngine(Options{Snapshot: o.Snapshot, Record: o.Record, Log: o.Log, Loops: 2, Pass: c.take}, func() (kernel, error) {
		s, err := openSystem()
		return &hooked{s, c.dials}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Engine = e
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.over.Go(func() { e.Run(ctx) })
	return c
}

func (c *contracted) take(p Passed) { p.Conn.Close(); p.Done() }

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

func (c *contracted) Stop() uint64 {
	c.stop()
	c.over.Wait()
	return c.Panics.Load()
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
