package std

import (
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/carry"
)

// tunnel is what an upgraded or a raw connection became: bytes both ways. It holds no snapshot and no work, because it may live
// for days. It has no idle limit: a WebSocket may be silent for as long as both sides want, and TCP's keep-alive probes
// find a side that is no more. When one side has ended, the other must not be silent for longer than a body may.
type tunnel struct {
	node  *nodeConn
	live  *roost.Live
	relay carry.Relay
	send  time.Duration // a write without progress
	half  time.Duration // silence while the other side has ended
	ended atomic.Int64  // when the first side has, in Unix nanoseconds; 0: none
	cut   atomic.Bool   // its node was: it is to end
	asked time.Time     // to; evict's
	in    atomic.Int64
	out   atomic.Int64

	aborted bool
	cause   string
}

// upgraded makes a tunnel of the connections of an exchange that switched protocols.
func (k *work) upgraded() *tunnel {
	t := &tunnel{node: k.n, live: k.x.Attempt.Live, send: k.set.SendTimeout, half: k.pool.BodyTimeout}
	k.x.Settle(&t.relay)
	return t
}

// run carries bytes both ways until both sides have ended, or one broke.
func (t *tunnel) run(c *conn) {
	defer t.end(c.e)
	defer t.node.close()
	c.show(t)
	defer c.show(nil)
	var up sync.WaitGroup
	var sent error
	up.Go(func() {
		if sent = t.pour(c.e, &t.node.wire, &c.w, &t.in); sent != nil {
			t.breakOff(c)
		}
	})
	came := t.pour(c.e, &c.w, &t.node.wire, &t.out)
	if came != nil {
		t.breakOff(c)
	}
	up.Wait()
	t.aborted = sent != nil || came != nil
	c.hold(nil)
	if t.cut.Load() {
		c.linger = false // it did
		t.aborted, t.cause = true, "the node was taken out of service"
	}
}

// breakOff ends both sides such that neither takes what came for all there was.
func (t *tunnel) breakOff(c *conn) {
	abort(c.nc)
	abort(t.node.conn)
	c.cut()
}

// end records the tunnel.
func (t *tunnel) end(e *Engine) {
	var r roost.Record
	t.relay.Finish(&r, t.in.Load(), t.out.Load(), e.o.Now().UnixNano())
	r.Aborted, r.Cause = t.aborted, t.cause
	e.o.Record(&r)
}

// show lets evict see the tunnel while it runs.
func (c *conn) show(t *tunnel) {
	c.mu.Lock()
	c.runs = t
	c.mu.Unlock()
}

// pour carries one direction to its end, which it passes on.
func (t *tunnel) pour(e *Engine, to, from *wire, count *atomic.Int64) error {
	var since time.Time
	silence := func() time.Duration {
		if t.cut.Load() {
			return 1
		}
		ended := t.ended.Load()
		if ended == 0 || t.half == 0 {
			return 0
		}
		return t.half + max(0, time.Unix(0, ended).Sub(since)) // what was silent before that was free to be
	}
	for {
		if b := from.pending(); len(b) > 0 {
			if _, err := to.write(b, t.send, e.o.Now()); err != nil {
				return err
			}
			count.Add(int64(len(b)))
			from.take(len(b))
			if from.full {
				from.grow(largeBuffer)
			}
		}
		since = e.o.Now()
		err := from.await(e.o.Now, since, silence)
		if isEOF(err) {
			from.rest()
			t.ended.CompareAndSwap(0, e.o.Now().UnixNano())
			to.closeWrite()
			to.conn.SetReadDeadline(unknown) // who reads there has a limit from now on
			return nil
		}
		if err != nil && t.cut.Load() {
			to.closeWrite()
			from.discard(e.o.Now().Add(cutGrace))
			return nil
		}
		if err != nil {
			return err
		}
	}
}
