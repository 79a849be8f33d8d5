//go:build linux

package reactor

import (
	"syscall"
	"time"

	"roost"
	"roost/internal/carry"
)

// begin makes a new connection wait for what its listener is for.
func (l *loop) begin(c *conn) {
	c.born = l.mono
	l.enter(c)
}

// enter goes on with a connection by what it begins with: a PROXY header, a TLS handshake, the first bytes of a stream, each
// only where its listener asks for it. It is called again with more bytes while they are too few, and after the handshake.
func (l *loop) enter(c *conn) {
	s := l.e.o.Snapshot.Load()
	set := c.settings(s)
	if set.ProxyProtocol && c.intro == nil && c.tls == nil {
		p := c.peer()
		n, o, why := p.Introduce(set, text(l.ahead(c)), c.eof)
		switch o {
		case carry.Peek:
			l.wait(c, set)
			return
		case carry.Shut:
			t := l.stream(c)
			t.x.Refuse(s, &t.peer, c.began(l))
			l.turnAway(c, t, why)
			return
		}
		c.intro = new(carry.Peer)
		*c.intro = p
		c.from, c.port = addressOf(p.Addr), p.Port
		l.keep(c, l.ahead(c)[n:])
	}
	switch {
	case c.tls == nil && c.front.tls() != nil:
		l.secure(c)
	case set.Protocol == roost.ServesTCP:
		l.judge(c, s, set)
	default:
		l.await(c, set)
		l.later(c) // most clients have sent something by now; the event says so too, but costs another turn
	}
}

// began is when the connection was accepted, in Unix nanoseconds.
func (c *conn) began(l *loop) int64 { return l.now - (l.mono - c.born) }

// wait has a connection send more of what it begins with, within the time that a head has.
func (l *loop) wait(c *conn, set *roost.ListenerSettings) {
	if c.state != peeking {
		c.state = peeking
		l.later(c)
	}
	left := time.Duration(0)
	if set.HeadTimeout > 0 {
		left = max(1, set.HeadTimeout-time.Duration(l.mono-c.born))
	}
	if grace := c.front.grace.Load(); grace != 0 && c.pend == nil {
		left = time.Duration(grace)
	}
	l.arm(c, left)
}

// peek reads what a connection begins with.
func (l *loop) peek(c *conn) {
	for range readBudget {
		b, e := l.more(c, carry.MaxPeek)
		switch {
		case e == syscall.EAGAIN:
			return
		case e != 0 && e != errEnd, e == errEnd && len(b) == 0:
			l.close(c) // nothing was asked
			return
		}
		c.eof = e == errEnd
		l.keep(c, b)
		l.enter(c)
		if c.dead || c.state != peeking || !c.canRead {
			return
		}
	}
	l.later(c)
}

// peekLate ends a connection whose first bytes did not come in time.
func (l *loop) peekLate(c *conn) {
	s := l.e.o.Snapshot.Load()
	if c.pend == nil && c.front.leaving() {
		l.close(c) // nothing was asked
		return
	}
	t := l.stream(c)
	l.turnAway(c, t, t.x.Late(s, &t.peer, c.began(l)))
}

// peer is what is known of the client's end of a connection.
func (c *conn) peer() (p carry.Peer) {
	c.fill(&p)
	return p
}

// fill is peer in place: it is asked for each request.
func (c *conn) fill(p *carry.Peer) {
	if c.intro != nil {
		*p = *c.intro
	} else {
		*p = carry.Peer{}
		p.Listener, p.Addr, p.Port = c.front.id, c.from.addr(), c.port
	}
	if c.tls != nil {
		c.tls.identify(p)
	}
}
