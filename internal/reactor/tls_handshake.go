//go:build linux

package reactor

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"syscall"

	"roost"
	"roost/internal/pki"
	"roost/internal/sniff"
)

// handshake is one that runs. crypto/tls cannot leave off inside one and resume, so it has a goroutine; but that one only
// computes, in stages. The loop does all that touches the socket: it feeds a stage with whole records, sends what the stage
// wrote, and waits for the client with no goroutine running. All below is the goroutine's during a stage, and the loop's
// between two; post and more hand it over.
type handshake struct {
	e    *Engine
	s    *session
	from netip.Addr
	c    token
	last bool   // nothing comes behind what it was fed with
	out  []byte // to be sent
	idle bool   // between two stages; the loop's alone
	more chan struct{}
}

const (
	// maxHandshakes bounds those that run on a loop: each has a goroutine and some 30 KiB while the client takes its time.
	// Beyond it a ClientHello waits in line, as bytes.
	maxHandshakes = 2048
	// maxLine bounds that line: at 2,000 handshakes per second it is half of the usual head timeout. Who comes then is closed.
	maxLine = 8192
)

// secure makes a new connection wait for its ClientHello.
func (l *loop) secure(c *conn) {
	c.state = shaking
	l.arm(c, c.settings(l.e.o.Snapshot.Load()).HeadTimeout)
	l.later(c)
}

// shake goes on with a connection that has no TLS yet.
func (l *loop) shake(c *conn) {
	switch {
	case c.tls == nil:
		l.hello(c)
	case c.tls.wire.shaking == nil:
		l.shaken(c)
	case c.tls.wire.shaking.idle:
		l.feed(c)
	}
}

// hello waits for a whole ClientHello: until then a connection costs no goroutine and no TLS state.
func (l *loop) hello(c *conn) {
	b := l.ahead(c)
	for range readBudget {
		var h sniff.Hello
		switch sniff.ClientHello(text(b), &h) {
		case sniff.Whole:
			l.keep(c, b)
			l.line(c)
			return
		case sniff.Malformed:
			l.keep(c, b)
			l.start(c, true) // crypto/tls knows the alert for it
			return
		case sniff.Other:
			l.unshaken(c)
			return
		}
		l.keep(c, b)
		if !c.canRead {
			return
		}
		var e syscall.Errno
		if b, e = l.more(c, sniff.MaxHello); e == syscall.EAGAIN {
			return
		} else if e != 0 {
			l.close(c)
			return
		}
	}
	l.later(c)
}

// line lets a connection's handshake begin, or has it wait for those before it.
func (l *loop) line(c *conn) {
	switch {
	case l.shakes < maxHandshakes:
		l.start(c, false)
	case len(l.hellos) < maxLine:
		c.state = lining
		l.hellos = append(l.hellos, c.token())
	default:
		l.unshaken(c)
	}
	l.stats.shaking.Store(int64(l.shakes + len(l.hellos)))
}

// start begins a handshake with the records in c.pend. last: it will fail over them, and is not to wait for more.
func (l *loop) start(c *conn, last bool) {
	conf := c.front.tls()
	if conf == nil { // a reload made the listener one of clear text, and this client does not speak it
		l.close(c)
		return
	}
	h := &handshake{e: l.e, s: &session{}, from: c.from.addr(), c: c.token(), last: last, more: make(chan struct{}, 1)}
	h.s.wire = wire{loop: l, c: c, shaking: h}
	h.s.conn = tls.Server(&h.s.wire, conf)
	c.state, c.tls = shaking, h.s
	b := c.pend.rest()
	n := len(b)
	if !last {
		n = records(b)
	}
	h.s.wire.in = slices.Clone(b[:n])
	l.keep(c, b[n:])
	l.shakes++
	l.e.beside.Go(func() { h.run(l) })
}

// feed gives a handshake that waits the next records of the client, once they are whole.
func (l *loop) feed(c *conn) {
	h := c.tls.wire.shaking
	b := l.ahead(c)
	for range readBudget {
		if n := records(b); n > 0 {
			c.tls.wire.in = slices.Clone(b[:n])
			l.keep(c, b[n:])
			h.idle = false
			h.more <- struct{}{}
			return
		}
		l.keep(c, b)
		if !c.canRead {
			return
		}
		var e syscall.Errno
		if b, e = l.more(c, maxKept); e == syscall.EAGAIN {
			return
		} else if e != 0 {
			l.close(c)
			return
		}
	}
	l.later(c)
}

// records is how many bytes of b are whole records, or no records at all: crypto/tls says what is wrong with those.
func records(b []byte) (n int) {
	const most = maxRecord + 2048 // RFC 5246, 6.2.3
	for len(b)-n >= recordHead {
		size := int(b[n+3])<<8 | int(b[n+4])
		switch {
		case size > most:
			return len(b)
		case len(b)-n < recordHead+size:
			return n
		}
		n += recordHead + size
	}
	return n
}

// run is the goroutine's. As many compute at a time as there is room for beside the loops, or those would wait for their
// processor.
func (h *handshake) run(l *loop) {
	h.e.hands <- struct{}{}
	err := h.shake()
	<-h.e.hands
	l.post(func(l *loop) { l.finished(h, err) })
}

func (h *handshake) shake() (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.e.Panics.Add(1)
			h.e.o.Log.Error("a bug ended a connection", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	s := h.s
	if err := s.conn.Handshake(); err != nil {
		return err
	}
	state := s.conn.ConnectionState()
	s.sni, s.alpn, s.cert = state.ServerName, state.NegotiatedProtocol, pki.Names(state.VerifiedChains)
	return nil
}

// wait ends a stage, and returns when there is more to read.
func (h *handshake) wait() error {
	if h.last {
		return net.ErrClosed
	}
	<-h.e.hands
	defer func() { h.e.hands <- struct{}{} }()
	if !h.s.wire.loop.post(func(l *loop) { l.paused(h) }) {
		return net.ErrClosed
	}
	if _, ok := <-h.more; !ok {
		return net.ErrClosed
	}
	return nil
}

// abandon ends a handshake whose connection is closed: at once if it waits, else when it will have computed.
func (h *handshake) abandon() {
	if h.idle {
		h.idle = false
		close(h.more)
	}
}

// paused sends what a stage has written, and waits for the client.
func (l *loop) paused(h *handshake) {
	h.idle = true
	c := l.slab.find(h.c)
	if c == nil || c.tls != h.s {
		h.abandon()
		return
	}
	defer l.survive(c)
	if e := h.send(l, c); e != 0 {
		l.close(c)
		return
	}
	l.shake(c)
}

// finished ends a handshake, well or not.
func (l *loop) finished(h *handshake, err error) {
	l.shakes--
	l.nextInLine()
	if err != nil {
		l.stats.unshaken.Add(1)
		l.e.o.Log.Debug("TLS handshake failed", "client", h.from, "error", err)
	} else {
		l.stats.shaken.Add(1)
	}
	c := l.slab.find(h.c)
	if c == nil || c.tls != h.s {
		return
	}
	defer l.survive(c)
	w := &h.s.wire
	w.shaking = nil
	alert := len(h.out) > 0
	switch e := h.send(l, c); {
	case e != 0, err != nil && !alert:
		l.close(c)
	case err != nil:
		l.linger(c) // so that no reset overtakes the alert
	default:
		w.in = append(w.in, l.ahead(c)...)
		l.forget(c)
		w.drained, c.canRead = !c.canRead, true // crypto/tls may have read something
		l.shaken(c)
	}
}

// send sends what a stage has written.
func (h *handshake) send(l *loop, c *conn) syscall.Errno {
	out := h.out
	h.out = nil
	if len(out) == 0 {
		return 0
	}
	return l.put(c, out, nil)
}

// shaken goes on with a connection whose handshake is done, once the last of it was sent.
func (l *loop) shaken(c *conn) {
	set := c.settings(l.e.o.Snapshot.Load())
	switch {
	case c.blocked(): // flushed comes back
	case c.tls.alpn == "h2" && set.Protocol == roost.ServesHTTP:
		if !l.pass(c, nil, nil) {
			l.close(c) // nothing was asked
		}
	default:
		l.enter(c)
	}
}

// nextInLine lets those who wait begin, while there is room.
func (l *loop) nextInLine() {
	for len(l.hellos) > 0 && l.shakes < maxHandshakes {
		c := l.slab.find(l.hellos[0])
		l.hellos = l.hellos[1:]
		if c != nil && c.state == lining {
			l.start(c, false)
		}
	}
	l.stats.shaking.Store(int64(l.shakes + len(l.hellos)))
}

// shakeLate ends a connection whose handshake takes too long, or would.
func (l *loop) shakeLate(c *conn) {
	if c.tls == nil {
		l.unshaken(c)
		return
	}
	l.close(c) // finished counts it
}

// unshaken ends a connection whose handshake does not even begin.
func (l *loop) unshaken(c *conn) {
	l.stats.unshaken.Add(1)
	l.close(c)
}
