//go:build linux

package reactor

import (
	"errors"
	"net/netip"

	"roost"
	"roost/internal/carry"
)

// stream is what a raw connection needs until its relay stands. Connections borrow one while they are judged by their first
// bytes, and while their node is dialled.
type stream struct {
	x    carry.Stream
	peer carry.Peer
	path path
	set  roost.PoolSettings // of the attempt that runs; a copy
}

// maxStreams is how many streams a loop keeps for later: as many as it dials for at a time, when nodes answer.
const maxStreams = 64

func (l *loop) stream(c *conn) *stream {
	var t *stream
	if n := len(l.streams); n > 0 {
		t = l.streams[n-1]
		l.streams = l.streams[:n-1]
	} else {
		t = &stream{}
	}
	t.peer = c.peer()
	return t
}

func (l *loop) putBack(t *stream) {
	t.x.Reset()
	t.peer, t.path.relay, t.path.c, t.path.at = carry.Peer{}, nil, nil, nil
	if len(l.streams) < maxStreams {
		l.streams = append(l.streams, t)
	}
}

// judge finds route, key and node of a raw connection, by its first bytes where they are needed.
func (l *loop) judge(c *conn, s *roost.Snapshot, set *roost.ListenerSettings) {
	t := l.stream(c)
	switch o, why := t.x.Accept(s, &t.peer, text(l.ahead(c)), c.eof, c.began(l), l.now); o {
	case carry.Peek:
		l.putBack(t)
		l.wait(c, set)
	case carry.Shut:
		l.turnAway(c, t, why)
	case carry.Ready:
		r := &relay{c: c, opening: t, send: coarsely(int64(set.SendTimeout))}
		c.relay, c.state = r, relaying
		l.arm(c, 0)
		l.join(r)
	}
}

// turnAway ends a connection that is not to be.
func (l *loop) turnAway(c *conn, t *stream, why carry.Reply) {
	l.e.o.Record(t.x.Finish(why, l.now))
	l.putBack(t)
	l.abort(c)
}

// join makes an attempt at a node.
func (l *loop) join(r *relay) {
	t := r.opening
	x := &t.x
	if x.Record.Tries > 0 {
		x.Refresh(l.e.o.Snapshot.Load()) // the attempt before may have taken long
	}
	if x.Pool.Settings.TLS != nil { // the other engine speaks it
		if c := r.c; l.pass(c, l.ahead(c), nil) {
			c.relay = nil
			l.putBack(t)
		} else {
			l.turnAway(c, t, x.Unable())
		}
		return
	}
	if refused := x.Choose(l.random(), l.now); refused != roost.NotRefused {
		l.turnAway(r.c, t, x.Refused(refused))
		return
	}
	t.set = x.Pool.Settings
	r.half = coarsely(int64(t.set.BodyTimeout))
	p := &t.path
	p.relay, p.c, p.at, p.set = r, r.c, &r.n, &t.set
	l.find(p, x.Attempt.Addr)
}

// joined goes on when the connection to the node is there.
func (l *loop) joined(r *relay) {
	t, c, n := r.opening, r.c, r.n
	x := &t.x
	n.state = relaying
	first := l.ahead(c)
	if head := x.AppendProxy(l.out[:0], l.local(c, &t.set)); len(head)+len(first) > 0 {
		e := l.write(n, head, first)
		l.scratch(head)
		if e != 0 {
			l.unjoined(r, roost.StageSend, roost.FaultReset, e)
			return
		}
	}
	x.Sent = len(first) > 0
	x.End(roost.StageDone, roost.NoFault, nil, l.now)
	x.Settle(&r.Relay)
	r.in = int64(len(first))
	l.forget(c)
	live := x.Attempt.Pool
	r.opening = nil
	l.putBack(t)
	l.stand(r)
	if live.Waiting.Load() > 0 {
		l.room(live)
	}
}

// local is where a client is connected to, as far as its node is to be told.
func (l *loop) local(c *conn, set *roost.PoolSettings) netip.AddrPort {
	if set.SendProxy == 0 {
		return netip.AddrPort{}
	}
	return l.k.local(c.fd)
}

// unjoined ends an attempt that failed, and goes on with what follows.
func (l *loop) unjoined(r *relay, stage roost.Stage, fault roost.Fault, err error) {
	t := r.opening
	if n := r.n; n != nil {
		r.n, n.relay = nil, nil
		l.close(n)
	}
	live := t.x.Attempt.Pool
	if t.x.End(stage, fault, err, l.now) == roost.StepRetry {
		l.join(r)
	} else {
		l.turnAway(r.c, t, t.x.Failed())
	}
	if live.Waiting.Load() > 0 {
		l.room(live)
	}
}

var errLeft = errors.New("the client left before its node was reached")
