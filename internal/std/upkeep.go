package std

import (
	"time"

	"roost"
)

const (
	// upkeepEvery is how late a cut node is noticed at most. With cutGrace and another round its tunnels end in 0.8 s.
	upkeepEvery = 200 * time.Millisecond
	// sweepEvery is how often idle connections to nodes are looked through.
	sweepEvery = 5 * time.Second
	// cutGrace is what both sides of a tunnel have to end in order; after it they are closed, whatever they do.
	cutGrace = 300 * time.Millisecond
)

// upkeep is what nobody's request brings about. The watcher of each listener calls it; one call in a round is enough.
func (e *Engine) upkeep(now time.Time) {
	if !e.keeping.TryLock() {
		return
	}
	defer e.keeping.Unlock()
	if now.Sub(e.kept) < upkeepEvery/2 {
		return
	}
	e.kept = now
	s := e.o.Snapshot.Load()
	e.evict(s, now)
	if now.Sub(e.swept) >= sweepEvery {
		e.swept = now
		e.nodes.sweep(s, e.o.Now())
	}
}

// evict ends what is open to nodes that were cut, but for requests: those end by themselves. It looks in each round anew,
// because an exchange that began before may still become a tunnel, or leave an idle connection behind.
func (e *Engine) evict(s *roost.Snapshot, now time.Time) {
	var open map[*roost.Live]bool
	for i := range s.Pools {
		for j := range s.Pools[i].Nodes {
			n := &s.Pools[i].Nodes[j]
			if !n.Cut {
				continue
			}
			e.nodes.drop(n.Live, e.o.Now())
			if n.Live.Conns.Load() == 0 {
				continue
			}
			if open == nil {
				open = map[*roost.Live]bool{}
			}
			open[n.Live] = true
		}
	}
	if len(open) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		c.evict(open, now)
	}
}

// evict asks the connection's tunnel to end, if it leads to one of the nodes; one that was asked and has not ended is cut.
func (c *conn) evict(open map[*roost.Live]bool, now time.Time) {
	c.mu.Lock()
	late := false
	switch t := c.runs; {
	case t == nil || !open[t.live]:
	case !t.cut.Swap(true):
		t.asked = now
		c.nc.SetReadDeadline(unknown)
		t.node.conn.SetReadDeadline(unknown)
	default:
		late = now.Sub(t.asked) >= cutGrace
	}
	c.mu.Unlock()
	if late {
		c.cut()
	}
}
