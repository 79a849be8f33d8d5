package std

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"roost/internal/carry"
)

// Guest is a client's connection that another engine accepted and passes on, at the boundary of a request.
type Guest struct {
	Conn   net.Conn   // a *tls.Conn has shaken hands; else a TCP or unix connection. Take owns it
	Peer   carry.Peer // who the client is, as the other engine knows it
	Ahead  []byte     // read already: the beginning of a request, or of HTTP/2. Take owns it
	Served bool       // it carried a request before, so that HTTP/2 can not begin any more (RFC 9113, 3.3)
	Done   func()     // called when it has ended; until then the other engine counts it
}

// Take serves a guest to its end as if it had been accepted for Peer.Listener, and does not wait for that. Its place is
// counted by who passed it on: in neither Connections nor the listener's limit. Retire, Drain and HandOver are about
// guests too; one that comes during a drain is still served. After the end of Host it is cut off.
func (e *Engine) Take(g Guest) {
	c := &conn{e: e, nc: g.Conn, peer: g.Peer, served: g.Served}
	if t, ok := g.Conn.(*tls.Conn); ok {
		c.nc = t.NetConn()
	}
	c.w.open(g.Conn, &e.buffers)
	c.w.refill(g.Ahead)
	if !e.lodge(c) {
		c.w.abort()
		c.w.close()
		g.Done()
		return
	}
	go func() {
		defer e.lodged.Done()
		defer g.Done()
		defer c.end()
		c.speak()
	}()
}

// Host does the upkeep of an engine that is given guests, until ctx ends. Then it cuts off those that are left, and
// returns when the last one has ended. Guests may come before it is called.
func (e *Engine) Host(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			e.upkeep(now)
			continue
		case <-ctx.Done():
		}
		e.mu.Lock()
		e.closeHouse()
		e.mu.Unlock()
		e.cut(func(f *front) bool { return f.ctx == e.house })
		e.lodged.Wait()
		return nil
	}
}

// lodge lets a guest in, on the front that guests of its listener have: a new one if that one left and its listener
// returned. It tells whether Host still lasts.
func (e *Engine) lodge(c *conn) bool {
	id := c.peer.Listener
	retired := e.o.Snapshot.Load().Listener(id).Retired
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.house.Err() != nil {
		return false
	}
	leaves := e.draining || retired
	f := e.guests[id]
	if f == nil || f.leaving() && !leaves {
		f = &front{e: e, id: id, ctx: e.house}
		if leaves {
			f.grace.Store(int64(idleGrace))
		}
		e.guests[id] = f
	}
	c.f = f
	if e.draining && len(e.conns)+len(e.fronts) == 0 { // a drain that had ended has something to wait for again
		e.empty = make(chan struct{})
	}
	e.conns[c] = struct{}{}
	e.lodged.Add(1)
	return true
}

// refill makes b the bytes that were read ahead.
func (w *wire) refill(b []byte) {
	if len(b) == 0 {
		return
	}
	w.buf = w.lend.get(len(b))
	w.w = copy(w.buf, b)
}
