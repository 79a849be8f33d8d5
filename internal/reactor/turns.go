//go:build linux

package reactor

import (
	"errors"
	"syscall"
	"time"

	"roost"
	"roost/internal/carry"
)

// flushed goes on when all that a socket did not take was taken. It tells whether the connection is still the same.
func (l *loop) flushed(c *conn) bool {
	if c.state == relaying {
		return l.relayFlushed(c)
	}
	if c.node {
		k := c.work
		l.sending(k)
		if !k.upload.read && (k.c.canRead || k.x.In.Raw() > 0) {
			l.upload(k.c, false)
		}
		return !c.dead && c.work == k
	}
	switch c.state {
	case lingering:
		if c.closing {
			l.close(c)
			return false
		}
		if c.ended {
			l.k.shut(c.fd)
		} else {
			l.shutWrite(c)
		}
	case shaking:
		l.shake(c)
		return !c.dead
	case awaiting, reading:
		if c.pend != nil {
			l.later(c)
		}
	case exchanging:
		k := c.work
		if k.over {
			l.done(k)
			return false
		}
		l.arm(c, 0)
		if n := k.n; n != nil && n.state == answering {
			if k.passing {
				l.arm(n, k.set.BodyTimeout)
			} else {
				l.arm(n, k.set.HeadTimeout)
			}
			if !k.upload.read && !n.blocked() {
				l.arm(c, k.limits.body) // it is to send again
			}
			l.later(n) // it may have been left with something to read
		}
	}
	return true
}

// trickled goes on when a socket took some of what was kept for it, and not all: its time begins anew.
func (l *loop) trickled(c *conn) {
	switch c.state {
	case relaying:
		l.limit(c.relay, c)
	case exchanging:
		c.work.takes.Wait(l.mono)
		l.arm(c, c.work.limits.send)
	case answering:
		l.arm(c, c.work.set.BodyTimeout)
	}
}

// tooSlow ends an exchange whose client takes the answer too slowly.
func (l *loop) tooSlow(k *work) {
	if k.over || k.waits {
		l.gone(k)
		return
	}
	l.failed(k, roost.StageBody, roost.FaultClientSlow, carry.ErrTooSlow)
}

// broken goes on when a socket refuses what is written.
func (l *loop) broken(c *conn, e syscall.Errno) {
	switch {
	case c.state == relaying && c.relay.opening != nil:
		l.unjoined(c.relay, roost.StageConnect, roost.FaultClientGone, errLeft)
	case c.state == relaying:
		l.sever(c.relay, c, e)
	case c.node:
		l.breakUpload(c.work)
	case c.state == exchanging:
		l.gone(c.work)
	case c.work != nil: // only TLS writes, of its own accord, while a head is read
		l.rest(c.work)
		l.close(c)
	default:
		l.close(c)
	}
}

var (
	errNoHead     = errors.New("no response head in time")
	errAnswerSlow = errors.New("no more of the response body in time")
	errReadSlow   = errors.New("the client did not take the answer in time")
)

// expired goes on when a connection's deadline has passed.
func (l *loop) expired(c *conn) {
	defer l.survive(c)
	switch c.state {
	case awaiting, resting, lingering:
		l.close(c)
	case reading:
		l.reject(c.work, c.work.x.Late(c.work.s, &c.work.peer, c.work.start))
	case exchanging:
		l.clientLate(c.work)
	case connecting:
		l.missed(pathOf(c), syscall.ETIMEDOUT)
	case answering:
		l.nodeLate(c.work)
	case shaking, lining:
		l.shakeLate(c)
	case peeking:
		l.peekLate(c)
	case relaying:
		l.relayLate(c)
	}
}

// clientLate is for a client that neither sends nor takes, and for what waits on its behalf.
func (l *loop) clientLate(k *work) {
	u := &k.upload
	switch {
	case k.waits:
		l.unqueue(k)
		l.fail(k, k.x.Refused(roost.RefusedFull))
	case k.path.asking:
		k.path.asking = false
		l.failed(k, roost.StageConnect, roost.FaultResolve, errConnectSlow)
	case k.c.blocked():
		if k.over {
			l.gone(k)
			return
		}
		l.failed(k, roost.StageBody, roost.FaultClientSlow, errReadSlow)
	case k.passing && l.mono-k.moved < int64(k.limits.body):
		l.arm(k.c, k.limits.body-time.Duration(l.mono-k.moved)) // while both sides stream, neither's silence alone means anything
	case !u.read:
		l.failed(k, roost.StageSend, roost.FaultClientSlow, errBodySlow)
	}
}

// nodeLate is for a node that neither answers nor takes.
func (l *loop) nodeLate(k *work) {
	u := &k.upload
	lively := !u.read && l.mono-u.moved < int64(k.set.BodyTimeout)
	switch {
	case k.n.blocked():
		l.breakUpload(k) // which gives it the time of an answer
	case k.c.blocked(): // it is the client that is slow
		if k.c.deadline == 0 {
			k.takes.Wait(l.mono)
			l.arm(k.c, k.limits.send)
		}
	case k.passing && lively:
		l.arm(k.n, k.set.BodyTimeout)
	case k.passing:
		l.failed(k, roost.StageBody, roost.FaultTimeout, errAnswerSlow)
	case !u.sent:
		l.arm(k.n, k.set.HeadTimeout) // the request's body has limits of its own
	default:
		l.failed(k, roost.StageHead, roost.FaultTimeout, errNoHead)
	}
}

// cut ends a client's connection at once, or one to a node that nobody uses, and what runs on it.
func (l *loop) cut(c *conn) {
	switch {
	case c.dead || c.node && c.state != resting:
		return // goes with its client's
	case c.relay != nil:
		l.relayCut(c)
	case c.work != nil && c.work.waits:
		l.unqueue(c.work)
		fallthrough
	case c.work != nil:
		k := c.work
		if n := k.n; n != nil {
			k.n, n.work = nil, nil
			l.close(n)
		}
		if k.s == nil {
			k.x.Attempt.Ended = k.x.Attempt.Ended || k.x.Attempt.Live == nil
			k.x.End(roost.StageBody, roost.FaultClientGone, errCut, l.now)
			if k.x.Record.Status == 0 {
				k.x.AppendReply(nil, carry.Reply{}, l.now)
			}
			k.x.Record.Aborted = true
			l.record(k)
		}
		l.rest(k)
		l.abort(c)
	default:
		l.abort(c)
	}
}

var errCut = errors.New("cut off")

// upkeep is what nobody's request brings about.
func (l *loop) upkeep() {
	if l.mono-l.kept < int64(lookUpEvery) && l.mono >= l.kept {
		return
	}
	l.kept = l.mono
	l.stats.resting.Store(l.resting)
	for live := range l.lines {
		l.admitNext(live)
	}
	s := l.e.o.Snapshot.Load()
	if s == nil {
		return
	}
	if l.mono-l.swept >= int64(sweepEvery) {
		l.swept = l.mono
		l.sweep(s)
	}
	if l.mono-l.evicted >= int64(evictEvery) {
		l.evicted = l.mono
		l.evict(s)
	}
}
