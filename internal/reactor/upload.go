//go:build linux

package reactor

import (
	"errors"
	"syscall"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
)

// upload is a request's body on its way to a node. What was sent is held until it is too much, so that another node can
// be tried.
type upload struct {
	held   []byte // all that was sent, while whole
	own    []byte // where held is, unless it is where it was read:
	lent   []byte // in this, which was the loop's scratch buffer
	whole  bool
	read   bool  // the whole body has come
	sent   bool  // and the socket to the node has taken it
	broken bool  // the node takes no more
	moved  int64 // when something of it moved last, by the monotonic clock
}

// plainFrom is from how many bytes on a piece of a body is written from where it was read, and not copied behind what is
// written before it: a second vector costs as much as a copy of about this.
const plainFrom = 4 << 10

// reset gives back what an exchange held.
func (u *upload) reset(l *loop) {
	if u.lent != nil {
		l.lent--
		l.ins = append(l.ins, u.lent)
	} else {
		u.own = kept(u.held)
	}
	*u = upload{own: u.own}
}

// begin makes the upload ready for a new exchange.
func (u *upload) begin() { u.held, u.whole = u.own[:0], true }

// again makes it ready for another attempt.
func (u *upload) again() { u.sent, u.broken = false, false }

// next appends to out what in means for the node, or returns what goes on as it stands and follows it. It holds both for
// another attempt, if all before was held.
func (u *upload) next(l *loop, x *carry.Exchange, out, in []byte) (_, body []byte, used int, err error) {
	if x.In.Body.Done() {
		u.read = true
		return out, nil, 0, nil
	}
	mark := len(out)
	if m := x.In.Plain(in); m >= plainFrom {
		x.In.Skip(int64(m))
		body, used = in[:m], m
	} else {
		out, used, err = x.In.Next(out, in)
	}
	fresh := out[mark:]
	switch n := len(fresh) + len(body); {
	case n == 0:
	case !u.whole || len(u.held)+n > x.Pool.Settings.ReplayBody:
		u.whole = false
	case len(u.held) == 0 && len(body) == n && l.lend(u, body):
	default:
		u.held = append(append(u.held, fresh...), body...)
	}
	u.read = x.In.Body.Done()
	return out, body, used, err
}

// maxLent is how many scratch buffers may be lent at a time: 8 MiB. What comes beyond is copied.
const maxLent = 64

// lend leaves a body where it was read, if that is the loop's scratch buffer, and gives the loop another: a copy of each
// upload, for the case that it is to be sent again, would cost a tenth of the whole request.
func (l *loop) lend(u *upload, body []byte) bool {
	if at := cap(l.in) - cap(body); l.lent >= maxLent || at < 0 || &body[0] != &l.in[at] {
		return false
	}
	u.held, u.lent = body[:len(body):len(body)], l.in
	l.lent++
	if n := len(l.ins); n > 0 {
		l.in = l.ins[n-1]
		l.ins = l.ins[:n-1]
	} else {
		l.in = make([]byte, scratchIn)
	}
	return true
}

var errBodySlow = errors.New("no more of the request body in time")

// upload goes on with a request's body. gone: the client's connection broke.
func (l *loop) upload(c *conn, gone bool) {
	k := c.work
	if gone {
		l.gone(k)
		return
	}
	u, x := &k.upload, &k.x
	if k.over || u.read || k.n == nil || k.n.state != answering {
		return // what comes is the next request's, or its turn will come
	}
	for range readBudget {
		n := k.n
		if n.blocked() || u.broken || u.read {
			return // flushed comes back
		}
		if l.bulkUp(k) {
			return
		}
		b, e := l.more(c, h1.MaxTrailer)
		switch {
		case e == syscall.EAGAIN:
			return
		case e != 0 && e != errEnd:
			l.failed(k, roost.StageSend, roost.FaultClientGone, e)
			return
		case l.sluggish(k, len(b)):
			return
		}
		out, body, used, err := u.next(l, x, l.out[:0], b)
		l.scratch(out)
		if err == nil && e == errEnd && !u.read {
			err = h1.ErrTruncated
		}
		var broken syscall.Errno
		if err == nil && len(out)+len(body) > 0 {
			broken = l.write(n, out, body)
		}
		l.keep(c, b[used:]) // not before: body may lie in what is given back
		if err != nil {
			l.failed(k, roost.StageSend, roost.FaultClientFrames, err)
			return
		}
		if broken != 0 {
			l.breakUpload(k)
			return
		}
		l.sending(k)
		if !c.canRead {
			return
		}
	}
	l.later(c)
}

// sluggish takes that n bytes of a request's body came, and ends the exchange if its client is too slow. Once an answer is
// under way the body is one side of a conversation, and may pause.
func (l *loop) sluggish(k *work, n int) bool {
	if !k.gives.Moved(int64(n), l.mono) || k.passing {
		return false
	}
	l.failed(k, roost.StageSend, roost.FaultClientSlow, carry.ErrTooSlow)
	return true
}

// breakUpload ends the body's way: the node takes no more. It may have answered, and closed, before it read all; the answer
// is worth more.
func (l *loop) breakUpload(k *work) {
	k.upload.broken = true
	k.upload.sent = true // and has its time from now on
	n := k.n
	l.lose(n)
	if k.passing {
		l.arm(n, k.set.BodyTimeout)
	} else {
		l.arm(n, k.set.HeadTimeout)
	}
	n.canRead, n.hup = true, true
	l.answered(n)
}

var errGone = errors.New("the client reset the connection")

// gone ends an exchange whose client is no more.
func (l *loop) gone(k *work) {
	switch {
	case k.over:
		l.breakOff(k)
	case k.waits:
		l.unqueue(k)
		l.fail(k, carry.Reply{})
	default:
		l.failed(k, roost.StageHead, roost.FaultClientGone, errGone)
	}
}
