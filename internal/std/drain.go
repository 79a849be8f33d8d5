package std

import (
	"context"
	"fmt"
	"time"
)

const (
	// acceptGrace is how long a draining listener still accepts: what the kernel has queued has been accepted for us
	// already, and closing the listener would reset it.
	acceptGrace = 20 * time.Millisecond
	// idleGrace is how long an idle connection may still bring a request while draining. A request that crosses our
	// close on its way would fail; a client in a loop sends its next one long before this, and is told to close.
	idleGrace = 500 * time.Millisecond
)

// Drain ends the engine: it stops accepting, lets what was accepted finish with Connection: close, and closes idle
// connections. At the end of ctx it cuts off what is left, tunnels above all, and says how many connections that were.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.draining.Store(true)
	for f := range e.fronts {
		if d, ok := f.ln.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(acceptGrace)) != nil {
			f.ln.Close()
		}
	}
	for c := range e.conns {
		if c.idle.Load() {
			c.nc.SetReadDeadline(unknown) // a request that came in between gets errNudged, and goes on
		}
		c.mu.Lock()
		if c.goAway != nil {
			c.goAway()
		}
		c.mu.Unlock()
	}
	e.mu.Unlock()

	var err error
	for e.busy() {
		select {
		case <-e.changed:
			continue
		case <-ctx.Done():
		}
		err = fmt.Errorf("%d connections cut off", e.cut(nil))
		break
	}
	e.nodes.close()
	return err
}

func (e *Engine) busy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)+len(e.fronts) > 0
}

// cut ends connections at once, those of f or, with nil, all, and tells how many there were.
func (e *Engine) cut(f *front) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for c := range e.conns {
		if f == nil || c.f == f {
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
	e.mu.Unlock()
	e.poke()
}
