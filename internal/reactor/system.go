//go:build linux

package reactor

import (
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is Linux. Its calls are raw: they do not wait, so telling the scheduler of them would only cost.
type system struct {
	ep   int32
	bell int32 // an eventfd
}

func openSystem() (*system, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, err
	}
	s := &system{int32(ep), int32(bell)}
	if e := s.control(unix.EPOLL_CTL_ADD, s.bell, unix.EPOLLIN|unix.EPOLLET, token{index: tokenWake}); e != 0 {
		s.closed()
		return nil, e
	}
	return s, nil
}

// wait: with hold it keeps the processor of the Go scheduler (the P) while it waits. Releasing it costs 1.5 times HAProxy's
// whole request at moderate load; keeping it keeps the collector waiting for us: its signal interrupts the call, but only the check
// of the stack at the beginning of a function stops a goroutine. So an interrupted wait returns, and is never repeated here.
func (s *system) wait(into []event, d time.Duration, hold bool) (int, syscall.Errno) {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	var n uintptr
	var e syscall.Errno
	if hold {
		n, _, e = syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.ep), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), uintptr(ms), 0, 0)
	} else {
		n, _, e = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.ep), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), uintptr(ms), 0, 0)
	}
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func (s *system) wake() {
	one := uint64(1)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(s.bell), uintptr(unsafe.Pointer(&one)), 8)
}

func (s *system) heard() {
	var n uint64
	syscall.RawSyscall(unix.SYS_READ, uintptr(s.bell), uintptr(unsafe.Pointer(&n)), 8)
}

func (s *system) closed() {
	unix.Close(int(s.bell))
	unix.Close(int(s.ep))
}

func (s *system) control(op int, fd int32, events uint32, t token) syscall.Errno {
	ev := event{Events: events, Fd: t.index, Pad: t.gen}
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(s.ep), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return e
}

func (s *system) watch(fd int32, t token) syscall.Errno {
	return s.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, t)
}

func (s *system) listen(fd int32, t token) syscall.Errno {
	return s.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, t)
}

func (s *system) unwatch(fd int32) { s.control(unix.EPOLL_CTL_DEL, fd, 0, token{}) }

func (s *system) accept(fd int32) (int32, netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrInet6 // the largest that matters; a unix socket's peer has no name
	size := uint32(unsafe.Sizeof(sa))
	n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return 0, netip.AddrPort{}, e
	}
	return int32(n), addrOf(&sa), 0
}

func addrOf(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := func(p *uint16) uint16 { b := (*[2]byte)(unsafe.Pointer(p)); return uint16(b[0])<<8 | uint16(b[1]) }
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port(&sa.Port))
	}
	return netip.AddrPort{}
}

func (s *system) dial(to *target) (int32, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := to.raw(&sa)
	fd, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(sa.Addr.Family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return 0, e
	}
	if to.path == "" {
		option(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		option(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		option(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle)
		option(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepIdle)
	}
	_, _, e = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), size)
	if e != 0 && e != syscall.EINPROGRESS {
		s.close(int32(fd))
		return 0, e
	}
	return int32(fd), e
}

// keepIdle is Go's default of TCP's keep-alive, in seconds: with its nine probes a side that is no more is found in 2.5 min.
const keepIdle = 15

func option(fd uintptr, level, name int, value int32) {
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&value)), 4, 0)
}

// raw fills in the address as connect takes it, and returns its length.
func (to *target) raw(sa *unix.RawSockaddrAny) uintptr {
	port := func(p *uint16) {
		b := (*[2]byte)(unsafe.Pointer(p))
		b[0], b[1] = byte(to.addr.Port()>>8), byte(to.addr.Port())
	}
	switch {
	case to.path != "":
		un := (*unix.RawSockaddrUnix)(unsafe.Pointer(sa))
		un.Family = unix.AF_UNIX
		for i := 0; i < len(to.path) && i < len(un.Path)-1; i++ {
			un.Path[i] = int8(to.path[i])
		}
		return uintptr(2 + min(len(to.path), len(un.Path)-1) + 1)
	case to.addr.Addr().Is4():
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		v4.Family, v4.Addr = unix.AF_INET, to.addr.Addr().As4()
		port(&v4.Port)
		return unsafe.Sizeof(*v4)
	}
	v6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
	v6.Family, v6.Addr = unix.AF_INET6, to.addr.Addr().As16()
	port(&v6.Port)
	return unsafe.Sizeof(*v6)
}

func (s *system) fault(fd int32) syscall.Errno {
	var code int32
	size := uint32(4)
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&code)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return e
	}
	return syscall.Errno(code)
}

func (s *system) local(fd int32) netip.AddrPort {
	var sa unix.RawSockaddrInet6
	size := uint32(unsafe.Sizeof(sa))
	if _, _, e := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); e != 0 {
		return netip.AddrPort{}
	}
	return addrOf(&sa)
}

func (s *system) recv(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func (s *system) send(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func (s *system) send2(fd int32, a, b []byte) (int, syscall.Errno) {
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	iov[0].SetLen(len(a))
	iov[1].SetLen(len(b))
	m := unix.Msghdr{Iov: &iov[0]}
	m.SetIovlen(2)
	n, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	runtime.KeepAlive(&iov)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// pipeSize is what a pipe should take. Bodies of 1 MiB were measured to cost 1.2 to 2 times as much through pipes of half of
// it, and of twice as much. Without privilege a user has 256 pipes of this size (pipe-user-pages-soft); after that they stay
// as small as they are made.
const pipeSize = 256 << 10

func (s *system) pipe() (pipe, syscall.Errno) {
	var fds [2]int32
	if _, _, e := syscall.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&fds)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0); e != 0 {
		return pipe{}, e
	}
	size, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	if e != 0 {
		if size, _, e = syscall.RawSyscall(unix.SYS_FCNTL, uintptr(fds[0]), unix.F_GETPIPE_SZ, 0); e != 0 {
			size = 4096
		}
	}
	return pipe{r: fds[0], w: fds[1], size: int(size)}, 0
}

func (s *system) splice(from, to int32, n int) (int, syscall.Errno) {
	m, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	if e != 0 {
		return 0, e
	}
	return int(m), 0
}

func (s *system) shut(fd int32) { syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0) }

func (s *system) abort(fd int32) {
	l := unix.Linger{Onoff: 1}
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l), 0)
	s.close(fd)
}

func (s *system) close(fd int32) { syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
