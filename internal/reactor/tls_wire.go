//go:build linux

package reactor

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// wire is the connection below a session's crypto/tls. It has three lives: during the handshake it is a goroutine's, and the
// loop feeds it; then it is the loop's, and never waits; once passed on it is another connection.
type wire struct {
	loop    *loop
	c       *conn
	shaking *handshake // until it is done
	nc      net.Conn   // after it was passed on
	in      []byte     // received, and to be read first
	head    [recordHead]byte
	have    int8 // of the head of the record that is being read, until all of it has come
	left    int  // and of the record, from then on
	want    int  // how many bytes of plaintext are asked for
	drained bool // the socket has nothing more until an event tells
}

// wouldBlock is the error of a read that finds nothing. To crypto/tls it is no end of the connection, because it is
// Temporary.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read for now" }
func (wouldBlock) Timeout() bool   { return false }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock error = wouldBlock{}

// Read gives no more than what is left of a record: crypto/tls reads as much as its buffer takes, and doubles that, for ever,
// when it holds the beginning of the next record too.
func (w *wire) Read(b []byte) (int, error) {
	for len(w.in) == 0 {
		var err error
		switch {
		case w.nc != nil:
			return w.nc.Read(b)
		case w.shaking != nil:
			err = w.shaking.wait()
		default:
			err = w.fetch()
		}
		if err != nil {
			return 0, err
		}
	}
	if w.left == 0 { // its head begins, or goes on
		w.left = copy(w.head[w.have:], w.in)
		if w.have += int8(w.left); w.have == recordHead {
			w.left += int(w.head[3])<<8 + int(w.head[4])
			w.have = 0
		}
	}
	n := copy(b, w.in[:min(w.left, len(w.in))])
	w.left -= n
	if w.in = w.in[n:]; len(w.in) == 0 {
		w.in = nil
	}
	return n, nil
}

// fetch reads from the socket, on the loop, into its scratch buffer. All of that is used before the loop's read is over:
// what begins at a record's beginning is no more than the plaintext that was asked for, and else it ends with the record.
func (w *wire) fetch() error {
	l := w.loop
	in := l.cipher[:min(len(l.cipher), max(w.want, recordHead))]
	if w.left > 0 {
		in = l.cipher[:min(len(l.cipher), w.left)]
	}
	for !w.drained {
		n, e := l.k.recv(w.c.fd, in)
		switch {
		case e == syscall.EINTR:
			continue
		case e == syscall.EAGAIN:
			w.drained = true
			return errWouldBlock
		case e != 0:
			return e
		case n == 0:
			return io.EOF
		}
		w.drained = n < len(in) && !w.c.hup
		w.in = in[:n]
		return nil
	}
	return errWouldBlock
}

// sealMost is how many bytes of records are gathered before they are sent: two full ones, which are still in the processor's
// caches. Of 1 MiB answers, gathering all that was read cost a fifth more.
const sealMost = 2 * maxRecord

// empty tells whether crypto/tls has been given all that came, and no record in part: after a read that left room it has
// nothing more.
func (w *wire) empty() bool { return w.drained && len(w.in) == 0 && w.left == 0 && w.have == 0 }

// Write takes all. What it does not send is for whoever called crypto/tls to send, when it has returned (seal).
func (w *wire) Write(b []byte) (int, error) {
	switch {
	case w.nc != nil:
		return w.nc.Write(b)
	case w.shaking != nil:
		w.shaking.out = append(w.shaking.out, b...)
	default:
		w.loop.sealed = append(w.loop.sealed, b...)
		if len(w.loop.sealed) < sealMost {
			break
		}
		if e := w.loop.seal(w.c); e != 0 {
			return 0, e
		}
	}
	return len(b), nil
}

// Close is the loop's to do, until it was passed on.
func (w *wire) Close() error {
	if w.nc != nil {
		return w.nc.Close()
	}
	return nil
}

func (w *wire) LocalAddr() net.Addr {
	if w.nc != nil {
		return w.nc.LocalAddr()
	}
	return &net.TCPAddr{}
}

// RemoteAddr is where the client is; callbacks of a tls.Config may ask.
func (w *wire) RemoteAddr() net.Addr {
	switch {
	case w.nc != nil:
		return w.nc.RemoteAddr()
	case w.shaking != nil:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.shaking.from, 0))
	}
	return &net.TCPAddr{}
}

func (w *wire) SetDeadline(t time.Time) error {
	if w.nc != nil {
		return w.nc.SetDeadline(t)
	}
	return nil
}

func (w *wire) SetReadDeadline(t time.Time) error {
	if w.nc != nil {
		return w.nc.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline is also called by crypto/tls, around a close_notify.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.nc != nil {
		return w.nc.SetWriteDeadline(t)
	}
	return nil
}

// SyscallConn is the socket, once passed on.
func (w *wire) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := w.nc.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// SetLinger is the socket's, once passed on: who breaks an answer off has it end in a reset.
func (w *wire) SetLinger(sec int) error {
	if t, ok := w.nc.(interface{ SetLinger(int) error }); ok {
		return t.SetLinger(sec)
	}
	return errors.ErrUnsupported
}
