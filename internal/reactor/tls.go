//go:build linux

package reactor

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"

	"roost"
	"roost/internal/carry"
)

// session is the TLS of a client's connection: crypto/tls, with the loop's socket below it (wire). A goroutine shakes hands
// (handshake); from then on the loop alone drives it, without ever waiting: crypto/tls keeps a record that has come in part,
// and takes a Temporary error for what it is.
//
// Trap: what crypto/tls has read and not given out is in no socket any more. canRead of such a connection speaks of
// plaintext, and is false only after a read that found none; whether the socket is drained the wire knows.
type session struct {
	conn *tls.Conn
	wire wire
	sni  string // the host that the client asked for
	alpn string // the protocol agreed on
	cert *roost.CertNames
}

const (
	// maxRecord is the most plaintext that a record takes (RFC 8446, 5.1).
	maxRecord = 16 << 10
	// maxUntaken bounds what a read writes for a client that takes nothing: a KeyUpdate is answered with one as long. It is more
	// than one turn has of an answer, because who sends a body need not take one yet.
	maxUntaken = 256 << 10
	// recordHead is a record's type, version and length.
	recordHead = 5
)

// recv reads plaintext into b, as loop.recv does; before the handshake is done, what crypto/tls is to be fed with.
func (s *session) recv(l *loop, c *conn, b []byte) (n int, e syscall.Errno) {
	if s.wire.shaking != nil {
		return l.get(c, b)
	}
	if c.out != nil && len(c.out.rest()) > maxUntaken {
		return 0, syscall.EAGAIN // canRead stays: ready comes back when some of it was taken
	}
	var err error
	for n < len(b) && err == nil {
		if n > 0 && s.wire.empty() { // crypto/tls would find that out as well, and allocate for it
			err = errWouldBlock
			break
		}
		var m int
		s.wire.want = len(b) - n
		m, err = s.conn.Read(b[n:])
		n += m
	}
	e = l.seal(c) // a read can write: an alert, or the answer to a KeyUpdate
	if err == errWouldBlock {
		c.canRead = false
		err = nil
		if n == 0 && e == 0 {
			e = syscall.EAGAIN
		}
	}
	code, ok := err.(syscall.Errno)
	switch {
	case n > 0:
		return n, 0 // an error stays, and the next read has it
	case err == io.EOF:
		return 0, 0
	case ok:
		return 0, code
	case err != nil:
		return 0, syscall.EPROTO
	}
	return 0, e
}

// send writes a and then b in as few records as they take. All is taken: an error of crypto/tls would stay, so what the
// socket does not take waits in c.out, and the caller sees to it that this has an end.
func (s *session) send(l *loop, c *conn, a, b []byte) syscall.Errno {
	if m := min(len(b), maxRecord-len(a)%maxRecord); len(a)%maxRecord != 0 && m > 0 {
		l.plain = append(append(l.plain[:0], a...), b[:m]...)
		a, b = l.plain, b[m:]
	}
	for _, part := range [...][]byte{a, b} {
		if len(part) == 0 {
			continue
		}
		if _, err := s.conn.Write(part); err != nil {
			l.sealed = l.sealed[:0]
			return syscall.EPIPE
		}
	}
	return l.seal(c)
}

// seal sends the records that crypto/tls has written since.
func (l *loop) seal(c *conn) syscall.Errno {
	if len(l.sealed) == 0 {
		return 0
	}
	b := l.sealed
	l.sealed = kept(b)
	return l.put(c, b, nil)
}

// shut says close_notify: without it the end of what we send could be anybody's doing (RFC 8446, 6.1).
func (s *session) shut(l *loop, c *conn) {
	if s.wire.shaking == nil {
		s.conn.CloseWrite()
		l.seal(c)
	}
}

// end ends what runs for the connection beside the loop.
func (s *session) end(l *loop, c *conn) {
	if h := s.wire.shaking; h != nil {
		h.abandon()
	}
}

// identify tells of the client what the handshake found out.
func (s *session) identify(p *carry.Peer) {
	p.TLS, p.SNI, p.ALPN, p.Cert = true, s.sni, s.alpn, s.cert
}

// passOn makes nc, which is the connection's socket, what lies below, and gives the whole away. Plaintext and records that
// were read already come first.
func (s *session) passOn(nc net.Conn) net.Conn {
	s.wire.loop, s.wire.c, s.wire.nc = nil, nil, nc
	return s.conn
}
