package main

import (
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
	answer answer
}

// dial starts a connection.
func (l *loader) dial(i int) error {
	c := &l.conns[i]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	c.fd, c.gen = fd, c.gen+1
	if err := noDelay(fd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source(i)}); err != nil {
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
	c.busy, c.since, c.toSend = true, due, c.req
	c.answer.begin()
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
	err := errWrong // bytes that nobody asked for
	if c.busy {
		done, err = c.answer.take(b, l.body)
	}
	if err == errWrong {
		l.wrong++
	}
	return done, err == nil
}

// finish counts a request and goes on to the next.
func (l *loader) finish(i int) {
	c := &l.conns[i]
	now := time.Since(l.start)
	l.done++
	if c.since >= l.from {
		l.hist.Add(int64(now - c.since))
	}
	if c.answer.close || l.load.Case.PerRequest {
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
