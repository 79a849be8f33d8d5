package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Load is one run of the load generator.
type Load struct {
	Case    Case
	Port    int // of the proxy, on loopback
	Seconds float64
	Warm    float64
	PIDs    []int // of the proxy: their CPU is read at both ends of the measured window
}

const (
	// dialTimeout bounds the opening of all connections, before the clock runs.
	dialTimeout = 5 * time.Second
	// grace is how long an open loop waits, after its window, for answers that are due: those that take longer count as
	// errors.
	grace = time.Second
	// maxErrors ends a run that only produces errors.
	maxErrors = 100_000
	// sources spreads connections over 127.0.0.2 and following: each has its own ports, so that a connection per request
	// does not run out of them while closed ones linger in TIME_WAIT.
	sources = 64
)

// loader is a load generator: all its connections in one epoll loop.
//
// Closed loop: each connection sends its next request when the last is answered. Open loop: request i is due at i/rate
// whatever happened to those before; it goes out when it is due and a connection is idle, and its latency counts from
// when it was due, so that a stall is charged to every request it held up (no coordinated omission).
type loader struct {
	load   Load
	poll   *poller
	conns  []loadConn
	idle   []int // connections without a request, used in turn, open loop only
	start  time.Time
	from   time.Duration // when the measured window begins; no latency counts of requests that were due before
	next   int64         // open loop: the number of the request that is due next
	done   int64
	hist   Hist
	errors int64
	wrong  int64
	err    error // ends the run
	open   int   // connections established
	body   []byte
	buf    [256 << 10]byte
}

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

// runLoad puts a proxy under load and prints a Sample.
func runLoad(load Load, out io.Writer) error {
	// Sleeping to the due time must not be rounded up by the usual 50 us.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	p, err := newPoller()
	if err != nil {
		return err
	}
	l := &loader{load: load, poll: p, conns: make([]loadConn, load.Case.Conns), body: body(bodySize(load.Case.Path))}
	s, err := l.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(s)
}

func (l *loader) run() (Sample, error) {
	var s Sample
	c := &l.load.Case
	for i := range l.conns {
		l.conns[i] = loadConn{fd: -1, req: request(*c, fmt.Sprintf("user-%d", i*7919))}
		if c.PerRequest {
			continue
		}
		if err := l.dial(i); err != nil {
			return s, err
		}
	}
	if !c.PerRequest {
		if err := l.established(); err != nil {
			return s, err
		}
	}
	l.from = seconds(l.load.Warm)
	end := l.from + seconds(l.load.Seconds)
	l.start = time.Now()
	for i := range l.conns {
		l.free(i, 0)
	}
	if err := l.until(l.from, end); err != nil {
		return s, err
	}
	t0, n0, e0 := time.Since(l.start), l.done, l.errors
	u0, err := usage(l.load.PIDs)
	if err != nil {
		return s, err
	}
	if err := l.until(end, end); err != nil {
		return s, err
	}
	t1, n1 := time.Since(l.start), l.done
	u1, err := usage(l.load.PIDs)
	if err != nil {
		return s, err
	}
	if c.Rate > 0 {
		if err := l.drain(end); err != nil {
			return s, err
		}
	}
	s = Sample{Requests: n1 - n0, Seconds: (t1 - t0).Seconds(), Errors: l.errors - e0, Wrong: l.wrong, RSS: u1.RSS}
	s.count(&l.hist, u0, u1)
	return s, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// established waits until every connection stands.
func (l *loader) established() error {
	limit := time.Now().Add(dialTimeout)
	for l.open < len(l.conns) {
		events, err := l.poll.wait(time.Until(limit))
		if err != nil {
			return err
		}
		for _, ev := range events {
			c := &l.conns[ev.Fd]
			if ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				return errors.New("the proxy refuses connections")
			}
			if ev.Events&unix.EPOLLOUT != 0 && !c.up {
				c.up = true
				l.open++
			}
		}
		if len(events) == 0 && time.Now().After(limit) {
			return fmt.Errorf("%d of %d connections stand after %v", l.open, len(l.conns), dialTimeout)
		}
	}
	return nil
}

// until runs to a time from the start; end is the window's.
func (l *loader) until(t, end time.Duration) error {
	for {
		now := time.Since(l.start)
		if now >= t {
			return nil
		}
		wait := t - now
		if l.load.Case.Rate > 0 {
			wait = min(wait, l.fire(now, end))
		}
		if err := l.turn(wait); err != nil {
			return err
		}
	}
}

// drain waits for the answers to all requests of an open loop that were due before the end of the window.
func (l *loader) drain(end time.Duration) error {
	for {
		now := time.Since(l.start)
		l.fire(now, end)
		busy := int64(len(l.conns) - len(l.idle))
		late := max(int64(end.Seconds()*l.load.Case.Rate)-l.next, 0)
		if busy == 0 && late == 0 {
			return nil
		}
		if now >= end+grace {
			l.errors += busy + late
			return nil
		}
		if err := l.turn(end + grace - now); err != nil {
			return err
		}
	}
}

// fire sends every request that is due, as far as connections are idle, and returns how long until the next is due.
func (l *loader) fire(now, end time.Duration) time.Duration {
	for {
		due := seconds(float64(l.next) / l.load.Case.Rate)
		if due >= end {
			return end
		}
		if due > now {
			return due - now
		}
		if len(l.idle) == 0 {
			return end // an answer will wake us
		}
		i := l.idle[0]
		l.idle = append(l.idle[:0], l.idle[1:]...)
		l.next++
		l.send(i, due)
	}
}

// turn waits once and handles what is ready.
func (l *loader) turn(wait time.Duration) error {
	events, err := l.poll.wait(max(wait, 0))
	if err != nil {
		return err
	}
	for _, ev := range events {
		if c := &l.conns[ev.Fd]; c.fd >= 0 && c.gen == ev.Pad {
			l.ready(int(ev.Fd))
		}
	}
	if l.errors > maxErrors {
		return fmt.Errorf("more than %d errors", maxErrors)
	}
	return l.err
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
