//go:build linux

package reactor

import (
	"net/netip"
	"syscall"

	"roost"
	"roost/internal/carry"
)

// conn is a socket of a loop: a client's connection or one to a node. Idle ones are many and should be small; what an
// exchange needs is in its work.
type conn struct {
	fd    int32
	index int32 // in the slab
	gen   int32 // of the place in the slab: events of an earlier socket there are not ours
	state state
	node  bool // the other end is a node

	canRead bool // there may be something to read
	hup     bool // the other side has ended, or the connection broke: a short read does not mean that nothing is left
	dead    bool // closed; its place is free after the batch
	queued  bool // in the run queue
	served  bool // carried an exchange before
	closing bool // ends when out is empty
	counts  bool // among its listener's connections; one that is told that it is one too many is not
	ended   bool // nothing more will be sent to it
	eof     bool // it will send no more (of a relay)
	bulk    bool // it sends much at a time (of a relay)

	linked     bool   // in the wheel
	slot       coarse // of it
	prev, next int32  // there: the index of another and 1; 0: none
	deadline   int64  // by the loop's monotonic clock; 0: none

	pend  *buffer  // bytes read ahead
	out   *buffer  // bytes that the socket did not take
	pipe  *pipe    // and those before them, which never were in our memory; nil when it is empty
	work  *work    // of the exchange that runs
	tls   *session // nil: clear text
	relay *relay   // of what is carried as bytes, both ways

	// Of a client's connection.
	front *front
	from  address     // the socket's other end, or whom a PROXY header spoke of
	intro *carry.Peer // what that header said; nil: there was none
	port  uint16      // of from

	born int64 // by the monotonic clock, as the one below

	// Of a connection to a node.
	rack   *rack
	rested coarse // when it became idle
	idle   coarse // how long the node keeps it then; 0: it did not say
	spot   int32  // in the rack
	spent  int32  // of a lingering client: bytes thrown away
}

// address is an IP address in two thirds of the space of a netip.Addr: no connection comes from "::", which stands for none.
type address [16]byte

func addressOf(a netip.Addr) address {
	if !a.IsValid() {
		return address{}
	}
	return a.As16()
}

func (a address) addr() netip.Addr {
	if a == (address{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a).Unmap()
}

// state is what a connection is doing.
type state uint8

const (
	awaiting   state = iota // a client's: for the first byte of a request
	reading                 // a request's head
	exchanging              // the rest of an exchange
	lingering               // all is said; what still comes is thrown away
	shaking                 // a TLS handshake
	lining                  // the same, before it has begun: too many are under way
	peeking                 // a raw connection's first bytes
	relaying                // bytes both ways
	resting                 // a node's: in its rack
	connecting
	answering // a node's: the response, from its head on
)

// slab holds a loop's records in chunks that never move. A record is free for the next socket once the batch of events in
// which it was closed is over: until then its generation tells its late events from another's.
type slab struct {
	chunks []*[slabChunk]conn
	free   []int32
	dead   []int32
	used   int
}

// slabChunk is how many records fit into 32 KiB, the largest piece of memory that Go gives out without rounding it up. A test
// holds it to that.
const slabChunk = 195

func (s *slab) take() *conn {
	if len(s.free) == 0 {
		base := int32(len(s.chunks) * slabChunk)
		chunk := new([slabChunk]conn)
		s.chunks = append(s.chunks, chunk)
		for i := int32(slabChunk - 1); i >= 0; i-- {
			chunk[i].index = base + i
			s.free = append(s.free, base+i)
		}
	}
	c := s.at(s.free[len(s.free)-1])
	s.free = s.free[:len(s.free)-1]
	s.used++
	*c = conn{index: c.index, gen: c.gen + 1}
	return c
}

func (s *slab) at(i int32) *conn { return &s.chunks[i/slabChunk][i%slabChunk] }

// find returns the record that a token names, if it still is that one.
func (s *slab) find(t token) *conn {
	if t.index < 0 || int(t.index) >= len(s.chunks)*slabChunk {
		return nil
	}
	if c := s.at(t.index); c.gen == t.gen && !c.dead {
		return c
	}
	return nil
}

func (s *slab) drop(c *conn) {
	c.dead = true
	s.used--
	s.dead = append(s.dead, c.index)
}

// recycle makes the places of what was closed free again.
func (s *slab) recycle() {
	for _, i := range s.dead {
		// Nothing is kept alive by a place that nobody uses.
		c := s.at(i)
		*c = conn{index: i, gen: c.gen, dead: true}
		s.free = append(s.free, i)
	}
	s.dead = s.dead[:0]
}

// all calls f for each open record. f may close any.
func (s *slab) all(f func(*conn)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			if c := &chunk[i]; !c.dead && c.gen != 0 {
				f(c)
			}
		}
	}
}

func (c *conn) token() token { return token{c.index, c.gen} }

// settings are the listener's as they are now.
func (c *conn) settings(s *roost.Snapshot) *roost.ListenerSettings { return c.front.settings(s) }

// recv reads plaintext into b. An errno of 0 and no byte is the end; EAGAIN: an event will tell.
func (l *loop) recv(c *conn, b []byte) (int, syscall.Errno) {
	if c.tls != nil {
		return c.tls.recv(l, c, b)
	}
	return l.get(c, b)
}

// get is recv from the socket itself.
func (l *loop) get(c *conn, b []byte) (int, syscall.Errno) {
	n, e := l.k.recv(c.fd, b)
	switch {
	case e == syscall.EINTR:
		return l.get(c, b)
	case e != 0:
		c.canRead = false
	case n < len(b) && !c.hup:
		c.canRead = false // out-of-band data also shortens reads, and brings another event
	}
	return n, e
}

// write sends a and then b; what the socket does not take is kept, and sent before anything else. The caller stops to read
// what it writes here until then (blocked). An errno is what broke the connection.
func (l *loop) write(c *conn, a, b []byte) syscall.Errno {
	if c.tls != nil {
		return c.tls.send(l, c, a, b)
	}
	return l.put(c, a, b)
}

// put is write to the socket itself.
func (l *loop) put(c *conn, a, b []byte) syscall.Errno {
	if c.blocked() {
		if c.out == nil {
			c.out = l.buffers.get(len(a) + len(b))
		}
		c.out.b = append(append(c.out.b, a...), b...)
		return 0
	}
	var n int
	var e syscall.Errno
	switch {
	case len(a) == 0:
		n, e = l.k.send(c.fd, b)
	case len(b) == 0:
		n, e = l.k.send(c.fd, a)
	default:
		n, e = l.k.send2(c.fd, a, b)
	}
	if e == syscall.EINTR {
		return l.put(c, a, b)
	}
	if e != 0 && e != syscall.EAGAIN {
		return e
	}
	if n == len(a)+len(b) {
		return 0
	}
	c.out = l.buffers.get(len(a) + len(b) - n)
	if n < len(a) {
		c.out.b = append(append(c.out.b, a[n:]...), b...)
	} else {
		c.out.b = append(c.out.b, b[n-len(a):]...)
	}
	return 0
}

// flush sends what was kept. Without an errno and still blocked, an event will tell.
func (l *loop) flush(c *conn) syscall.Errno {
	if c.pipe != nil {
		if e := l.drain(c); e != 0 || c.pipe != nil {
			return e
		}
	}
	for c.out != nil {
		n, e := l.k.send(c.fd, c.out.rest())
		switch {
		case e == syscall.EAGAIN:
			return 0
		case e == syscall.EINTR:
			continue
		case e != 0:
			return e
		}
		if c.out.off += n; c.out.off == len(c.out.b) {
			l.buffers.put(c.out)
			c.out = nil
		}
	}
	return 0
}

// left is how many bytes wait for the socket.
func (c *conn) left() (n int) {
	if c.out != nil {
		n = len(c.out.rest())
	}
	if c.pipe != nil {
		n += c.pipe.n
	}
	return n
}

// blocked tells whether bytes wait for the socket.
func (c *conn) blocked() bool { return c.out != nil || c.pipe != nil }

// lose forgets what waits for the socket.
func (l *loop) lose(c *conn) {
	if c.out != nil {
		l.buffers.put(c.out)
		c.out = nil
	}
	if c.pipe != nil {
		l.pipes.put(l, c.pipe)
		c.pipe = nil
	}
}

// keep makes b, or what follows it in the buffer that it is already in, the bytes read ahead.
func (l *loop) keep(c *conn, b []byte) {
	switch {
	case len(b) == 0:
		l.forget(c)
	case c.pend != nil && c.pend.holds(b):
		c.pend.off = len(c.pend.b) - len(b)
	default:
		l.forget(c)
		c.pend = l.buffers.get(len(b))
		c.pend.b = append(c.pend.b, b...)
	}
}

// forget gives back what was read ahead.
func (l *loop) forget(c *conn) {
	if c.pend != nil {
		l.buffers.put(c.pend)
		c.pend = nil
	}
}

// more reads once, and returns all that was read ahead and is now to be looked at: in the loop's scratch buffer if nothing was
// kept before, else behind what was kept. limit bounds what may be kept.
func (l *loop) more(c *conn, limit int) ([]byte, syscall.Errno) {
	if c.pend == nil {
		n, e := l.recv(c, l.in)
		if e == 0 && n == 0 {
			return nil, errEnd
		}
		return l.in[:n], e
	}
	p := c.pend
	p.room(l, min(limit, 2*len(p.rest())))
	n, e := l.recv(c, p.b[len(p.b):cap(p.b)])
	if e == 0 && n == 0 {
		e = errEnd
	}
	p.b = p.b[:len(p.b)+n]
	return p.rest(), e
}

// errEnd stands for the orderly end of what the other side sends. It is an errno so that reads have one kind of answer, and
// one that no read gives.
const errEnd = syscall.ENODATA

// close closes a socket and gives back what it holds. The exchange or relay it belongs to is the caller's.
func (l *loop) close(c *conn) {
	if c.tls != nil && !c.dead && !c.blocked() {
		c.tls.shut(l, c)
	}
	l.shutter(c, l.k.close)
}

// abort closes a socket such that what was sent does not look complete.
func (l *loop) abort(c *conn) { l.shutter(c, l.k.abort) }

func (l *loop) shutter(c *conn, end func(int32)) {
	if c.dead {
		return
	}
	if c.tls != nil {
		c.tls.end(l, c)
	}
	if c.fd >= 0 {
		end(c.fd)
	}
	l.release(c)
}

// release forgets a record whose socket is closed, or somebody else's.
func (l *loop) release(c *conn) {
	l.unlink(c)
	l.forget(c)
	l.lose(c)
	if c.rack != nil && c.state == resting {
		c.rack.remove(l, c)
	}
	if f := c.front; f != nil {
		l.clients.Add(-1)
		f.gone(c.counts)
	}
	l.slab.drop(c)
}
