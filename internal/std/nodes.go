package std

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"roost"
)

// nodeConn is a connection to a node. Whoever holds one owns it; a rack owns those that are idle.
type nodeConn struct {
	wire
	addr   string
	tls    roost.Digest // of the NodeTLS that it was made with; zero: clear text
	born   time.Time
	rested time.Time       // when it became idle
	idle   time.Duration   // how long the node keeps it then; 0: it did not say
	served int             // requests
	socket syscall.RawConn // below TLS too; nil: there is none
	stale  func(fd uintptr)
	bad    bool // what stale found
	leg    *leg // the stream behind it, when the node is spoken to in HTTP/2
}

const (
	// maxRack bounds PoolSettings.IdleConns: a rack is searched from its beginning.
	maxRack = 1024
	// maxAge ends connections that are otherwise always in use, so that a name that resolves elsewhere takes effect.
	maxAge = 5 * time.Minute
	// recent is how long a connection counts as live for requests that may not be repeated.
	recent = time.Second
	// idleMargin is taken off what a node promised, for a request on its way.
	idleMargin = time.Second
)

// rack holds the idle connections to one node, without a lock: who empties a place owns what was in it. Connections are
// put into the first empty place and taken from the first full one, so those in use stay warm and the rest grows old.
type rack struct {
	n      atomic.Int32
	places [maxRack]atomic.Pointer[nodeConn]
}

// nodes are the connections to all nodes.
type nodes struct {
	dialer dialer
	racks  sync.Map // *roost.Live to *rack: a node's counters are its identity over reloads
	links  links
	lend   *buffers
}

// get takes an idle connection, or dials. With h2 it is a stream in HTTP/2. With once the request may not be repeated, so
// only a connection that was in use a moment ago is good enough. One that is to begin with a PROXY header speaks for one
// client, and is always made.
func (ns *nodes) get(ctx context.Context, a *roost.Attempt, s *roost.PoolSettings, h2, once bool, header []byte, now time.Time) (*nodeConn, roost.Fault, error) {
	if h2 {
		return ns.links.get(ctx, a, s, now)
	}
	if !a.Fresh && len(header) == 0 {
		if v, ok := ns.racks.Load(a.Live); ok {
			if n := v.(*rack).take(a.Addr, s, once, now); n != nil {
				return n, roost.NoFault, nil
			}
		}
	}
	return ns.dial(ctx, a, s, "http/1.1", header, now)
}

// dial makes a connection that begins with a PROXY header, if one is given.
func (ns *nodes) dial(ctx context.Context, a *roost.Attempt, s *roost.PoolSettings, protocol string, header []byte, now time.Time) (*nodeConn, roost.Fault, error) {
	to := placeOf(a, s, protocol)
	to.header = header
	c, fault, err := ns.dialer.dial(ctx, to, s.ConnectTimeout, now)
	if err != nil {
		return nil, fault, err
	}
	n := &nodeConn{addr: a.Addr, tls: idOf(s.TLS), born: now}
	n.open(c, ns.lend)
	if n.socket = n.raw; s.TLS != nil {
		n.socket, _ = bare(c).(syscall.Conn).SyscallConn()
	}
	n.stale = n.peek
	return n, roost.NoFault, nil
}

// put gives a connection back. The caller has seen the end of the answer, and nothing behind it.
func (ns *nodes) put(live *roost.Live, n *nodeConn, s *roost.PoolSettings, now time.Time) {
	n.rest()
	n.rested = now
	n.served++
	v, ok := ns.racks.Load(live)
	if !ok {
		v, _ = ns.racks.LoadOrStore(live, &rack{})
	}
	if n.expired(s.IdleTimeout, now) || !v.(*rack).put(n, s.IdleConns) {
		n.close()
	}
}

func (r *rack) put(n *nodeConn, limit int) bool {
	limit = min(limit, maxRack)
	if int(r.n.Add(1)) <= limit {
		for i := range r.places[:limit] {
			if p := &r.places[i]; p.Load() == nil && p.CompareAndSwap(nil, n) {
				return true
			}
		}
	}
	r.n.Add(-1)
	return false
}

func (r *rack) take(addr string, s *roost.PoolSettings, once bool, now time.Time) *nodeConn {
	for i := 0; i < maxRack && r.n.Load() > 0; i++ {
		p := &r.places[i]
		n := p.Load()
		if n == nil || !p.CompareAndSwap(n, nil) {
			continue
		}
		switch {
		case n.addr != addr || n.tls != idOf(s.TLS) || n.expired(s.IdleTimeout, now) || !n.quiet():
		case once && now.Sub(n.rested) > recent:
			if p.CompareAndSwap(nil, n) {
				continue // good enough for others
			}
		default:
			r.n.Add(-1)
			return n
		}
		r.n.Add(-1)
		n.close()
	}
	return nil
}

// sweep closes what has been idle for too long; with all, everything. To look at a connection it takes it, as anybody
// has to; what may stay goes back.
func (r *rack) sweep(idle time.Duration, all bool, now time.Time) {
	for i := range r.places {
		p := &r.places[i]
		n := p.Load()
		if n == nil || !p.CompareAndSwap(n, nil) {
			continue
		}
		if !all && !n.expired(idle, now) && p.CompareAndSwap(nil, n) {
			continue
		}
		r.n.Add(-1)
		n.close()
	}
}

func (n *nodeConn) expired(idle time.Duration, now time.Time) bool {
	rest := now.Sub(n.rested)
	return idle > 0 && rest > idle || n.idle > 0 && rest > n.idle-idleMargin || now.Sub(n.born) > maxAge
}

// sweep closes idle connections that are due, and forgets nodes that s does not have.
func (ns *nodes) sweep(s *roost.Snapshot, now time.Time) {
	idle := map[*roost.Live]time.Duration{}
	var ways []*roost.NodeTLS
	for i := range s.Pools {
		p := &s.Pools[i]
		ways = append(ways, p.Settings.TLS)
		for j := range p.Nodes {
			idle[p.Nodes[j].Live] = p.Settings.IdleTimeout
		}
	}
	ns.racks.Range(func(k, v any) bool {
		d, known := idle[k.(*roost.Live)]
		if r := v.(*rack); known || r.n.Load() > 0 {
			r.sweep(d, !known, now)
		} else {
			ns.racks.Delete(k) // and not when it was emptied just now: a request may be about to put something in
		}
		return true
	})
	ns.links.sweep(idle, now)
	ns.dialer.secrecy.keep(ways)
}

// drop closes the idle connections to a node.
func (ns *nodes) drop(live *roost.Live, now time.Time) {
	if v, ok := ns.racks.Load(live); ok && v.(*rack).n.Load() > 0 {
		v.(*rack).sweep(0, true, now)
	}
	ns.links.drop(live, now)
}

// close closes all idle connections.
func (ns *nodes) close() {
	ns.racks.Range(func(k, v any) bool {
		v.(*rack).sweep(0, true, time.Time{})
		ns.racks.Delete(k)
		return true
	})
	ns.links.close()
}

// cut ends the connection at once, from any goroutine. Under TLS no word is said of it: that could take seconds.
func (n *nodeConn) cut() { bare(n.conn).Close() }

// close ends the connection, and waits for what runs behind it.
func (n *nodeConn) close() {
	n.wire.close()
	if n.leg != nil {
		<-n.leg.done
	}
}
