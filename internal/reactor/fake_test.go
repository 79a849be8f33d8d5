//go:build linux

package reactor

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
)

// fakeKernel is a kernel in memory, of which a seed decides everything that a real one leaves open: how much a socket takes,
// when bytes arrive and in which pieces, in which order and batches events come, which connections break. It is stricter
// than a real one: what it is asked about a descriptor that is closed, or not of that kind, fails the test. Descriptors are
// given out anew as soon as they are closed, lowest first, as in Linux.
type fakeKernel struct {
	t     testing.TB
	rnd   *rand.Rand
	now   time.Time
	fds   []*fakeFD               // by descriptor; nil: closed
	tame  bool                    // nothing is left to the seed
	lack  int                     // so many calls fail for want of something
	sound bool                    // connections to nodes come about
	step  func()                  // what the world beside the loop does while it waits
	dead  func(f *fakeFD)         // the loop closed it
	call  func(to string) *fakeFD // a node takes a connection; nil: refused
}

// fakeLoop is the part of a fakeKernel that one loop has for itself.
type fakeLoop struct {
	*fakeKernel
	bell bool
}

// fakeFD is an open descriptor.
type fakeFD struct {
	fd      int32
	tok     token
	watched *fakeLoop // by whom
	edge    bool      // something happened since the loop was told

	// A listener.
	listens bool
	queue   []*fakeFD

	// A connection, as the loop has it. The world fills in and empties out.
	in      []byte
	eof     bool          // behind in
	reset   syscall.Errno // not 0: broken; what is in in is lost
	out     []byte
	room    int // what it takes still
	full    bool
	shut    bool // by the loop
	aborted bool
	closed  bool
	pending bool // connecting
	fault   syscall.Errno

	// An end of a pipe.
	pipe  *fakePipe
	write bool

	actor any
}

type fakePipe struct {
	b    []byte
	size int
}

// odds is true one time in n, and never when the kernel is tame.
func (k *fakeKernel) odds(n int) bool { return !k.tame && k.rnd.IntN(n) == 0 }

func (k *fakeKernel) add(f *fakeFD) *fakeFD {
	for i := range k.fds {
		if k.fds[i] == nil && i > 2 {
			f.fd = int32(i)
			k.fds[i] = f
			return f
		}
	}
	for len(k.fds) < 3 {
		k.fds = append(k.fds, nil)
	}
	f.fd = int32(len(k.fds))
	k.fds = append(k.fds, f)
	return f
}

func (k *fakeKernel) at(fd int32) *fakeFD {
	if fd < 0 || int(fd) >= len(k.fds) || k.fds[fd] == nil {
		k.t.Fatalf("descriptor %d is not open", fd)
	}
	return k.fds[fd]
}

// state is what epoll says of a descriptor.
func (f *fakeFD) state() (events uint32) {
	switch {
	case f.listens && len(f.queue) > 0:
		return evIn
	case f.listens || f.pending:
		return 0
	case f.fault != 0:
		return evIn | evOut | evErr | evHup | evRdHup
	case f.reset != 0:
		return evIn | evOut | evErr | evHup | evRdHup
	}
	if len(f.in) > 0 || f.eof {
		events |= evIn
	}
	if f.room > 0 {
		events |= evOut
	}
	if f.eof {
		events |= evRdHup
		if f.shut {
			events |= evHup
		}
	}
	return events
}

func (k *fakeLoop) wait(into []event, d time.Duration, _ bool) (int, syscall.Errno) {
	k.step()
	if k.odds(50) {
		return 0, syscall.EINTR
	}
	var ready []*fakeFD
	for _, f := range k.fds {
		if f != nil && f.watched == k && f.state() != 0 && (f.edge || f.listens) {
			ready = append(ready, f)
		}
	}
	if len(ready) == 0 && !k.bell {
		k.now = k.now.Add(d)
		return 0, 0
	}
	k.now = k.now.Add(time.Duration(k.rnd.IntN(int(2 * time.Millisecond))))
	k.rnd.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	n := 0
	if k.bell {
		into[0] = event{Events: evIn, Fd: tokenWake}
		n = 1
	}
	some := (len(ready) + k.rnd.IntN(len(ready)+1) + 1) / 2
	if k.tame {
		some = len(ready)
	}
	for _, f := range ready[:some] {
		if n == len(into) {
			break
		}
		f.edge = false
		into[n] = event{Events: f.state(), Fd: f.tok.index, Pad: f.tok.gen}
		n++
	}
	return n, 0
}

func (k *fakeLoop) wake()   { k.bell = true }
func (k *fakeLoop) heard()  { k.bell = false }
func (k *fakeLoop) closed() {}

func (k *fakeLoop) watch(fd int32, t token) syscall.Errno {
	f := k.at(fd)
	if f.watched != nil {
		k.t.Fatalf("descriptor %d is watched twice", fd)
	}
	f.tok, f.watched, f.edge = t, k, true
	return 0
}

func (k *fakeLoop) listen(fd int32, t token) syscall.Errno {
	if k.lacks() {
		return syscall.ENOMEM
	}
	return k.watch(fd, t)
}

func (k *fakeKernel) lacks() bool {
	if k.lack == 0 {
		return false
	}
	k.lack--
	return true
}

func (k *fakeLoop) unwatch(fd int32) {
	f := k.at(fd)
	if f.watched != k {
		k.t.Fatalf("descriptor %d is not watched", fd)
	}
	f.watched = nil
}

func (k *fakeKernel) accept(fd int32) (int32, netip.AddrPort, syscall.Errno) {
	f := k.at(fd)
	switch {
	case k.lacks():
		return 0, netip.AddrPort{}, syscall.EMFILE
	case k.odds(40):
		return 0, netip.AddrPort{}, []syscall.Errno{syscall.EMFILE, syscall.ECONNABORTED, syscall.EINTR}[k.rnd.IntN(3)]
	case len(f.queue) == 0:
		return 0, netip.AddrPort{}, syscall.EAGAIN
	}
	c := f.queue[0]
	f.queue = f.queue[1:]
	return k.add(c).fd, netip.MustParseAddrPort("192.0.2.1:4000"), 0
}

func (k *fakeKernel) dial(to *target) (int32, syscall.Errno) {
	if !k.sound && k.odds(60) {
		return 0, []syscall.Errno{syscall.EMFILE, syscall.ENETUNREACH, syscall.ECONNREFUSED}[k.rnd.IntN(3)]
	}
	f := k.call(to.addr.String())
	if f == nil {
		f = &fakeFD{fault: syscall.ECONNREFUSED}
	}
	k.add(f)
	f.pending = f.pending || !k.tame && k.rnd.IntN(5) > 0
	if f.fault != 0 {
		f.pending = true
	}
	if f.pending {
		return f.fd, syscall.EINPROGRESS
	}
	return f.fd, 0
}

func (k *fakeKernel) local(int32) netip.AddrPort { return netip.AddrPort{} }

func (k *fakeKernel) fault(fd int32) syscall.Errno {
	f := k.at(fd)
	e := f.fault
	if f.reset != 0 && e == 0 {
		e = f.reset
	}
	return e
}

func (k *fakeKernel) recv(fd int32, b []byte) (int, syscall.Errno) {
	f := k.at(fd)
	if len(b) == 0 {
		k.t.Fatalf("read of nothing from %d", fd)
	}
	switch {
	case f.pipe != nil || f.listens || f.pending:
		k.t.Fatalf("read from %d, which is no connection", fd)
	case k.odds(30):
		return 0, syscall.EINTR
	case f.reset != 0:
		return 0, f.reset
	case len(f.in) > 0:
		n := copy(b, f.in)
		f.in = f.in[n:]
		return n, 0
	case f.eof:
		return 0, 0
	}
	return 0, syscall.EAGAIN
}

func (k *fakeKernel) send(fd int32, b []byte) (int, syscall.Errno) {
	f := k.at(fd)
	switch {
	case f.pipe != nil || f.listens || f.pending:
		k.t.Fatalf("write to %d, which is no connection", fd)
	case len(b) == 0:
		k.t.Fatalf("write of nothing to %d", fd)
	case f.shut:
		k.t.Fatalf("write to %d, which was shut", fd)
	case k.odds(30):
		return 0, syscall.EINTR
	case f.reset != 0:
		return 0, syscall.EPIPE
	case f.room == 0:
		f.full = true
		return 0, syscall.EAGAIN
	}
	n := min(len(b), f.room)
	f.room -= n
	f.full = f.full || n < len(b)
	f.out = append(f.out, b[:n]...)
	return n, 0
}

func (k *fakeKernel) send2(fd int32, a, b []byte) (int, syscall.Errno) {
	return k.send(fd, slices.Concat(a, b))
}

func (k *fakeKernel) pipe() (pipe, syscall.Errno) {
	if k.odds(10) {
		return pipe{}, syscall.EMFILE
	}
	p := &fakePipe{size: 4096 << k.rnd.IntN(9)}
	if k.tame {
		p.size = pipeSize
	}
	return pipe{r: k.add(&fakeFD{pipe: p}).fd, w: k.add(&fakeFD{pipe: p, write: true}).fd, size: p.size}, 0
}

func (k *fakeKernel) splice(from, to int32, n int) (int, syscall.Errno) {
	f, t := k.at(from), k.at(to)
	if (f.pipe == nil) == (t.pipe == nil) || f.pipe != nil && f.write || t.pipe != nil && !t.write || n <= 0 {
		k.t.Fatalf("splice of %d bytes from %d to %d", n, from, to)
	}
	if t.pipe != nil {
		left := t.pipe.size - len(t.pipe.b)
		switch {
		case f.reset != 0:
			return 0, f.reset
		case len(f.in) == 0 && f.eof:
			return 0, 0
		case len(f.in) == 0 || left == 0:
			return 0, syscall.EAGAIN
		}
		n = min(n, left, len(f.in))
		if !k.tame {
			n = min(n, 1+k.rnd.IntN(left)) // segments fill a pipe's pages badly
		}
		t.pipe.b = append(t.pipe.b, f.in[:n]...)
		f.in = f.in[n:]
		return n, 0
	}
	switch {
	case t.shut:
		k.t.Fatalf("splice to %d, which was shut", to)
	case t.reset != 0:
		return 0, syscall.EPIPE
	case len(f.pipe.b) == 0:
		return 0, syscall.EAGAIN
	case t.room == 0:
		t.full = true
		return 0, syscall.EAGAIN
	}
	m := min(n, len(f.pipe.b), t.room)
	t.full = t.full || m < min(n, len(f.pipe.b))
	t.room -= m
	t.out = append(t.out, f.pipe.b[:m]...)
	f.pipe.b = f.pipe.b[m:]
	return m, 0
}

func (k *fakeKernel) shut(fd int32) {
	f := k.at(fd)
	f.shut = true
	f.edge = true
}

func (k *fakeKernel) abort(fd int32) {
	k.at(fd).aborted = true
	k.close(fd)
}

func (k *fakeKernel) close(fd int32) {
	f := k.at(fd)
	f.closed = true
	// Bytes that nobody read make a close a reset (RFC 2525, 2.17).
	f.aborted = f.aborted || len(f.in) > 0
	k.fds[fd] = nil
	if f.pipe == nil && !f.listens {
		k.dead(f)
	}
}

// What the world does to a connection.

// arrive has bytes come from the other side.
func (f *fakeFD) arrive(b []byte) {
	f.in = append(f.in, b...)
	f.edge = true
}

// end has the other side say that it will send no more.
func (f *fakeFD) end() { f.eof, f.edge = true, true }

// crash has the connection break.
func (f *fakeFD) crash() { f.reset, f.edge = syscall.ECONNRESET, true }

// drain has the other side take up to n bytes, which makes room for as many.
func (f *fakeFD) drain(n int) []byte {
	n = min(n, len(f.out))
	b := f.out[:n:n]
	f.out = f.out[n:]
	f.room += n
	if f.full && n > 0 {
		f.full, f.edge = false, true
	}
	return b
}
