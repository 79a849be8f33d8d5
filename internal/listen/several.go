package listen

import (
	"errors"
	"net"
	"sync"
	"time"
)

// several accepts from several sockets as from one. Its goroutines, one for each, end with Close.
type several struct {
	lns      []net.Listener
	accepted chan result
	closing  chan struct{}
	close    func() error
}

type result struct {
	conn net.Conn
	err  error
}

func newSeveral(lns []net.Listener) *several {
	s := &several{lns: lns, accepted: make(chan result), closing: make(chan struct{})}
	var wg sync.WaitGroup
	for _, ln := range lns {
		wg.Go(func() { s.follow(ln) })
	}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		var errs []error
		for _, ln := range lns {
			errs = append(errs, ln.Close())
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	return s
}

// follow passes on what ln accepts, errors too, one at a time: whoever asks is no slower than the kernel's queue is long.
func (s *several) follow(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case s.accepted <- result{conn, err}:
		case <-s.closing:
			if conn != nil {
				conn.Close()
			}
			return
		}
	}
}

func (s *several) Accept() (net.Conn, error) {
	select {
	case r := <-s.accepted:
		return r.conn, r.err
	case <-s.closing:
		return nil, net.ErrClosed
	}
}

// Addr is that of the first socket.
func (s *several) Addr() net.Addr { return s.lns[0].Addr() }

func (s *several) Close() error { return s.close() }

// SetDeadline ends Accept at t, as that of [net.TCPListener] does.
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
