//go:build linux

package reactor

import (
	"net"
	"os"
	"slices"

	"roost/internal/carry"
)

// foreign tells whether an exchange is for the other engine: it knows what its node speaks.
func (l *loop) foreign(x *carry.Exchange) bool { return x.HTTP2() || x.Pool.Settings.TLS != nil }

// passWork gives a client's connection to the other engine, at the request that was just read.
func (l *loop) passWork(k *work) {
	c := k.c
	ahead := slices.Concat(k.head, l.ahead(c))
	l.rest(k)
	l.pass(c, ahead)
}

// pass gives a client's connection to the other engine, which reads ahead first. Nothing of an answer may be left to send.
func (l *loop) pass(c *conn, ahead []byte) {
	p := Passed{Listener: c.front.id, Peer: c.peer(), Ahead: slices.Clone(ahead), Served: c.served}
	l.k.unwatch(c.fd) // a duplicate shares the registration
	f := os.NewFile(uintptr(c.fd), "")
	nc, err := net.FileConn(f)
	f.Close()
	c.fd = -1
	front, counted := c.front, c.counts
	if err != nil {
		l.e.o.Log.Warn("cannot pass a connection on", "error", err)
		l.close(c)
		return
	}
	c.front = nil // not gone yet
	l.clients.Add(-1)
	p.Conn, p.Done = nc, func() { front.gone(counted) }
	if c.tls != nil {
		p.Conn = c.tls.passOn(nc)
		c.tls = nil
	}
	l.release(c)
	l.stats.passed.Add(1)
	l.e.o.Pass(p)
}
