package std

import (
	"net"
	"sync"
)

// single is a listener that gives one connection, and then waits until it is closed.
type single struct {
	conn   net.Conn
	addr   net.Addr
	given  func()
	closed chan struct{}
	once   sync.Once
}

func (s *single) Accept() (net.Conn, error) {
	if c := s.conn; c != nil {
		s.conn = nil
		s.given()
		return c, nil
	}
	<-s.closed
	return nil, net.ErrClosed
}

func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *single) Addr() net.Addr { return s.addr }

// gate counts who is inside. net/http may call a handler after it has reported the connection closed, so a WaitGroup,
// which must not grow while it is waited for, will not do.
type gate struct {
	mu    sync.Mutex // guards the two below
	in    int
	shut  bool
	empty sync.Cond
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.in++
	return true
}

// also counts one more that someone inside answers for; the gate may be shut by then.
func (g *gate) also() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in++
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in--; g.in == 0 {
		g.empty.Broadcast()
	}
}

// close lets nobody in any more and waits until all have left.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for g.in > 0 {
		g.empty.Wait()
	}
}
