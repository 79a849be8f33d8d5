package std

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"roost"
	"roost/internal/carry"
)

// introduced takes the PROXY header that the connection must begin with, where its listener wants one.
func (c *conn) introduced() bool {
	if set := c.settings(); !set.ProxyProtocol {
		return true
	}
	start := c.e.o.Now()
	by := until(c.settings().HeadTimeout, start)
	var x carry.Stream
	for final := false; ; {
		n, o, reply := c.peer.Introduce(c.settings(), text(c.w.pending()), final)
		switch o {
		case carry.Ready:
			c.w.take(n)
			return true
		case carry.Shut:
			x.Refuse(c.e.o.Snapshot.Load(), &c.peer, start.UnixNano())
			c.e.o.Record(x.Finish(reply, c.e.o.Now().UnixNano()))
			return false
		}
		var err error
		if final, err = c.more(by); isTimeout(err) {
			reply = x.Late(c.e.o.Snapshot.Load(), &c.peer, start.UnixNano())
			c.e.o.Record(x.Finish(reply, c.e.o.Now().UnixNano()))
		}
		if err != nil {
			return false
		}
	}
}

var errNothing = errors.New("the connection ended without a byte")

// more reads more of what a connection begins with, until by. final says that this was all. A connection that says nothing
// at all is waited for like an idle one, so that it ends when its listener leaves.
func (c *conn) more(by time.Time) (final bool, err error) {
	if len(c.w.pending()) == 0 {
		switch {
		case c.await():
			return false, nil
		case !by.IsZero() && !c.e.o.Now().Before(by):
			return false, os.ErrDeadlineExceeded
		}
		return false, errNothing
	}
	if c.w.readBy != by {
		c.w.readUntil(by)
	}
	err = c.w.fill(c.e.o.Now)
	switch {
	case err == errNudged:
		return false, nil
	case isEOF(err):
		return true, nil
	}
	return false, err
}

// stream carries a raw connection, to its end.
func (c *conn) stream() {
	k := c.e.borrow(c, c.e.o.Snapshot.Load())
	t := k.connect()
	k.rest()
	if t != nil {
		t.run(c)
	}
}

// connect places the connection and reaches a node. Nil: there is none, or the client has gone.
func (k *work) connect() *tunnel {
	c, x := k.c, &k.s
	by := until(k.set.HeadTimeout, k.start)
	for final := false; ; {
		s := k.e.o.Snapshot.Load()
		o, reply := x.Accept(s, &c.peer, text(c.w.pending()), final, k.start.UnixNano(), k.e.o.Now().UnixNano())
		if o == carry.Ready {
			break
		}
		if o == carry.Shut {
			return k.shut(reply)
		}
		var err error
		if final, err = c.more(by); isTimeout(err) {
			return k.shut(x.Late(s, &c.peer, k.start.UnixNano()))
		} else if err != nil {
			return nil
		}
	}
	for {
		if x.Record.Tries > 0 {
			x.Refresh(k.e.o.Snapshot.Load()) // the attempt before may have taken long
		}
		if refused := x.Choose(rand.Uint64(), k.e.o.Now().UnixNano()); refused != roost.NotRefused {
			return k.shut(x.Refused(refused))
		}
		t, step := k.reach()
		switch step {
		case roost.StepDone:
			return t
		case roost.StepFail:
			return k.shut(x.Failed())
		}
	}
}

// reach makes one attempt: a connection to the node, and what the client sent so far.
func (k *work) reach() (*tunnel, roost.Step) {
	c, x := k.c, &k.s
	k.pool = x.Pool.Settings
	end := func(stage roost.Stage, fault roost.Fault, err error) roost.Step {
		if err != nil && (c.closing.Load() || c.f.ctx.Err() != nil) {
			fault = roost.FaultClientGone // it was we who ended it
		}
		step := x.End(stage, fault, err, k.e.o.Now().UnixNano())
		if x.Attempt.Pool.Waiting.Load() > 0 {
			k.e.lines.wake(x.Attempt.Pool)
		}
		return step
	}
	n, fault, err := k.e.nodes.dial(c.f.ctx, &x.Attempt, &k.pool, "", k.introduction(), k.e.o.Now())
	if err != nil {
		return nil, end(roost.StageConnect, fault, err)
	}
	c.hold(n)
	first := c.w.pending()
	if len(first) > 0 {
		written, err := n.write(first, k.pool.BodyTimeout, k.e.o.Now())
		if x.Sent = written > 0; err != nil {
			c.hold(nil)
			n.close()
			return nil, end(roost.StageSend, nodeFault(err), err)
		}
	}
	step := end(roost.StageDone, roost.NoFault, nil)
	t := &tunnel{node: n, live: x.Attempt.Live, send: k.set.SendTimeout, half: k.pool.BodyTimeout}
	x.Settle(&t.relay)
	t.in.Store(int64(len(first)))
	c.w.take(len(first))
	return t, step
}

// introduction is the PROXY header that the connection to the node begins with; none where its pool wants none.
func (k *work) introduction() []byte {
	if k.pool.SendProxy == 0 {
		return nil
	}
	return k.s.AppendProxy(nil, k.c.local())
}

// shut records a stream that did not come to be.
func (k *work) shut(why carry.Reply) *tunnel {
	k.e.o.Record(k.s.Finish(why, k.e.o.Now().UnixNano()))
	return nil
}

// local is where the client's socket is connected to.
func (c *conn) local() netip.AddrPort {
	if t, ok := c.nc.LocalAddr().(*net.TCPAddr); ok {
		a := t.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	}
	return netip.AddrPort{}
}
