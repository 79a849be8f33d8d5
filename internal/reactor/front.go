//go:build linux

package reactor

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"roost"
)

// front is one listener being served, on all loops.
type front struct {
	e   *Engine
	ln  net.Listener
	id  roost.ListenerID
	tls func() *tls.Config

	protocol   roost.ListenProtocol // when it was opened
	introduced bool                 // likewise, by a PROXY header

	conns *atomic.Int64 // of the listener id, those of a front that left before included
	grace atomic.Int64  // not 0: it leaves, and idle connections may bring a request for so many nanoseconds

	users atomic.Int64 // its connections, and Serve while sockets are open
	socks atomic.Int64 // open sockets
	left  chan struct{}
	empty chan struct{}
}

// sock is a listening socket on a loop.
type sock struct {
	f     *front
	fd    int32
	until int64 // not 0: it leaves, and accepts what is queued until then, by mono
	rest  int64 // not 0: it pauses until then, because something lacks
	at    int   // its place among the loop's
	wait  time.Duration
}

const (
	// acceptGrace is how long a listener that leaves still accepts: what the kernel has queued has been accepted for us
	// already, and closing the listener would reset it.
	acceptGrace = 20 * time.Millisecond
	// acceptMost is how much longer it does when more and more comes.
	acceptMost = time.Second
	// idleGrace is how long an idle connection may still bring a request while it leaves: a request that crosses our close on
	// its way would fail.
	idleGrace = 500 * time.Millisecond
	// handOverGrace is the same in a hand-over, which has time.
	handOverGrace = 2 * time.Second
	// acceptBatch bounds how many connections one event accepts; the level-triggered listener comes back at once.
	acceptBatch = 64
	// pauseLeast and pauseMost bound how long accepting pauses for lack of descriptors or memory.
	pauseLeast, pauseMost = 5 * time.Millisecond, time.Second
)

// open gives each socket of the listener to a loop.
func (f *front) open() error {
	all := []net.Listener{f.ln}
	if several, ok := f.ln.(interface{ Sockets() []net.Listener }); ok {
		all = several.Sockets()
	}
	f.socks.Store(int64(len(all)))
	for i, ln := range all {
		fd, err := descriptor(ln)
		if err == nil {
			// What is accepted inherits these, which saves a call for each connection. A unix socket has none of them.
			option(uintptr(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			option(uintptr(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			option(uintptr(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle)
			option(uintptr(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepIdle)
		} else {
			for range len(all) - i {
				f.shut()
			}
			return fmt.Errorf("serve %s: %w", ln.Addr(), err)
		}
		l := f.e.loops[i%len(f.e.loops)]
		if !l.post(func(l *loop) { l.listen(f, fd) }) {
			unix.Close(int(fd))
			f.shut()
		}
	}
	return nil
}

// descriptor is one of our own for a listener's socket, which stays open when the listener is closed.
func descriptor(ln net.Listener) (int32, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%T: %w", ln, errNotSocket)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var derr error
	if err := raw.Control(func(s uintptr) { fd, derr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	return int32(fd), derr
}

// shut counts out a socket.
func (f *front) shut() {
	if f.socks.Add(-1) == 0 {
		f.ln.Close()
		close(f.left)
	}
}

// gone counts out a connection, one beyond the limit if it did not count.
func (f *front) gone(counted bool) {
	if counted {
		f.conns.Add(-1)
	}
	f.leave()
}

// leave counts out a connection, or Serve.
func (f *front) leave() {
	if f.users.Add(-1) == 0 {
		close(f.empty)
	}
}

// leaving tells whether the front accepts no more, and its connections finish what they have.
func (f *front) leaving() bool { return f.grace.Load() != 0 }

// dismiss makes the front leave, and its idle connections within grace. atOnce: what is queued is not accepted.
func (f *front) dismiss(grace time.Duration, atOnce bool) {
	if !f.grace.CompareAndSwap(0, max(int64(grace), 1)) {
		return
	}
	for _, l := range f.e.loops {
		l.post(func(l *loop) { l.dismiss(f, atOnce) })
	}
}

// cut ends the front's connections at once, and tells how many there were.
func (f *front) cut() int {
	var wg sync.WaitGroup
	var n atomic.Int64
	for _, l := range f.e.loops {
		wg.Add(1)
		if !l.post(func(l *loop) {
			defer wg.Done()
			l.slab.all(func(c *conn) {
				if c.front == f {
					l.cut(c)
					n.Add(1)
				}
			})
		}) {
			wg.Done()
		}
	}
	wg.Wait()
	return int(n.Load())
}

// settings are the listener's in s. One that is not in it serves nobody any more: what its connections still bring is read
// and refused within these limits.
func (f *front) settings(s *roost.Snapshot) *roost.ListenerSettings {
	if v := s.Listener(f.id); v.Name != "" {
		return &v.Settings
	}
	return &roost.ListenerSettings{Protocol: f.protocol, ProxyProtocol: f.introduced, HeadTimeout: lingerFor, IdleTimeout: idleGrace, BodyTimeout: lingerFor, SendTimeout: lingerFor}
}

// listen accepts from fd.
func (l *loop) listen(f *front, fd int32) {
	s := &sock{f: f, fd: fd, at: len(l.socks)}
	for i, old := range l.socks {
		if old == nil {
			s.at = i
		}
	}
	if s.at == len(l.socks) {
		l.socks = append(l.socks, nil)
	}
	l.socks[s.at] = s
	if e := l.k.listen(fd, token{index: int32(tokenListen - s.at)}); e != 0 {
		l.e.o.Log.Error("cannot watch a listener", "listener", f.ln.Addr().String(), "error", e)
		l.shut(s)
		return
	}
	if f.leaving() { // it was dismissed before this loop knew of the socket
		s.until = l.mono + int64(acceptGrace)
		l.due(s.until)
	}
}

func (l *loop) shut(s *sock) {
	if s.rest == 0 {
		l.k.unwatch(s.fd) // another listener, or process, may hold the same socket: closing ours would leave it watched
	}
	l.k.close(s.fd)
	l.socks[s.at] = nil
	s.f.shut()
}

// dismiss stops accepting from the front, and gives its idle connections the front's grace.
func (l *loop) dismiss(f *front, atOnce bool) {
	for _, s := range l.socks {
		switch {
		case s == nil || s.f != f:
		case atOnce:
			l.shut(s)
		default:
			s.until = l.mono + int64(acceptGrace)
			l.due(s.until)
		}
	}
	l.slab.all(func(c *conn) {
		if c.front == f && (c.state == awaiting || c.state == peeking && c.pend == nil) {
			l.arm(c, time.Duration(f.grace.Load()))
		}
	})
}

// accept takes what is queued at a listening socket, and tells whether there may be more.
func (l *loop) accept(i int) bool {
	if i >= len(l.socks) || l.socks[i] == nil {
		return false
	}
	s := l.socks[i]
	for range acceptBatch {
		fd, from, e := l.k.accept(s.fd)
		switch e {
		case 0:
			s.wait = 0
			l.stats.accepted.Add(1)
			l.admit(s.f, fd, from)
		case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM:
		case syscall.EAGAIN:
			return false
		default:
			// What lacks may come back; the kernel would tell of the waiting connections again and again.
			if s.wait == 0 {
				l.e.o.Log.Warn("cannot accept connections for the moment", "listener", s.f.ln.Addr().String(), "error", e)
			}
			s.wait = min(max(2*s.wait, pauseLeast), pauseMost)
			if s.rest == 0 { // else it leaves, and was looked at once more
				l.k.unwatch(s.fd)
			}
			s.rest = l.mono + int64(s.wait)
			l.due(s.rest)
			return false
		}
	}
	return true
}

// mind does what listening sockets wait for.
func (l *loop) mind() {
	for i, s := range l.socks {
		switch {
		case s == nil:
		case s.until != 0 && l.mono >= s.until:
			if l.accept(i) && l.mono < s.until+int64(acceptMost) {
				l.due(l.mono)
			} else {
				l.shut(s)
			}
		case s.until != 0:
			l.due(s.until)
		case s.rest != 0 && l.mono >= s.rest:
			s.rest = 0
			if e := l.k.listen(s.fd, token{index: int32(tokenListen - i)}); e != 0 {
				s.rest = l.mono + int64(pauseMost)
				l.due(s.rest)
			}
		case s.rest != 0:
			l.due(s.rest)
		}
	}
}

// admit counts a connection in, and gives it to the loop that is to have it.
func (l *loop) admit(f *front, fd int32, from netip.AddrPort) {
	limit := int64(f.settings(l.e.o.Snapshot.Load()).MaxConns)
	f.users.Add(1)
	if n := f.conns.Add(1); limit > 0 && n > limit {
		f.conns.Add(-1)
		l.adopt(f, fd, from, true)
		return
	}
	to := l.fewest()
	if to == l {
		l.adopt(f, fd, from, false)
		return
	}
	l.stats.given.Add(1)
	if !to.post(func(l *loop) { l.adopt(f, fd, from, false) }) {
		l.k.close(fd)
		f.gone(true)
	}
}

// skew is by how many connections a loop may have more than another, beside an eighth of them: below it, giving one away
// costs more than it evens out.
const skew = 4

// fewest is the loop that should have the next connection: this one, unless it has many more than another.
func (l *loop) fewest() *loop {
	least := l
	for _, o := range l.e.loops {
		if o.clients.Load() < least.clients.Load() {
			least = o
		}
	}
	if mine := l.clients.Load(); mine-least.clients.Load() > skew+mine/8 {
		return least
	}
	return l
}

// adopt makes a socket one of the loop's connections.
func (l *loop) adopt(f *front, fd int32, from netip.AddrPort, shed bool) {
	c := l.slab.take()
	defer l.survive(c)
	c.fd, c.front, c.from, c.port, c.counts = fd, f, addressOf(from.Addr()), from.Port(), !shed
	l.clients.Add(1)
	if e := l.k.watch(fd, c.token()); e != 0 {
		l.e.o.Log.Warn("cannot watch a connection", "error", e)
		l.close(c)
		return
	}
	if shed {
		l.refuse(c)
		return
	}
	l.begin(c)
}
