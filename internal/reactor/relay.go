//go:build linux

package reactor

import (
	"syscall"
	"time"

	"roost"
	"roost/internal/carry"
)

// relay is what two connections share whose bytes go both ways unread: of a stream, or of an exchange that switched protocols.
// Either may last for weeks and be silent for as long as both sides want; TCP's keep-alive finds a side that is no more. While
// nothing moves it holds no buffer and no pipe.
//
// Each side ends by itself, and its end is passed on behind its last byte. A side that breaks breaks the other, so that nobody
// takes what came for all there was.
type relay struct {
	carry.Relay
	c, n    *conn
	opening *stream // until it stands
	in, out int64   // bytes from the client, and to it
	send    coarse  // a side that takes nothing of what waits for it
	half    coarse  // silence while the other side has ended
	asked   coarse  // when it was told to end, because its node was cut, by the monotonic clock; 0: it was not
}

const (
	// evictEvery is how late a cut node is noticed. With cutGrace and another round its relays end in 0.8 s.
	evictEvery = 200 * time.Millisecond
	// cutGrace is what both sides of a relay have to end in order; after it they are cut off, whatever they do.
	cutGrace = 300 * time.Millisecond
)

func (r *relay) other(c *conn) *conn {
	if c == r.c {
		return r.n
	}
	return r.c
}

// switchOver makes a relay of an exchange that switched protocols: out is the answer's head, ahead what the node said behind
// it.
func (l *loop) switchOver(k *work, out, ahead []byte) {
	c, n, live := k.c, k.n, k.x.Attempt.Pool
	r := &relay{c: c, n: n, send: coarsely(int64(k.limits.send)), half: coarsely(int64(k.set.BodyTimeout)), out: int64(len(ahead))}
	k.x.Settle(&r.Relay)
	c.relay, n.relay, n.work = r, r, nil
	c.state, n.state = relaying, relaying
	broke, e := c, l.write(c, out, ahead)
	l.scratch(out)
	l.forget(n)
	l.rest(k)
	if b := l.ahead(c); e == 0 && len(b) > 0 {
		r.in = int64(len(b))
		broke, e = n, l.write(n, b, nil)
		l.forget(c)
	}
	if e != 0 {
		l.sever(r, broke, e)
	} else {
		l.stand(r)
	}
	if live.Waiting.Load() > 0 {
		l.room(live)
	}
}

// stand sets a relay going.
func (l *loop) stand(r *relay) {
	if r.c.eof {
		l.shutWrite(r.n)
	}
	l.limit(r, r.c)
	l.limit(r, r.n)
	for _, c := range [...]*conn{r.c, r.n} {
		if c.canRead {
			l.later(c)
		}
	}
}

// carryOn passes on what a side says. gone: its connection is over in both directions, in order or not.
func (l *loop) carryOn(c *conn, gone bool) {
	r := c.relay
	if r.opening != nil {
		if gone {
			l.unjoined(r, roost.StageConnect, roost.FaultClientGone, errLeft)
		}
		return // what it says is read when the node is there
	}
	to := r.other(c)
	if c.eof {
		if gone && (!c.ended || c.blocked()) { // in order it would wait for our end
			l.sever(r, c, syscall.ECONNRESET)
		}
		return
	}
	for range readBudget {
		if to.blocked() {
			return // relayFlushed comes back
		}
		held := c.blocked()
		n, in, out := l.move(c, to)
		if !held && c.blocked() { // by what TLS answered
			l.limit(r, c)
		}
		if c.node {
			r.out += int64(n)
		} else {
			r.in += int64(n)
		}
		switch {
		case out != 0:
			l.sever(r, to, out)
			return
		case in == syscall.EAGAIN:
			return
		case in == errEnd:
			c.eof = true
			l.shutWrite(to)
			if !l.over(r) {
				l.limit(r, c)
				l.limit(r, to)
			}
			return
		case in != 0: // what came before it was read, and passed on
			l.sever(r, c, in)
			return
		}
		if !c.blocked() { // else its time to take what is there runs, whatever it says
			l.limit(r, c)
		}
		l.limit(r, to)
		if !c.canRead {
			return
		}
	}
	l.later(c)
}

// move passes on what a side says, as far as one read or one pipe takes it. It tells how much, and the errno of each side.
func (l *loop) move(c, to *conn) (n int, in, out syscall.Errno) {
	if c.bulk && !to.ended && c.tls == nil && to.tls == nil {
		if n, in, out, ok := l.pump(c, to, pipeSize); ok {
			c.bulk = n == 0 || n >= bulkUntil
			return n, in, out
		}
	}
	n, in = l.recv(c, l.in)
	switch {
	case in != 0:
		return 0, in, 0
	case n == 0:
		return 0, errEnd, 0
	case to.ended:
		return 0, 0, 0 // the relay was told to end
	}
	c.bulk = n >= bulkFrom
	return n, 0, l.write(to, l.in[:n], nil)
}

// limit sets the time that a side has, by what is expected of it.
func (l *loop) limit(r *relay, c *conn) {
	switch {
	case r.asked != 0: // it is set
	case c.blocked():
		l.arm(c, time.Duration(r.send.nanos()))
	case r.other(c).eof && !c.eof && !r.other(c).blocked(): // else it is not read, and may have said much
		l.arm(c, time.Duration(r.half.nanos()))
	default:
		l.arm(c, 0)
	}
}

// relayFlushed goes on when a side took all that was kept for it. It tells whether the relay is still there.
func (l *loop) relayFlushed(c *conn) bool {
	r := c.relay
	if r.opening != nil {
		return true // only TLS writes, of its own accord, before there is a node
	}
	if c.ended {
		l.k.shut(c.fd)
	}
	if l.over(r) {
		return false
	}
	from := r.other(c)
	l.limit(r, c)
	l.limit(r, from)
	if from.canRead {
		l.later(from)
	}
	return true
}

// over ends a relay whose sides have both ended and taken all.
func (l *loop) over(r *relay) bool {
	if !r.c.eof || !r.n.eof || r.c.blocked() || r.n.blocked() {
		return false
	}
	cause := ""
	if r.asked != 0 {
		cause = causeCut
	}
	l.part(r, cause != "", cause, l.close)
	return true
}

const (
	causeCut    = "the node was taken out of service"
	causeSilent = "one side had ended, and the other was silent for too long"
	causeSlow   = "one side did not take what was sent to it in time"
)

// sever ends a relay because one side broke.
func (l *loop) sever(r *relay, c *conn, e syscall.Errno) {
	side := "the client: "
	if c.node {
		side = "the node: "
	}
	l.part(r, true, side+e.Error(), l.abort)
}

// part ends a relay, both its connections in the same way.
func (l *loop) part(r *relay, aborted bool, cause string, end func(*conn)) {
	r.Finish(&l.rec, r.in, r.out, l.now)
	l.rec.Aborted, l.rec.Cause = aborted, cause
	end(r.c)
	end(r.n)
	l.e.o.Record(&l.rec)
	l.rec = roost.Record{} // it would keep the route alive
}

// relayLate goes on when a side's time is over.
func (l *loop) relayLate(c *conn) {
	r := c.relay
	switch {
	case r.opening != nil && !r.opening.path.asking: // what TLS wrote was not taken
		l.unjoined(r, roost.StageConnect, roost.FaultClientSlow, errReadSlow)
	case r.opening != nil: // its node's name did not resolve in time
		r.opening.path.asking = false
		l.unjoined(r, roost.StageConnect, roost.FaultResolve, errConnectSlow)
	case r.asked != 0:
		l.part(r, true, causeCut, l.abort)
	case c.blocked():
		l.part(r, true, causeSlow, l.abort)
	default:
		l.part(r, true, causeSilent, l.abort)
	}
}

// relayCut ends a relay at once.
func (l *loop) relayCut(c *conn) {
	r := c.relay
	switch t := r.opening; {
	case t == nil:
		l.part(r, true, errCut.Error(), l.abort)
	case t.x.Attempt.Live == nil || t.x.Attempt.Ended: // a bug between two attempts
		l.turnAway(c, t, carry.Reply{})
	default:
		l.unjoined(r, roost.StageConnect, roost.FaultClientGone, errCut)
	}
}

// evict asks the relays to nodes that were cut to end. Requests end by themselves; it is looked anew each time, because one may
// still become a relay.
func (l *loop) evict(s *roost.Snapshot) {
	for i := range s.Pools {
		for j := range s.Pools[i].Nodes {
			n := &s.Pools[i].Nodes[j]
			if !n.Cut || n.Live.Conns.Load() == 0 {
				continue
			}
			l.slab.all(func(c *conn) {
				if r := c.relay; r != nil && c.node && r.Live == n.Live && r.asked == 0 {
					l.dissolve(r)
				}
			})
		}
	}
}

// dissolve tells both sides of a relay that it ends. What they still say is not passed on.
func (l *loop) dissolve(r *relay) {
	r.asked = coarsely(l.mono)
	for _, c := range [...]*conn{r.c, r.n} {
		l.shutWrite(c)
		l.arm(c, cutGrace)
		if c.canRead {
			l.later(c)
		}
	}
}
