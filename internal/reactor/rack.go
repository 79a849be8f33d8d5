//go:build linux

package reactor

import (
	"time"

	"roost"
)

// rack holds a loop's idle connections to one node. The one that rested last is taken first, so that those in use stay warm
// and the rest grows old.
type rack struct {
	live *roost.Live
	addr string
	list []*conn
	gone bool // the node is no more, or is somewhere else
}

const (
	// maxAge ends connections that are otherwise always in use, so that a name that resolves elsewhere takes effect.
	maxAge = 5 * time.Minute
	// recent is how long a connection counts as live for requests that may not be repeated.
	recent = time.Second
	// idleMargin is taken off what a node promised, for a request on its way.
	idleMargin = time.Second
	// sweepEvery is how often racks of nodes that are no more are looked for.
	sweepEvery = 5 * time.Second
)

// idle takes an idle connection to the attempt's node, if there is one that will do. With once the request may not be
// repeated, so only one that was in use a moment ago is good enough.
func (l *loop) idle(a *roost.Attempt, once bool) *conn {
	r := l.racks[a.Live]
	if r == nil || a.Fresh {
		return nil
	}
	if r.addr != a.Addr {
		l.empty(r)
		return nil
	}
	for len(r.list) > 0 {
		n := r.list[len(r.list)-1]
		switch {
		case n.canRead || n.deadline != 0 && n.deadline <= l.mono:
			l.close(n) // takes it off the list
			continue
		case once && l.mono-n.rested.nanos() > int64(recent):
			return nil // those below rested longer; they are good enough for others
		}
		r.list = r.list[:len(r.list)-1]
		l.resting--
		return n
	}
	return nil
}

// settleIn makes a connection an idle one. The caller has seen the end of the answer, and nothing behind it.
func (l *loop) settleIn(n *conn, set *roost.PoolSettings) {
	l.forget(n) // a head that came in pieces: what is left of it would be taken for the next answer
	r := n.rack
	left := maxAge - time.Duration(l.mono-n.born)
	if set.IdleTimeout > 0 {
		left = min(left, set.IdleTimeout)
	}
	if n.idle > 0 {
		left = min(left, time.Duration(n.idle.nanos())-idleMargin)
	}
	if left <= 0 || len(r.list)*len(l.e.loops) >= set.IdleConns || r.gone {
		l.close(n)
		return
	}
	n.served, n.state, n.rested = true, resting, coarsely(l.mono)
	n.spot = int32(len(r.list))
	r.list = append(r.list, n)
	l.resting++
	l.arm(n, left)
}

// remove takes a connection off the list, wherever it stands.
func (r *rack) remove(l *loop, n *conn) {
	copy(r.list[n.spot:], r.list[n.spot+1:])
	r.list[len(r.list)-1] = nil
	r.list = r.list[:len(r.list)-1]
	for i := int(n.spot); i < len(r.list); i++ {
		r.list[i].spot = int32(i)
	}
	l.resting--
}

// empty closes all that is idle, for good.
func (l *loop) empty(r *rack) {
	r.gone = true
	for len(r.list) > 0 {
		l.close(r.list[len(r.list)-1])
	}
}

// rackOf is the rack of a node at an address.
func (l *loop) rackOf(a *roost.Attempt) *rack {
	r := l.racks[a.Live]
	if r != nil && r.addr != a.Addr {
		l.empty(r)
	}
	if r == nil || r.gone {
		r = &rack{live: a.Live, addr: a.Addr}
		l.racks[a.Live] = r
	}
	return r
}

// sweep forgets nodes that the snapshot does not have, and closes what is idle to those that were cut.
func (l *loop) sweep(s *roost.Snapshot) {
	known := make(map[*roost.Live]bool, len(l.racks))
	for i := range s.Pools {
		for j := range s.Pools[i].Nodes {
			n := &s.Pools[i].Nodes[j]
			if r := l.racks[n.Live]; r != nil {
				known[n.Live] = !n.Cut
			}
		}
	}
	for live, r := range l.racks {
		if !known[live] {
			l.empty(r)
			delete(l.racks, live)
		}
	}
}
