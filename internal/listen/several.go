package listen

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// heldLimit is how long a connection that was accepted when its listener was closed waits for whoever still asks for it.
// Those who accept in a loop, until it fails, do so within microseconds.
const heldLimit = time.Second

// several accepts from several sockets as from one. Its goroutines, one for each, begin with the first Accept, because
// whoever serves the single sockets never asks, and end with Close, or, when they hold what somebody may still ask for,
// within heldLimit. Close does not wait for that: whoever closes may hold a lock which the one who accepts needs, as the
// engine does.
type several struct {
	lns      []net.Listener
	begin    sync.Once
	accepted chan result
	closing  chan struct{}
	ended    chan struct{} // closed when no goroutine is left
	close    func() error
}

type result struct {
	conn net.Conn
	err  error
}

// together makes one listener of lns.
func together(lns []net.Listener) net.Listener {
	if len(lns) == 1 {
		return lns[0]
	}
	return newSeveral(lns)
}

// sockets are the single sockets that lns consist of.
func sockets(lns []net.Listener) []net.Listener {
	var all []net.Listener
	for _, ln := range lns {
		if many, ok := ln.(*several); ok {
			all = append(all, many.lns...)
		} else {
			all = append(all, ln)
		}
	}
	return all
}

func closeAll(lns []net.Listener) error {
	var errs []error
	for _, ln := range lns {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}

func newSeveral(lns []net.Listener) *several {
	s := &several{lns: lns, accepted: make(chan result), closing: make(chan struct{}), ended: make(chan struct{})}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		return closeAll(lns)
	})
	return s
}

// Sockets are the single ones. Whoever serves them does not call Accept.
func (s *several) Sockets() []net.Listener { return s.lns }

func (s *several) start() {
	var wg sync.WaitGroup
	for _, ln := range s.lns {
		wg.Go(func() { s.follow(ln) })
	}
	go func() { // ends with the others
		wg.Wait()
		close(s.ended)
	}()
}

// follow passes on what ln accepts, and errors that concern one connection, until it is closed or its deadline passes.
func (s *several) follow(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		s.offer(result{conn, err})
	}
}

// offer waits until somebody asks. What was accepted just before Close is not lost: it is another process's no more.
func (s *several) offer(r result) {
	select {
	case s.accepted <- r:
		return
	case <-s.closing:
	}
	limit := time.NewTimer(heldLimit)
	defer limit.Stop()
	select {
	case s.accepted <- r:
	case <-limit.C:
		if r.conn != nil {
			r.conn.Close()
		}
	}
}

// Accept fails once everything that was accepted before a Close or a deadline has been passed on.
func (s *several) Accept() (net.Conn, error) {
	s.begin.Do(s.start)
	select {
	case r := <-s.accepted:
		return r.conn, r.err
	case <-s.ended:
	}
	select {
	case <-s.closing:
		return nil, net.ErrClosed
	default:
		return nil, os.ErrDeadlineExceeded
	}
}

// Addr is that of the first socket.
func (s *several) Addr() net.Addr { return s.lns[0].Addr() }

func (s *several) Close() error { return s.close() }

// SetDeadline ends Accept at t. Then only Close is left to do.
func (s *several) SetDeadline(t time.Time) error {
	for _, ln := range s.lns {
		if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
			if err := d.SetDeadline(t); err != nil {
				return err
			}
		}
	}
	return nil
}
