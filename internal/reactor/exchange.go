//go:build linux

package reactor

import (
	"errors"
	"syscall"
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
)

const (
	// maxNodeHead and maxNodeFields bound a node's response head: four times what clients may send by default, because
	// nodes are less of a threat and their answers set cookies.
	maxNodeHead   = 64 << 10
	maxNodeFields = 256
)

// exchange begins an exchange whose head was read to its end; ahead is what was read behind it.
func (l *loop) exchange(k *work, ahead []byte) {
	c, x := k.c, &k.x
	c.state = exchanging
	l.arm(c, 0)
	reply, ok := x.Accept(k.s, &k.peer, &k.req, text(k.head), k.start, l.now)
	if c.front.leaving() {
		x.Close = true
	}
	switch {
	case !ok:
		k.s = nil
		l.keep(c, ahead)
		l.fail(k, reply)
	case l.foreign(x):
		l.keep(c, ahead)
		l.passWork(k)
	default:
		k.s = nil
		k.upload.begin()
		l.attempt(k, ahead)
	}
}

// reject answers what came instead of a request.
func (l *loop) reject(k *work, r carry.Reply) {
	k.s = nil
	k.c.state = exchanging
	l.arm(k.c, 0)
	l.forget(k.c)
	k.upload.begin()
	l.answerWith(k, r)
	l.settle(k, true)
}

// attempt makes the next attempt; where every node is at its limit, the first one waits in line. ahead is what was read of the
// client and not used.
func (l *loop) attempt(k *work, ahead []byte) {
	refused := l.choose(k)
	if refused == roost.NotRefused {
		l.reach(k, ahead)
		return
	}
	l.keep(k.c, ahead)
	if refused == roost.RefusedFull && k.x.Record.Tries == 0 && l.queue(k) {
		return
	}
	l.fail(k, k.x.Refused(refused))
}

// choose chooses the node. Nobody goes before those who wait.
func (l *loop) choose(k *work) roost.Refusal {
	x := &k.x
	switch {
	case x.Record.Tries > 0:
		x.Refresh(l.e.o.Snapshot.Load()) // the attempt before may have taken long
		if l.foreign(x) {
			return roost.RefusedTried // since a reload its nodes speak what is not spoken here, and the request was begun
		}
	case x.Pool.Live.Waiting.Load() > 0:
		return roost.RefusedFull
	}
	return x.Choose(l.random(), l.now)
}

// reach finds a connection to the chosen node, and goes on with it, or dials.
func (l *loop) reach(k *work, ahead []byte) {
	x := &k.x
	k.set = x.Pool.Settings
	if k.set.SendProxy == 0 { // else a connection speaks for one client, and is not shared
		if n := l.idle(&x.Attempt, !x.Idempotent()); n != nil {
			x.Reused = true
			k.n, n.work = n, k
			l.converse(k, ahead)
			return
		}
	}
	l.keep(k.c, ahead)
	l.dial(k)
}

// converse sends the request to the node, with what is there of its body.
func (l *loop) converse(k *work, ahead []byte) {
	c, n, x, u := k.c, k.n, &k.x, &k.upload
	n.state = answering
	k.parser.Limits = h1.Limits{Head: maxNodeHead, Fields: maxNodeFields}
	k.parser.Reset(h1.Response)
	k.passing = false
	out := x.AppendProxy(l.out[:0], l.local(c, &k.set))
	out = append(x.AppendRequest(out), u.held...)
	out, body, used, err := u.next(l, x, out, ahead)
	l.scratch(out)
	var e syscall.Errno
	if err == nil {
		e = l.write(n, out, body)
	}
	l.keep(c, ahead[used:]) // not before: body may lie in what is given back
	if err != nil {
		l.failed(k, roost.StageSend, roost.FaultClientFrames, err)
		return
	}
	if e != 0 {
		l.failed(k, roost.StageSend, roost.FaultReset, e)
		return
	}
	x.Sent = true
	l.sending(k)
	if n.canRead {
		l.later(n) // it spoke, or ended, while it was dialled
	}
	if !u.read && c.canRead {
		l.upload(c, false)
	}
}

// sending sets the time that each side has, once something was written to the node.
func (l *loop) sending(k *work) {
	u := &k.upload
	u.moved = l.mono
	var body time.Duration // what the client has for more of it
	switch {
	case k.n.blocked():
		k.gives.Moved(0, l.mono) // it is not the client that is slow
		l.arm(k.n, k.set.BodyTimeout)
	case u.read:
		u.sent = true
		if !k.passing {
			l.arm(k.n, k.set.HeadTimeout)
		}
	default:
		if !k.passing {
			l.arm(k.n, k.set.HeadTimeout)
		}
		k.gives.Wait(l.mono)
		body = k.limits.body
	}
	if !k.c.blocked() { // else its time to take the answer runs, whatever it sends
		l.arm(k.c, body)
	}
}

// answered goes on with what the node says.
func (l *loop) answered(n *conn) {
	k := n.work
	for range readBudget {
		if k.c.blocked() {
			return // flushed comes back
		}
		if k.passing && l.bulk(k) {
			return
		}
		b, e := l.more(n, maxNodeHead)
		if e == syscall.EAGAIN {
			return
		}
		if k.passing {
			if e != 0 && e != errEnd {
				l.failed(k, roost.StageBody, roost.FaultReset, e)
				return
			}
			if !l.deliver(k, l.out[:0], b, e == errEnd) {
				return
			}
		} else if !l.answer(k, b, e) {
			return
		}
		if !n.canRead {
			return
		}
	}
	l.later(n)
}

var (
	errSilent   = errors.New("the node closed the connection without an answer")
	errHalfHead = errors.New("the node closed the connection inside its response head")
	errUnasked  = errors.New("the node sent an interim response or an upgrade that was not asked for")
)

// answer takes response heads from b. It tells whether the exchange goes on.
func (l *loop) answer(k *work, b []byte, e syscall.Errno) bool {
	x, n, c := &k.x, k.n, k.c
	for {
		done, err := k.parser.Parse(b, &k.res)
		switch {
		case err == h1.ErrHeadTooLarge || err == h1.ErrTooManyFields:
			return l.failed(k, roost.StageHead, roost.FaultTooLarge, err)
		case err != nil:
			return l.failed(k, roost.StageHead, roost.FaultProtocol, err)
		case done:
		case e == errEnd && len(b) == 0:
			return l.failed(k, roost.StageHead, roost.FaultReset, errSilent)
		case e == errEnd:
			return l.failed(k, roost.StageHead, roost.FaultReset, errHalfHead)
		case e != 0:
			return l.failed(k, roost.StageHead, roost.FaultReset, e)
		default:
			l.keep(n, b)
			return true
		}
		view, rest := text(b), b[k.res.Size:]
		x.Sending = !k.upload.read
		x.Held = !x.Sending && k.upload.whole // or more may be read than can be held, before a retry
		switch x.Respond(&k.res, view, l.now) {
		case carry.Interim:
			out := x.AppendInterim(l.out[:0], &k.res, view)
			l.scratch(out)
			if e := l.write(c, out, nil); e != 0 {
				return l.failed(k, roost.StageHead, roost.FaultClientGone, e)
			}
			l.passingOn(k, k.set.HeadTimeout) // of which there are few (carry.MaxInterim)
		case carry.Swallow:
			l.arm(n, k.set.HeadTimeout)
		case carry.Violation:
			return l.failed(k, roost.StageHead, roost.FaultProtocol, errUnasked)
		case carry.Retry:
			return l.conclude(k, roost.StageHead, roost.NoFault, nil, l.whole(k, rest, e))
		case carry.Switch:
			l.switchOver(k, x.AppendResponse(l.out[:0], &k.res, view, l.now), rest)
			return false
		case carry.Pass:
			if c.front.leaving() {
				x.Close = true
			}
			out := x.AppendResponse(l.out[:0], &k.res, view, l.now)
			n.idle = coarsely(int64(carry.NodeIdle(&k.res, view)))
			k.passing = true
			return l.deliver(k, out, rest, e == errEnd)
		}
		b = rest
		k.parser.Reset(h1.Response)
	}
}

// whole tells whether an answer that asks for another attempt is all there, so that its connection can be used again.
func (l *loop) whole(k *work, rest []byte, e syscall.Errno) bool {
	out, used, err := k.x.Out.Next(l.out[:0], rest)
	l.scratch(out)
	return err == nil && e == 0 && used == len(rest) && l.reusable(k)
}

// deliver passes on what came of the answer: out is what is already to be written, b what follows of the body. It tells
// whether more is to come.
func (l *loop) deliver(k *work, out, b []byte, end bool) bool {
	x, c, n := &k.x, k.c, k.n
	flow := &x.Out
	var plain []byte
	if !flow.Body.Done() {
		m := flow.Plain(b)
		plain = b[:m]
		flow.Skip(int64(m))
		b = b[m:]
	}
	var wrong error
	if len(plain) < plainFrom || len(b) > 0 && !flow.Body.Done() {
		out, plain = append(out, plain...), nil
	}
	if len(b) > 0 && !flow.Body.Done() {
		var used int
		out, used, wrong = flow.Next(out, b)
		b = b[used:]
	}
	l.scratch(out)
	if len(out)+len(plain) > 0 {
		x.Answered = true
		if e := l.write(c, out, plain); e != 0 {
			return l.failed(k, roost.StageBody, roost.FaultClientGone, e)
		}
	}
	switch {
	case wrong != nil:
		return l.failed(k, roost.StageBody, roost.FaultProtocol, wrong)
	case flow.Body.Done():
		l.forget(n)
		return l.conclude(k, roost.StageDone, roost.NoFault, nil, len(b) == 0 && !end && l.reusable(k))
	case end && flow.Body.EOF() == nil:
		return l.conclude(k, roost.StageDone, roost.NoFault, nil, false)
	case end:
		return l.failed(k, roost.StageBody, roost.FaultReset, h1.ErrTruncated)
	}
	l.keep(n, b)
	l.passingOn(k, k.set.BodyTimeout)
	return true
}

// passingOn sets the time that each side has, once something of the answer was passed on: more is that of the node.
func (l *loop) passingOn(k *work, more time.Duration) {
	k.moved = l.mono
	if k.c.blocked() {
		k.takes.Wait(l.mono)
		l.arm(k.n, 0) // it is not the node that is slow
		l.arm(k.c, k.limits.send)
		return
	}
	l.arm(k.n, more)
}

// reusable tells whether the node's connection is clean: all was sent, all was read, nothing stands behind it.
func (l *loop) reusable(k *work) bool {
	u := &k.upload
	if !u.read || u.broken || k.n.blocked() || !k.res.Persistent() || k.n.hup {
		return false
	}
	if b := &k.x.Out.Body; b.Framing == h1.ByClose || !b.Done() {
		return false
	}
	if !k.n.canRead {
		return true
	}
	n, e := l.recv(k.n, l.in[:1]) // what filled the buffer may have been all
	return n == 0 && e == syscall.EAGAIN
}

// failed ends the attempt for a fault, and its connection with it. It tells, as all that may, whether the exchange goes on
// on the connection to the node that was its: never.
func (l *loop) failed(k *work, stage roost.Stage, fault roost.Fault, err error) bool {
	return l.conclude(k, stage, fault, err, false)
}

// conclude ends the attempt, and goes on with what follows.
func (l *loop) conclude(k *work, stage roost.Stage, fault roost.Fault, err error, reuse bool) bool {
	x := &k.x
	if n := k.n; n != nil {
		k.n, n.work = nil, nil
		if reuse && k.set.SendProxy == 0 {
			l.settleIn(n, &k.set)
		} else {
			l.close(n)
		}
	}
	live := x.Attempt.Pool
	x.Held = k.upload.whole
	step := x.End(stage, fault, err, l.now)
	if live.Waiting.Load() > 0 {
		l.room(live)
	}
	switch {
	case x.Answered && x.Record.Fault != roost.NoFault:
		l.breakOff(k)
	case step == roost.StepFail:
		l.fail(k, x.Failed())
	case step == roost.StepRetry:
		l.retry(k)
	default:
		l.settle(k, x.Close && (x.Sending || k.req.Persistent()))
	}
	return false
}

// retry makes another attempt, with what the client has sent in the meantime.
func (l *loop) retry(k *work) {
	k.passing = false
	k.gives.Moved(0, l.mono) // it is not the client that is waited for
	if !k.c.blocked() {
		l.arm(k.c, 0)
	}
	k.upload.again()
	var ahead []byte
	if k.c.pend != nil {
		ahead = k.c.pend.rest()
	}
	l.attempt(k, ahead)
}

// settle ends an exchange whose answer was written. linger: the client may be sending still, this request's body or its
// next one.
func (l *loop) settle(k *work, linger bool) {
	k.over, k.linger = true, linger
	if k.c.blocked() {
		k.takes.Wait(l.mono)
		l.arm(k.c, k.limits.send)
		return // flushed comes back
	}
	l.done(k)
}

// done ends an exchange whose answer the system has taken.
func (l *loop) done(k *work) {
	c, goes, linger := k.c, !k.x.Close, k.linger
	l.record(k)
	l.rest(k)
	l.next(c, goes, linger)
}

func (l *loop) record(k *work) { l.e.o.Record(k.x.Finish(l.now)) }

// fail answers with a reply of ours. What was not read of the request's body is not waited for, except what has come.
func (l *loop) fail(k *work, r carry.Reply) {
	x, c := &k.x, k.c
	linger := false
	if !x.In.Body.Done() && c.pend != nil {
		out, used, err := x.In.Next(l.out[:0], c.pend.rest())
		l.scratch(out)
		l.keep(c, c.pend.rest()[used:])
		if err != nil {
			x.Close, linger = true, true
		}
	}
	if !x.In.Body.Done() {
		x.Close, linger = true, true
	}
	if r.Status == 0 {
		x.Close = true
	}
	l.answerWith(k, r)
	l.settle(k, linger)
}

// answerWith writes an answer of ours.
func (l *loop) answerWith(k *work, r carry.Reply) {
	out := k.x.AppendReply(l.out[:0], r, l.now)
	l.scratch(out)
	if len(out) == 0 {
		return
	}
	if e := l.write(k.c, out, nil); e != 0 {
		k.x.Record.Aborted, k.x.Close = true, true
	}
}

// breakOff ends an answer that cannot be completed, so that it does not look complete.
func (l *loop) breakOff(k *work) {
	c := k.c
	k.x.Record.Aborted = true
	abort := k.x.Unframed()
	l.record(k)
	l.rest(k)
	if abort {
		l.abort(c)
	} else {
		l.close(c)
	}
}

// scratch keeps what was written into l.out, if it grew, for the next turn.
func (l *loop) scratch(out []byte) {
	if cap(out) > cap(l.out) && cap(out) <= maxKept {
		l.out = out[:0]
	}
}
