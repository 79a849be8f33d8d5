package listen

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// socket is a listening TCP socket that the Go scheduler watches only once somebody calls Accept. Event loops accept from
// the socket itself; the scheduler would be woken beside them for each connection that arrives, which costs a third of
// what a short connection costs in all.
type socket struct {
	addr net.Addr

	mu sync.Mutex // guards the two below
	fd int        // -1: closed
	ln net.Listener
}

// unwatched makes a socket of a TCP listener, which it closes. Others stay as they are.
func unwatched(ln net.Listener) (net.Listener, error) {
	if _, ok := ln.(*net.TCPListener); !ok {
		return ln, nil
	}
	defer ln.Close()
	fd, err := duplicateFD(ln)
	if err != nil {
		return nil, err
	}
	return &socket{addr: ln.Addr(), fd: fd}, nil
}

// watched is the listener that the scheduler knows.
func (s *socket) watched() (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil, &net.OpError{Op: "accept", Net: s.addr.Network(), Addr: s.addr, Err: net.ErrClosed}
	}
	if s.ln == nil {
		fd, err := duplicateFD((*locked)(s))
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "")
		defer f.Close() // the listener has a duplicate
		if s.ln, err = net.FileListener(f); err != nil {
			return nil, err
		}
	}
	return s.ln, nil
}

func (s *socket) Accept() (net.Conn, error) {
	ln, err := s.watched()
	if err != nil {
		return nil, err
	}
	return ln.Accept()
}

// SetDeadline ends Accept at t, as that of [net.TCPListener] does.
func (s *socket) SetDeadline(t time.Time) error {
	ln, err := s.watched()
	if err != nil {
		return err
	}
	return ln.(*net.TCPListener).SetDeadline(t)
}

func (s *socket) Addr() net.Addr { return s.addr }

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return &net.OpError{Op: "close", Net: s.addr.Network(), Addr: s.addr, Err: net.ErrClosed}
	}
	err := os.NewSyscallError("close", syscall.Close(s.fd))
	s.fd = -1
	if s.ln != nil {
		err = errors.Join(err, s.ln.Close())
	}
	return err
}

// SyscallConn lets the descriptor be used, and duplicated, while it is open.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return (*free)(s), nil }

// free is a socket as a syscall.RawConn.
type free socket

func (o *free) Control(f func(fd uintptr)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return (*locked)(o).Control(f)
}

func (*free) Read(func(uintptr) bool) error  { return errors.ErrUnsupported }
func (*free) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// locked is the same for who holds the lock.
type locked socket

func (l *locked) SyscallConn() (syscall.RawConn, error) { return l, nil }

func (l *locked) Control(f func(fd uintptr)) error {
	if l.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(l.fd))
	return nil
}

func (*locked) Read(func(uintptr) bool) error  { return errors.ErrUnsupported }
func (*locked) Write(func(uintptr) bool) error { return errors.ErrUnsupported }
