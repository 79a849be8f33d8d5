//go:build linux

package reactor

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernel is what a loop asks of the system. Nothing of it waits but wait. An errno of 0 is success; EAGAIN means that an
// event will tell. Tests put one of their own in its place.
type kernel interface {
	// wait returns what became ready since, at most len(into) events, after at most d; 0 only looks. hold says that the
	// loop is busy: it should be back at once when something comes, whatever that costs the rest of the process.
	wait(into []event, d time.Duration, hold bool) (int, syscall.Errno)
	wake()   // ends a wait, or the next one, with an event of tokenWake; any goroutine may
	heard()  // takes the wake-up
	closed() // nobody will wait again

	watch(fd int32, t token) syscall.Errno  // edge-triggered, for all that can happen, until unwatch or close
	listen(fd int32, t token) syscall.Errno // level-triggered, for connections
	unwatch(fd int32)

	accept(fd int32) (conn int32, from netip.AddrPort, e syscall.Errno)
	dial(to *target) (fd int32, e syscall.Errno) // EINPROGRESS: an event will tell, and fault what came of it
	fault(fd int32) syscall.Errno
	local(fd int32) netip.AddrPort // where the other side connected to; of a unix socket none

	recv(fd int32, b []byte) (int, syscall.Errno)
	send(fd int32, b []byte) (int, syscall.Errno)
	send2(fd int32, a, b []byte) (int, syscall.Errno) // as one
	pipe() (p pipe, e syscall.Errno)
	splice(from, to int32, n int) (int, syscall.Errno)

	shut(fd int32)  // no more will be sent
	abort(fd int32) // closes such that the other side sees a reset
	close(fd int32)
}

// event is one of the kernel's. Its layout is the kernel's, on every architecture.
type event = unix.EpollEvent

// token names who an event is for: a record of the slab by index and generation, or one of those below.
type token struct{ index, gen int32 }

const (
	tokenWake   = -1 // the index of the wake-up
	tokenListen = -2 // and of the first listening socket; those behind it are lower
)

// What can happen to a socket.
const (
	evIn    = unix.EPOLLIN
	evOut   = unix.EPOLLOUT
	evErr   = unix.EPOLLERR
	evHup   = unix.EPOLLHUP
	evRdHup = unix.EPOLLRDHUP
)

// pipe is a kernel buffer through which splice moves bytes.
type pipe struct {
	r, w int32
	size int // bytes it takes
	n    int // bytes in it
}

// target is an address that a socket can connect to.
type target struct {
	addr netip.AddrPort
	path string // of a unix socket; then addr is not valid
}
