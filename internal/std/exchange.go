package std

import (
	"errors"
	"math/rand/v2"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
	"roost/internal/pki"
)

// carry carries one exchange whose head was read to its end. It tells whether the client's connection may carry another.
func (k *work) carry(s *roost.Snapshot) bool {
	x := &k.x
	reply, ok := x.Accept(s, &k.c.peer, &k.req, text(k.head), k.start.UnixNano(), k.e.o.Now().UnixNano())
	if k.c.f.leaving() {
		x.Close = true
	}
	if !ok {
		return k.fail(reply)
	}
	k.begin()
	for {
		if refused := k.choose(); refused != roost.NotRefused {
			return k.fail(x.Refused(refused))
		}
		step := k.attempt()
		switch {
		case x.Answered && x.Record.Fault != roost.NoFault:
			return k.breakOff()
		case step == roost.StepFail:
			return k.fail(x.Failed())
		case step == roost.StepDone:
			if k.c.tunnel == nil {
				k.record()
			}
			// Where it is we who end the connection, the client may be sending still, this request's body or its next one.
			k.c.linger = x.Close && (x.Sending || k.req.Persistent())
			return !x.Close
		}
	}
}

// begin readies what follows the request's and the answer's bodies.
func (k *work) begin() {
	k.up.begin(k)
	k.moved.Store(0)
	k.takes = carry.Pace{Rate: k.set.MinBodyRate, Grace: k.set.SendTimeout}
}

// choose makes the next attempt; where every node is at its limit, the first one waits in line.
func (k *work) choose() roost.Refusal {
	x := &k.x
	if x.Record.Tries > 0 {
		x.Refresh(k.e.o.Snapshot.Load()) // the attempt before may have taken long
	}
	if x.Record.Tries > 0 || x.Pool.Live.Waiting.Load() == 0 {
		refused := x.Choose(rand.Uint64(), k.e.o.Now().UnixNano())
		if refused != roost.RefusedFull || x.Record.Tries > 0 {
			return refused
		}
	}
	return k.e.lines.wait(k)
}

// attempt makes one attempt and says what follows.
func (k *work) attempt() roost.Step {
	x := &k.x
	k.pool = x.Pool.Settings
	set := &k.pool
	n, fault, err := k.e.nodes.get(k.c.f.ctx, &x.Attempt, set, x.HTTP2(), !x.Idempotent(), k.header(), k.e.o.Now())
	if err != nil {
		if k.c.closing.Load() || k.c.f.ctx.Err() != nil {
			fault = roost.FaultClientGone // it was we who ended the dial
		}
		return k.end(roost.StageConnect, fault, err)
	}
	k.n, x.Reused = n, n.served > 0
	k.c.hold(n)
	stage, fault, err := k.converse()
	if k.up.running {
		k.up.cancel()
	}
	x.Held = k.up.whole
	switch {
	case fault == roost.NoFault:
	case fault == roost.FaultClientSlow: // which cuts a stream of HTTP/2 off
	case k.c.closing.Load():
		fault = roost.FaultClientGone // we were cut off: neither side's fault
	case k.up.fault != roost.NoFault:
		fault, err = k.up.fault, k.up.err // the client's body is why the connection to the node was closed
	}
	if x.Record.Upgraded && fault == roost.NoFault {
		k.c.tunnel = k.upgraded() // which records it at its end
		return k.end(stage, fault, err)
	}
	k.c.hold(nil)
	if n.leg != nil {
		x.Reset = n.leg.reset()
		x.Sent = x.Sent && !n.leg.unprocessed()
	}
	if fault == roost.NoFault && n.leg == nil && k.reusable(n) {
		k.e.nodes.put(x.Attempt.Live, n, set, k.e.o.Now())
	} else {
		n.close()
	}
	return k.end(stage, fault, err)
}

// end ends the attempt, and lets the next in line have its place.
func (k *work) end(stage roost.Stage, fault roost.Fault, err error) roost.Step {
	live := k.x.Attempt.Pool
	step := k.x.End(stage, fault, err, k.e.o.Now().UnixNano())
	if live.Waiting.Load() > 0 {
		k.e.lines.wake(live)
	}
	return step
}

// header is the PROXY header that a connection to the node begins with; none where its pool wants none.
func (k *work) header() []byte {
	if k.pool.SendProxy == 0 {
		return nil
	}
	return k.x.AppendProxy(nil, k.c.local())
}

// reusable tells whether the node's connection is clean: all was sent, all was read, nothing stands behind it. One with a
// PROXY header is for its client alone.
func (k *work) reusable(n *nodeConn) bool {
	if k.pool.SendProxy != 0 || k.up.sent.Load() == 0 || k.up.broken || !k.res.Persistent() {
		return false
	}
	return k.x.Out.Body.Framing != h1.ByClose && k.x.Out.Body.Done() && len(n.pending()) == 0 && n.err == nil
}

// converse sends the request to the node and passes its answer on. The stage is how far that came.
func (k *work) converse() (roost.Stage, roost.Fault, error) {
	x, n := &k.x, k.n
	k.out = x.AppendRequest(k.out[:0])
	var err error
	if k.out, err = k.up.first(k.out); err != nil {
		return roost.StageSend, roost.FaultClientFrames, err
	}
	written, err := n.write(k.out, k.pool.BodyTimeout, k.e.o.Now())
	x.Sent = written > 0
	if err != nil && !x.Sent {
		return roost.StageSend, nodeFault(err), err
	}
	k.up.broken = err != nil // the node may have answered, and closed, before it read all: the answer is worth more
	k.up.start()
	for {
		fault, err := k.readAnswer()
		if fault != roost.NoFault {
			return roost.StageHead, fault, err
		}
		now := k.e.o.Now()
		x.Sending = !k.up.read.Load()
		x.Held = !x.Sending && k.up.whole // or more may be read than can be held, before a retry
		view := text(n.pending())
		switch x.Respond(&k.res, view, now.UnixNano()) {
		case carry.Interim:
			k.out = x.AppendInterim(k.out[:0], &k.res, view)
			if err := k.send(k.out); err != nil {
				return roost.StageHead, clientFault(err), err
			}
			n.take(k.res.Size)
		case carry.Swallow:
			n.take(k.res.Size)
		case carry.Violation:
			return roost.StageHead, roost.FaultProtocol, errors.New("the node sent an interim response or an upgrade that was not asked for")
		case carry.Retry:
			n.take(k.res.Size)
			k.pass()
			return roost.StageHead, roost.NoFault, nil
		case carry.Switch:
			k.out = x.AppendResponse(k.out[:0], &k.res, view, now.UnixNano())
			n.take(k.res.Size)
			if err := k.flush(); err != nil {
				return roost.StageBody, clientFault(err), err
			}
			return roost.StageDone, roost.NoFault, nil
		case carry.Pass:
			k.leaving()
			k.out = x.AppendResponse(k.out[:0], &k.res, view, now.UnixNano())
			n.idle = carry.NodeIdle(&k.res, view)
			n.take(k.res.Size)
			k.moves()
			fault, err := k.relay()
			if fault != roost.NoFault {
				return roost.StageBody, fault, err
			}
			return roost.StageDone, roost.NoFault, nil
		}
	}
}

// leaving tells the client to close, when the listener began to leave while the node was at work.
func (k *work) leaving() {
	if k.c.f.leaving() {
		k.x.Close = true
	}
}

// readAnswer reads a response head of the node into res. Its time runs from the end of the request, or of the head before,
// and is not prolonged by a head that drips.
func (k *work) readAnswer() (roost.Fault, error) {
	n := k.n
	k.parser.Limits = h1.Limits{Head: maxNodeHead, Fields: maxNodeFields}
	k.parser.Reset(h1.Response)
	by := until(k.pool.HeadTimeout, k.e.o.Now())
	for {
		done, err := k.parser.Parse(n.pending(), &k.res)
		switch {
		case err == h1.ErrHeadTooLarge || err == h1.ErrTooManyFields:
			return roost.FaultTooLarge, err
		case err != nil:
			return roost.FaultProtocol, err
		case done:
			return roost.NoFault, nil
		}
		err = k.listen(by)
		switch {
		case err == nil:
		case isTimeout(err):
			now := k.e.o.Now()
			left := k.up.left(k.pool.HeadTimeout, now)
			if left <= 0 {
				return roost.FaultTimeout, errors.New("no response head in time")
			}
			by = now.Add(left)
		case err == errGone:
			return roost.FaultClientGone, err
		case isEOF(err) && len(n.pending()) == 0:
			return roost.FaultReset, errors.New("the node closed the connection without an answer")
		case isEOF(err):
			return roost.FaultReset, errors.New("the node closed the connection inside its response head")
		case alerted(err): // in TLS 1.3 it sees our certificate after we are done with the handshake
			return roost.FaultTLS, pki.Explain(err)
		default:
			return roost.FaultReset, err
		}
	}
}

// send writes to the client, for as long as it takes something in time, and fast enough.
func (k *work) send(b []byte) error {
	now := k.e.o.Now()
	for {
		k.takes.Wait(now.UnixNano())
		n, err := k.c.w.write(b, k.set.SendTimeout, now)
		now = k.e.o.Now()
		if k.takes.Moved(int64(n), now.UnixNano()) {
			return carry.ErrTooSlow
		}
		if n == 0 || !isTimeout(err) {
			return err
		}
		b = b[n:]
	}
}

// nodeFault tells what a failed write to a node means.
func nodeFault(err error) roost.Fault {
	if isTimeout(err) {
		return roost.FaultTimeout
	}
	return roost.FaultReset
}

// clientFault tells what a failed write to the client means.
func clientFault(err error) roost.Fault {
	if isTimeout(err) || err == carry.ErrTooSlow {
		return roost.FaultClientSlow
	}
	return roost.FaultClientGone
}

// fail answers with a reply of ours. What was not read of the request's body is not waited for, except what has come.
func (k *work) fail(r carry.Reply) bool {
	x := &k.x
	if !x.In.Body.Done() {
		k.skip()
	}
	if !x.In.Body.Done() {
		x.Close, k.c.linger = true, true
	}
	if r.Status == 0 {
		x.Close = true
	}
	k.answer(r)
	return !x.Close
}

// skip takes what has come of the request's body and throws it away.
func (k *work) skip() {
	b := k.c.w.pending()
	var used int
	var err error
	k.out, used, err = k.x.In.Next(k.out[:0], b)
	k.c.w.take(used)
	if err != nil {
		k.x.Close, k.c.linger = true, true
	}
}

// breakOff ends an answer that cannot be completed, so that it does not look complete.
func (k *work) breakOff() bool {
	k.x.Record.Aborted = true
	if k.x.Unframed() {
		k.c.w.abort()
	}
	k.record()
	return false
}
