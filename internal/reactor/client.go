//go:build linux

package reactor

import (
	"bytes"
	"syscall"
	"time"

	"roost"
	"roost/internal/h1"
	"roost/internal/sniff"
)

const (
	// lingerFor and lingerBytes bound how long and how much of an unread request is thrown away, so that the kernel does
	// not answer it with a reset that makes the client lose our answer (RFC 9112, 9.6).
	lingerFor   = 2 * time.Second
	lingerBytes = 256 << 10
)

// await waits for the first byte of a request.
func (l *loop) await(c *conn, set *roost.ListenerSettings) {
	c.state = awaiting
	idle := set.IdleTimeout
	if !c.served && (idle == 0 || set.HeadTimeout < idle) {
		idle = set.HeadTimeout
	}
	if grace := c.front.grace.Load(); grace != 0 {
		idle = time.Duration(grace)
	}
	l.arm(c, idle)
}

// readHead goes on with a request's head, from its first byte on.
func (l *loop) readHead(c *conn) {
	if c.blocked() {
		return // who does not read answers gets no more of them; flushed comes back
	}
	k := c.work
	for range readBudget {
		var b []byte
		var e syscall.Errno
		if k == nil && c.pend != nil {
			b = c.pend.rest() // of a request behind the last one
		} else {
			limit := maxKept
			if k != nil {
				limit = k.limits.Head
			}
			b, e = l.more(c, limit)
		}
		if e == syscall.EAGAIN {
			return
		}
		if k == nil && len(b) > 0 {
			k = l.borrow(c)
		}
		if k == nil { // it ended between two requests, or before the first: nothing was asked
			l.close(c)
			return
		}
		if e != 0 && e != errEnd {
			l.rest(k)
			l.close(c)
			return
		}
		if !c.served && k.limits.http2 && c.tls == nil {
			if match, more := sniff.Preface(b); match {
				if !l.pass(c, b, k) {
					l.rest(k)
					l.close(c) // nothing was asked
				}
				return
			} else if more && e == 0 {
				l.keep(c, b)
				if !c.canRead {
					return
				}
				continue
			}
		}
		done, err := k.parser.Parse(b, &k.req)
		switch {
		case err != nil && c.tls == nil && sniff.TLSRecord(b):
			l.reject(k, k.x.Encrypted(k.s, &k.peer, k.start))
			return
		case err != nil:
			l.reject(k, k.x.Refuse(k.s, &k.peer, &k.req, err.(h1.Reason), k.start))
			return
		case done:
			k.head = append(k.head[:0], b[:k.req.Size]...)
			c.served = true
			l.exchange(k, b[k.req.Size:])
			return
		case e == errEnd && blank(b):
			l.rest(k)
			l.close(c)
			return
		case e == errEnd:
			l.reject(k, k.x.Refuse(k.s, &k.peer, &k.req, h1.ErrTruncated, k.start))
			return
		}
		l.keep(c, b)
		if !c.canRead {
			return
		}
	}
	l.later(c)
}

// blank tells whether nothing of a request came but the empty line that some clients send behind one (RFC 9112, 2.2).
func blank(b []byte) bool { return len(bytes.Trim(b, "\r\n")) == 0 }

// next is what follows an exchange on its connection, once its answer is on its way.
func (l *loop) next(c *conn, goes bool, linger bool) {
	switch {
	case !goes && linger:
		l.linger(c)
	case !goes && c.blocked():
		c.state, c.closing = lingering, true
	case !goes:
		l.close(c)
	default:
		l.await(c, c.settings(l.e.o.Snapshot.Load()))
		if c.canRead || c.pend != nil {
			l.later(c) // not here: a thousand requests in one packet are a thousand turns
		}
	}
}

// linger ends a connection softly: the answer is out, or will be, and what the client still sends is thrown away for a while.
func (l *loop) linger(c *conn) {
	c.state = lingering
	l.forget(c)
	c.spent = 0
	l.arm(c, lingerFor)
	if !c.blocked() {
		l.shutWrite(c)
	}
	l.drown(c)
}

// shutWrite says that no more will be sent.
func (l *loop) shutWrite(c *conn) {
	if c.ended {
		return
	}
	c.ended = true
	if c.tls != nil {
		c.tls.shut(l, c)
	}
	if !c.blocked() {
		l.k.shut(c.fd)
	}
}

// drown throws away what a lingering client sends.
func (l *loop) drown(c *conn) {
	if c.closing {
		return // as soon as all is sent; what comes does not matter
	}
	for range readBudget {
		n, e := l.k.recv(c.fd, l.in)
		switch {
		case e == syscall.EAGAIN:
			c.canRead = false
			return
		case e == syscall.EINTR:
			continue
		}
		if c.spent += int32(n); e != 0 || n == 0 || c.spent > lingerBytes {
			if c.blocked() && e == 0 {
				c.closing = true // it may end its side before it has read our answer
				return
			}
			l.close(c)
			return
		}
	}
	l.later(c)
}

// refuse answers a connection that is one too many.
func (l *loop) refuse(c *conn) {
	if s := l.e.o.Snapshot.Load(); c.settings(s).Protocol == roost.ServesTCP {
		t := l.stream(c)
		l.turnAway(c, t, t.x.Shed(s, &t.peer, l.now))
		return
	}
	k := l.borrow(c)
	why := k.x.Shed(k.s, &k.peer, k.start)
	if c.front.tls() != nil { // a handshake would cost more than a connection that we could take
		l.scratch(k.x.AppendReply(l.out[:0], why, l.now))
		k.x.Record.Aborted = true
		l.record(k)
		l.rest(k)
		l.close(c)
		return
	}
	l.refused.add(l, c)
	l.reject(k, why)
}

// refused are the connections that were told that they are one too many, as long as they linger. Who was told longest ago
// makes room for the next.
type refused struct {
	told [maxRefused]token
	next int
}

// maxRefused bounds them: each holds a descriptor. At 2,000 refused per second it leaves each 128 ms, more than most round trips.
// A client that still sends after that meets a reset, and its system may forget our answer over it.
const maxRefused = 256

func (r *refused) add(l *loop, c *conn) {
	switch old := l.slab.find(r.told[r.next]); {
	case old == nil || old == c:
	case old.work != nil: // not even the answer was taken
		l.gone(old.work)
	default:
		l.close(old)
	}
	r.told[r.next] = c.token()
	r.next = (r.next + 1) % maxRefused
}
