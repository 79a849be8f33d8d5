package std

import (
	"context"
	"fmt"
	"net"
	"time"

	"roost"
)

const (
	// acceptGrace is how long a listener that leaves still accepts: what the kernel has queued has been accepted for us
	// already, and closing the listener would reset it.
	acceptGrace = 20 * time.Millisecond
	// idleGrace is how long an idle connection may still bring a request while it leaves. A request that crosses our
	// close on its way would fail; a client in a loop sends its next one long before this, and is told to close.
	idleGrace = 500 * time.Millisecond
	// handOverGrace is the same in a hand-over, which has time: it is enough for clients that ask once a second.
	handOverGrace = 2 * time.Second
)

// Retire ends one listener, and nothing else: it stops accepting, lets what was accepted finish with Connection: close
// (in HTTP/2 by GOAWAY), and closes idle connections. Tunnels live on until they end by themselves; Serve returns when
// the last connection has ended. Retire does not wait, and may be repeated. It is about what is served under id now: a
// Serve that was started in another goroutine and has not begun is not meant.
func (e *Engine) Retire(id roost.ListenerID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dismiss(func(f *front) bool { return f.id == id }, acceptQueued, idleGrace)
}

// Drain ends the engine: all listeners as Retire does. At the end of ctx it cuts off what is left, tunnels above all, and
// says how many connections that were.
func (e *Engine) Drain(ctx context.Context) error { return e.finish(ctx, acceptQueued, idleGrace) }

// HandOver is Drain for listeners whose sockets another process holds as well, and serves: they are closed at once, and
// what the kernel has queued is the other's.
func (e *Engine) HandOver(ctx context.Context) error {
	return e.finish(ctx, func(ln net.Listener) { ln.Close() }, handOverGrace)
}

// acceptQueued closes a listener when it has accepted what is queued.
func acceptQueued(ln net.Listener) {
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(acceptGrace)) != nil {
		ln.Close()
	}
}

// finish may run more than once at a time: the first deadline cuts.
func (e *Engine) finish(ctx context.Context, end func(net.Listener), grace time.Duration) error {
	e.mu.Lock()
	e.draining = true
	e.dismiss(everyone, end, grace)
	e.settle()
	empty := e.empty
	e.mu.Unlock()
	var err error
	select {
	case <-empty:
	case <-ctx.Done():
		if n := e.cut(everyone); n > 0 {
			err = fmt.Errorf("%d connections cut off", n)
		}
	}
	e.nodes.close()
	return err
}

// dismiss makes fronts leave, and their idle connections within grace. mu is held.
func (e *Engine) dismiss(who func(*front) bool, end func(net.Listener), grace time.Duration) {
	for f := range e.fronts {
		if who(f) && f.grace.CompareAndSwap(0, int64(grace)) {
			end(f.ln)
		}
	}
	for _, f := range e.guests {
		if who(f) {
			f.grace.CompareAndSwap(0, int64(grace))
		}
	}
	for c := range e.conns {
		if !who(c.f) {
			continue
		}
		if c.idle.Load() {
			c.nc.SetReadDeadline(unknown) // a request that came in between gets errNudged, and goes on
		}
		c.mu.Lock()
		if c.goAway != nil {
			c.goAway()
		}
		c.mu.Unlock()
	}
}

// settle ends a drain when nothing is left. mu is held; nothing comes in any more.
func (e *Engine) settle() {
	if !e.draining || len(e.conns)+len(e.fronts) > 0 {
		return
	}
	select {
	case <-e.empty:
	default:
		close(e.empty)
	}
}

func everyone(*front) bool { return true }

// cut ends the connections of fronts at once, and tells how many there were.
func (e *Engine) cut(who func(*front) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for c := range e.conns {
		if who(c.f) {
			abort(c.nc) // an answer that only the connection's end ends must not look complete
			c.cut()
			n++
		}
	}
	return n
}

func (e *Engine) add(c *conn) {
	e.mu.Lock()
	e.conns[c] = struct{}{}
	e.mu.Unlock()
}

func (e *Engine) remove(c *conn) {
	e.mu.Lock()
	delete(e.conns, c)
	e.settle()
	e.mu.Unlock()
}
