package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// upstream is four HTTP servers in one epoll loop, cheap enough to never be what is measured.
type upstream struct {
	poll      *poller
	listeners [nodes]int
	conns     []upConn // by file descriptor
	answers   [nodes]map[string][]byte
	body      []byte // what a posted body must be
	buf       [256 << 10]byte
}

// upConn is one connection from a proxy.
type upConn struct {
	fd     int
	gen    int32 // counts the connections that had this fd
	node   int
	in     []byte // the start of a head, or what came behind a request whose answer is not out yet
	out    []byte // of the answer, what is to be sent
	answer []byte // to be sent when the body is in
	need   int64  // of the request's body, what is to come
	off    int64  // in the request's body
	seq    int    // requests so far
	close  bool
	echo   bool // a tunnel: what comes in goes out
	broken bool // the posted body is wrong
}

// runUpstream serves until it is killed. It prints the ports it listens on, as JSON.
func runUpstream(out io.Writer) error {
	p, err := newPoller()
	if err != nil {
		return err
	}
	u := &upstream{poll: p, body: body(maxBody)}
	var ports [nodes]int
	for i := range nodes {
		if ports[i], err = u.listen(i); err != nil {
			return err
		}
		u.answers[i] = map[string][]byte{}
		for _, path := range []string{pathSmall, path32K, path64K, path1M} {
			u.answers[i][path] = response(i, u.body[:bodySize(path)])
		}
	}
	if err := json.NewEncoder(out).Encode(ports); err != nil {
		return fmt.Errorf("say the ports: %w", err)
	}
	for {
		events, err := p.wait(-1)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev.Fd < 0 {
				err = u.accept(int(-ev.Fd) - 1)
			} else if c := &u.conns[ev.Fd]; c.fd >= 0 && c.gen == ev.Pad {
				u.serve(c)
			}
			if err != nil {
				return err
			}
		}
	}
}

// listen opens server i on a free port of loopback. It is registered under an id below zero.
func (u *upstream) listen(i int) (port int, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a listener: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}); err != nil {
		return 0, fmt.Errorf("bind a listener: %w", err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return 0, fmt.Errorf("listen: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("look up a listener's port: %w", err)
	}
	u.listeners[i] = fd
	return sa.(*unix.SockaddrInet4).Port, u.poll.add(fd, -i-1, 0)
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1}).As4()

func (u *upstream) accept(node int) error {
	for {
		fd, _, err := unix.Accept4(u.listeners[node], unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			return nil
		}
		if err == unix.ECONNABORTED || err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if err := noDelay(fd); err != nil {
			return err
		}
		for len(u.conns) <= fd {
			u.conns = append(u.conns, upConn{fd: -1})
		}
		c := &u.conns[fd]
		*c = upConn{fd: fd, gen: c.gen + 1, node: node, in: c.in[:0]}
		if err := u.poll.add(fd, fd, c.gen); err != nil {
			return err
		}
	}
}

func (u *upstream) drop(c *upConn) {
	unix.Close(c.fd) // nothing to do about a failure
	c.fd = -1
}

// serve does all that a connection allows now.
func (u *upstream) serve(c *upConn) {
	for {
		if len(c.out) > 0 {
			if !u.flush(c) {
				return
			}
		}
		// What is left over from before comes first.
		left := copy(u.buf[:], c.in)
		c.in = c.in[:0]
		n, e := read(c.fd, u.buf[left:])
		if e != 0 && e != unix.EAGAIN || e == 0 && n == 0 {
			u.drop(c)
			return
		}
		rest, ok := u.parse(c, u.buf[:left+n])
		if !ok {
			u.drop(c)
			return
		}
		c.in = append(c.in, rest...)
		if len(c.out) == 0 && (e == unix.EAGAIN || n < len(u.buf)-left) {
			return // drained: an edge will tell of more
		}
	}
}

// flush sends what is to be sent; false: not all of it went, or the connection ended.
func (u *upstream) flush(c *upConn) bool {
	for len(c.out) > 0 {
		n, e := write(c.fd, c.out)
		if e == unix.EAGAIN {
			return false
		}
		if e != 0 {
			u.drop(c)
			return false
		}
		c.out = c.out[n:]
	}
	if c.close {
		u.drop(c)
		return false
	}
	return true
}

// parse takes whole requests from b until an answer does not go out at once, and returns what it did not take. It is
// not ok when the connection is to be dropped.
func (u *upstream) parse(c *upConn, b []byte) (rest []byte, ok bool) {
	for len(b) > 0 {
		if c.echo {
			c.out = bytes.Clone(b) // the buffer is everybody's
			u.flush(c)
			return nil, c.fd >= 0
		}
		if c.need > 0 {
			n := min(int64(len(b)), c.need)
			if !bytes.Equal(b[:n], u.body[c.off:c.off+n]) {
				c.broken = true
			}
			c.need, c.off, b = c.need-n, c.off+n, b[n:]
			if c.need > 0 {
				return nil, true
			}
		} else {
			end := bytes.Index(b, headEnd)
			if end < 0 {
				return b, len(b) <= maxHead
			}
			text := b[:end+len(headEnd)]
			b = b[len(text):]
			h, err := parseHead(text)
			if err != nil || h.chunked || h.length > maxBody {
				return nil, false
			}
			c.seq++
			c.close, c.need, c.off, c.broken = h.close, h.length, 0, false
			c.answer = u.answer(c, text)
			if c.need > 0 {
				continue
			}
		}
		c.out = c.answer
		if c.broken {
			c.out, c.close = []byte("HTTP/1.1 400 wrong body\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), true
		}
		if !u.flush(c) {
			return b, c.fd >= 0
		}
	}
	return nil, true
}

func (u *upstream) answer(c *upConn, text []byte) []byte {
	_, target, _ := bytes.Cut(text, []byte(" "))
	target, _, _ = bytes.Cut(target, []byte(" "))
	if string(target) == pathEcho {
		c.echo = true
		return []byte(switching)
	}
	if string(target) == pathHead {
		return response(c.node, fmt.Appendf(nil, "%d\r\n%s", c.seq, text))
	}
	if b := u.answers[c.node][string(target)]; b != nil {
		return b
	}
	return []byte("HTTP/1.1 404 no such path\r\nContent-Length: 0\r\n\r\n")
}
