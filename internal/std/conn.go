package std

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/pki"
	"roost/internal/sniff"
)

// conn is a client's connection. Its goroutine, serve, owns all but what the mutex guards.
type conn struct {
	e      *Engine
	f      *front
	w      wire
	peer   carry.Peer
	served bool // a request came before
	linger bool // bytes of the client may still come: close with care
	tunnel *tunnel

	nc      net.Conn    // as accepted: below w's TLS. Others may close it and move its deadline
	idle    atomic.Bool // between two requests
	closing atomic.Bool // cut was called
	mu      sync.Mutex  // guards the three below, for cut, evict and dismiss; the owner takes it twice per attempt
	node    *nodeConn
	runs    *tunnel // while it does
	goAway  func()  // of an HTTP/2 session
}

const (
	// lingerFor and lingerBytes bound how long and how much of an unread request is thrown away, so that the kernel does
	// not answer it with a reset that makes the client lose our answer (RFC 9112, 9.6).
	lingerFor   = 2 * time.Second
	lingerBytes = 256 << 10
	// maxShed is how many connections beyond the limit are told so at a time; others are closed without a word.
	maxShed = 64
)

func newConn(f *front, nc net.Conn) *conn {
	c := &conn{e: f.e, f: f, nc: nc}
	c.w.open(nc, &f.e.buffers)
	c.peer = carry.Peer{Listener: f.id}
	c.peer.Addr, c.peer.Port = addrOf(nc.RemoteAddr())
	f.e.add(c)
	return c
}

func addrOf(a net.Addr) (netip.Addr, uint16) {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone(""), uint16(t.Port)
	}
	return netip.Addr{}, 0
}

// serve carries what was accepted.
func (c *conn) serve() {
	limit := int64(c.settings().MaxConns)
	defer c.f.conns.Add(-1) // after end: a connection that lingers still counts
	defer c.end()
	n, conf := c.f.conns.Add(1), c.f.tls()
	if limit > 0 && n > limit {
		c.refuse(conf != nil)
		return
	}
	if !c.introduced() || conf != nil && !c.handshake(conf) {
		return
	}
	c.speak()
}

// speak carries what the client says, in HTTP/2 or HTTP/1.1, or whatever it is.
func (c *conn) speak() {
	if c.settings().Protocol == roost.ServesTCP {
		c.stream()
		return
	}
	if t, ok := c.w.conn.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" {
		c.serveHTTP2(c.rewound())
		return
	}
	for c.await() {
		if !c.served && c.prefaced() {
			c.serveHTTP2(c.rewound())
			return
		}
		if !c.exchange() {
			break
		}
	}
	if c.tunnel != nil {
		c.tunnel.run(c)
	}
}

// end closes the connection, whatever happened.
func (c *conn) end() {
	if p := recover(); p != nil {
		c.panicked(p)
	} else if c.linger {
		c.drown()
	}
	c.w.close()
	c.e.remove(c)
}

// panicked ends this connection for a bug of ours, and no other.
func (c *conn) panicked(p any) {
	c.e.Panics.Add(1)
	c.e.o.Log.Error("a bug ended a connection", "panic", p, "stack", string(debug.Stack()))
	abort(c.nc) // what was answered so far must not look complete
	c.cut()
}

// settings are the listener's as they are now.
func (c *conn) settings() *roost.ListenerSettings { return c.f.settings(c.e.o.Snapshot.Load()) }

// handshake makes the connection a TLS one.
func (c *conn) handshake(conf *tls.Config) bool {
	limit := c.settings().HeadTimeout
	ctx := c.f.ctx
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	t := tls.Server(c.rewound(), conf)
	if err := t.HandshakeContext(ctx); err != nil {
		c.e.o.Log.Debug("TLS handshake failed", "client", c.peer.Addr, "error", err)
		return false
	}
	c.w.open(t, &c.e.buffers)
	s := t.ConnectionState()
	c.peer.TLS, c.peer.SNI, c.peer.ALPN = true, s.ServerName, s.NegotiatedProtocol
	c.peer.Cert = pki.Names(s.VerifiedChains)
	return true
}

// await waits for the first bytes of a request. Without one the connection just ends: nothing was asked.
func (c *conn) await() bool {
	if len(c.w.pending()) > 0 {
		return true
	}
	set := c.settings()
	idle := set.IdleTimeout
	if !c.served && (idle == 0 || set.HeadTimeout < idle) {
		idle = set.HeadTimeout
	}
	since := c.e.o.Now()
	var drain time.Duration // the limit once the listener leaves
	c.idle.Store(true)
	err := c.w.await(c.e.o.Now, since, func() time.Duration {
		if drain == 0 && c.f.leaving() {
			drain = c.e.o.Now().Sub(since) + time.Duration(c.f.grace.Load())
		}
		if drain > 0 {
			return drain
		}
		return idle
	})
	c.idle.Store(false)
	return err == nil
}

// prefaced tells whether a clear connection begins with HTTP/2's preface, and may.
func (c *conn) prefaced() bool {
	set := c.settings()
	if c.peer.TLS || !set.HTTP2 {
		return false
	}
	by := c.e.o.Now().Add(set.HeadTimeout)
	for {
		match, more := sniff.Preface(c.w.pending())
		if !more {
			return match
		}
		if set.HeadTimeout > 0 {
			c.w.readUntil(by)
		}
		if err := c.w.fill(c.e.o.Now); err != nil && err != errNudged {
			return false // what there is will be refused as HTTP/1.1
		}
	}
}

// rewound is the connection as if nothing had been read ahead.
func (c *conn) rewound() net.Conn {
	b := append([]byte(nil), c.w.pending()...)
	c.w.take(len(b))
	c.w.rest()
	if len(b) == 0 {
		return c.w.conn
	}
	return &replay{c.w.conn, b}
}

// replay gives the bytes that were read ahead, then those of the connection.
type replay struct {
	net.Conn
	ahead []byte
}

// NetConn is the connection itself.
func (r *replay) NetConn() net.Conn { return r.Conn }

func (r *replay) Read(b []byte) (int, error) {
	if len(r.ahead) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.ahead)
	r.ahead = r.ahead[n:]
	return n, nil
}

// exchange reads one request and sees it answered. It tells whether the connection may carry another one.
func (c *conn) exchange() bool {
	s := c.e.o.Snapshot.Load()
	k := c.e.borrow(c, s)
	defer k.rest()
	reply, ok := k.readHead(s)
	switch {
	case !ok && reply.Status == 0:
		return false
	case !ok:
		c.linger = true
		k.answer(reply)
		return false
	}
	c.served = true
	goes := k.carry(s)
	c.w.shrink()
	return goes
}

// drown ends the connection softly: the answer is out, what the client still sends is thrown away for a while.
func (c *conn) drown() {
	c.w.closeWrite()
	c.w.discard(c.e.o.Now().Add(lingerFor))
}

// refuse answers a connection that is one too many.
func (c *conn) refuse(secure bool) {
	defer c.f.shed.Add(-1)
	if c.f.shed.Add(1) > maxShed || secure {
		return // a handshake would cost more than a connection that we could take
	}
	s := c.e.o.Snapshot.Load()
	k := c.e.borrow(c, s)
	defer k.rest()
	if k.set.Protocol == roost.ServesTCP {
		k.shut(k.s.Shed(s, &c.peer, k.start.UnixNano()))
		return
	}
	k.answer(k.x.Shed(s, &c.peer, k.start.UnixNano()))
	c.drown() // not left to end: it counts until then
}

// cut ends the connection from outside, and the attempt that its goroutine may be waiting for.
func (c *conn) cut() {
	c.closing.Store(true)
	c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.node != nil {
		c.node.cut()
	}
}

// hold makes n the connection that cut ends with ours.
func (c *conn) hold(n *nodeConn) {
	c.mu.Lock()
	c.node = n
	c.mu.Unlock()
	if n != nil && c.closing.Load() {
		n.cut() // cut came before it saw n
	}
}
