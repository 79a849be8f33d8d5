package main

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// loadConn is one of the load generator's connections.
type loadConn struct {
	fd     int
	gen    int32
	up     bool // established
	req    []byte
	toSend []byte // of the request
	busy   bool
	since  time.Duration // when the request was due, from the start
	head   []byte        // the start of a response head
	need   int64         // of the response body, what is to come; -1: the head is to come
	off    int64
	close  bool // this is the connection's last response
}

// dial starts a connection.
func (l *loader) dial(i int) error {
	c := &l.conns[i]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	c.fd, c.gen, c.need, c.head = fd, c.gen+1, -1, c.head[:0]
	if err := noDelay(fd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + i%sources)}}); err != nil {
		return fmt.Errorf("bind to a source address: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: loopback, Port: l.load.Port}); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %w", err)
	}
	return l.poll.add(fd, i, c.gen)
}

// send begins a connection's next request.
func (l *loader) send(i int, due time.Duration) {
	c := &l.conns[i]
	if c.fd < 0 {
		if err := l.dial(i); err != nil {
			l.err = err // of this machine's making: no figure would mean anything
			return
		}
	}
	c.busy, c.since, c.toSend, c.need, c.off, c.close = true, due, c.req, -1, 0, false
	l.push(c)
}

// push sends what the socket takes; reading finds out what went wrong.
func (l *loader) push(c *loadConn) {
	for len(c.toSend) > 0 {
		n, e := write(c.fd, c.toSend)
		if e != 0 {
			return
		}
		c.toSend = c.toSend[n:]
	}
}

// ready sends and reads what a connection allows now.
func (l *loader) ready(i int) {
	c := &l.conns[i]
	l.push(c)
	for {
		n, e := read(c.fd, l.buf[:])
		if e == unix.EAGAIN {
			return
		}
		if e != 0 || n == 0 {
			l.broken(i)
			return
		}
		done, ok := l.take(c, l.buf[:n])
		if !ok {
			l.broken(i)
			return
		}
		if done {
			l.finish(i)
			return // the next answer's edge is yet to come
		}
		if n < len(l.buf) {
			return
		}
	}
}

// take reads a part of a response. Not ok: it is not what was asked for, and the connection is of no more use.
func (l *loader) take(c *loadConn, b []byte) (done, ok bool) {
	if !c.busy {
		l.wrong++ // bytes that nobody asked for
		return false, false
	}
	if c.need < 0 {
		if len(c.head) > 0 {
			c.head = append(c.head, b...)
			b = c.head
		}
		end := bytes.Index(b, headEnd)
		if end < 0 {
			if len(c.head) == 0 {
				c.head = append(c.head, b...)
			}
			return false, len(c.head) <= maxHead
		}
		c.head = c.head[:0]
		h, err := parseHead(b[:end+len(headEnd)])
		if err != nil || h.chunked || !bytes.HasPrefix(b, ok200) {
			return false, false
		}
		if h.length != int64(len(l.body)) {
			l.wrong++
			return false, false
		}
		c.need, c.close, b = h.length, h.close || l.load.Case.PerRequest, b[end+len(headEnd):]
	}
	n := int64(len(b))
	// The ends of each piece tell a loss or a shift; the whole was compared before the runs.
	if n > c.need || n > 0 && (b[0] != l.body[c.off] || b[n-1] != l.body[c.off+n-1]) {
		l.wrong++
		return false, false
	}
	c.need, c.off = c.need-n, c.off+n
	return c.need == 0, true
}

var ok200 = []byte("HTTP/1.1 200 ")

// finish counts a request and goes on to the next.
func (l *loader) finish(i int) {
	c := &l.conns[i]
	now := time.Since(l.start)
	l.done++
	if c.since >= l.from {
		l.hist.Add(int64(now - c.since))
	}
	if c.close {
		l.hangUp(c)
	}
	l.free(i, now)
}

// free gives a connection its next request, or puts it in line for one.
func (l *loader) free(i int, now time.Duration) {
	l.conns[i].busy = false
	if l.load.Case.Rate > 0 {
		l.idle = append(l.idle, i)
		return
	}
	l.send(i, now)
}

// broken ends a connection that is of no more use; the request on it, if any, failed.
func (l *loader) broken(i int) {
	c := &l.conns[i]
	l.hangUp(c)
	if c.busy {
		l.errors++
		l.free(i, time.Since(l.start))
	}
}

func (l *loader) hangUp(c *loadConn) {
	unix.Close(c.fd) // nothing to do about a failure
	c.fd = -1
}
