//go:build linux

package reactor

import (
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"roost/internal/carry"
)

// foreign tells whether an exchange is for the other engine: it knows what its node speaks.
func (l *loop) foreign(x *carry.Exchange) bool { return x.HTTP2() || x.Pool.Settings.TLS != nil }

// passWork gives a client's connection to the other engine, at the request that was just read.
func (l *loop) passWork(k *work) {
	c := k.c
	if !l.pass(c, slices.Concat(k.head, l.ahead(c)), k) {
		k.s = nil
		k.upload.begin()
		l.fail(k, k.x.Unable())
	}
}

// pass gives a client's connection to the other engine, which reads ahead first, and k back, if there is one. Nothing of an
// answer may be left to send. Without a descriptor for it all is as it was, and it tells so.
func (l *loop) pass(c *conn, ahead []byte, k *work) bool {
	nc, err := duplicate(c.fd)
	if err != nil {
		l.e.o.Log.Warn("cannot pass a connection on", "error", err)
		return false
	}
	if k != nil {
		l.rest(k)
	}
	p := Passed{Listener: c.front.id, Conn: nc, Peer: c.peer(), Ahead: slices.Clone(ahead), Served: c.served}
	l.k.unwatch(c.fd) // a duplicate shares the registration
	l.k.close(c.fd)
	c.fd = -1
	front, counted := c.front, c.counts
	c.front = nil // not gone yet
	l.clients.Add(-1)
	p.Done = func() { front.gone(counted) }
	if c.tls != nil {
		p.Conn = c.tls.passOn(nc)
		c.tls = nil
	}
	l.release(c)
	l.stats.passed.Add(1)
	l.e.o.Pass(p)
	return true
}

// duplicate is a socket once more, as the scheduler of goroutines knows it.
func duplicate(fd int32) (net.Conn, error) {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(d), "")
	defer f.Close() // the connection has one of its own
	return net.FileConn(f)
}
