package control

import (
	"log/slog"
	"slices"

	"roost"
	"roost/internal/health"
)

// pool is what control knows of one pool.
type pool struct {
	conf  roost.Pool
	alone roost.HealthSettings // conf's for nodes that are not probed
	table *roost.Table
	share []int // slots whose first home a node is, by NodeRef
	pins  int
	notes []string               // what of edits and listings could not be used
	nodes []*node                // by NodeRef
	known map[roost.NodeID]*node // those of nodes, and former ones with anything still in flight
	live  *roost.PoolLive

	view   roost.PoolView // as last published
	viewed int64          // when it was made
	panics bool           // every open node is dead
	stale  bool           // the view is out of date
	urgent bool           // and wrong about where traffic may go
	facts  *poolFacts     // nil: out of date
}

// node is what control knows of one node of a pool.
type node struct {
	conf    roost.Node
	sources []string    // kinds of conf's, as Status tells them
	held    *roost.Held // the hold that decides its duty
	ref     roost.NodeRef
	listed  bool // false: a tombstone of the table, or out of it
	live    *roost.Live
	read    tallies // of live, at the last tick
	health  health.Node
	answers bool // it is dead for what it answered to requests, not for silence
}

// tallies are the cumulative counts of a roost.Live.
type tallies struct{ requests, connectFail, broken, errors, doubleEnds uint64 }

func tally(l *roost.Live) tallies {
	return tallies{l.Requests.Load(), l.ConnectFail.Load(), l.Broken.Load(), l.Errors.Load(), l.DoubleEnds.Load()}
}

// count returns what requests met since the last call, and whether an attempt was ended twice for the first time.
func (n *node) count() (met health.Passive, doubled bool) {
	was := n.read
	n.read = tally(n.live)
	met = health.Passive{ConnectFail: n.read.connectFail - was.connectFail, Broken: n.read.broken - was.broken,
		Errors: n.read.errors - was.errors}
	// The counters are read one after the other while requests end, so the sum may be ahead of the total for a tick.
	bad := met.ConnectFail + met.Broken + met.Errors
	if ended := n.read.requests - was.requests; ended > bad {
		met.Good = ended - bad
	}
	if n.conf.Sleeps {
		met.ConnectFail = 0 // nothing listens until woken: a refusal is not death
	}
	switch { // a failed connection says it all
	case met.ConnectFail > 0:
	case met.Broken > 0:
		met.LastReason = "connections broke before an answer"
	case met.Errors > 0:
		met.LastReason = "status 500 or more"
	}
	return met, was.doubleEnds == 0 && n.read.doubleEnds > 0
}

// reset forgets the judgement of n: it is another process now.
func (n *node) reset(now int64) {
	n.health = health.Node{Since: now}
	n.answers = false
	n.read = tally(n.live)
}

// agreed tells the deaths that move homes. A cluster of one agrees with itself: its verdict of dead is an agreed death,
// unless requests do reach the node and only dislike its answers. Then its weight alone is 0: keys of a shared pool go to
// their next candidate for a while, keys that have an owner stay, because a bug in one of them must not move them all.
func (n *node) agreed() bool { return n.health.Verdict == roost.Dead && !n.answers }

// disliked is how many nodes are out for their answers alone.
func (p *pool) disliked() int {
	n := 0
	for _, o := range p.nodes {
		if o.listed && o.health.Verdict == roost.Dead && o.answers {
			n++
		}
	}
	return n
}

// mayDislike is how many nodes may be out for their answers at once: a third of them, and at least one. Without a bound a
// function that always fails would eject its home, then the next one, and so the whole pool.
func (p *pool) mayDislike() int {
	listed := 0
	for _, o := range p.nodes {
		if o.listed {
			listed++
		}
	}
	return max(1, listed/3)
}

// rules are how n is judged. One that sleeps is not probed: that would wake it, or find it dead.
func (p *pool) rules(n *node) *roost.HealthSettings {
	if n.conf.Sleeps {
		return &p.alone
	}
	return &p.conf.Health
}

func (n *node) busy() bool { return n.live.InFlight.Load() != 0 || n.live.Conns.Load() != 0 }

func (n *node) attrs(p *pool) []slog.Attr {
	return []slog.Attr{slog.String("pool", string(p.conf.ID)), slog.String("node", string(n.conf.ID)), slog.String("address", n.conf.Addr)}
}

// weight is what n takes now, in thousandths: its planned share by health's factor, and at least a thousandth of both
// unless it takes nothing.
func (p *pool) weight(now int64, n *node) uint32 {
	r := &p.table.Roster[n.ref]
	if r.Closed || r.Share == 0 {
		return 0
	}
	f := n.health.Factor(p.rules(n), now)
	if f == 0 {
		return 0
	}
	return uint32(max(1, uint64(r.Share)*uint64(f)/roost.WeightOne))
}

// compare marks the view if it is out of date about n.
func (p *pool) compare(now int64, n *node) {
	v := &p.view.Nodes[n.ref]
	weight := p.weight(now, n)
	p.urgent = p.urgent || (weight == 0) != (v.Weight == 0)
	p.stale = p.stale || p.urgent || weight != v.Weight || n.health.Verdict != v.Verdict || n.agreed() != p.view.Liveness.IsDead(n.ref)
}

// look makes the view anew, by what is known now.
func (p *pool) look(now int64) {
	v := roost.PoolView{ID: p.conf.ID, Table: p.table, Nodes: make([]roost.NodeView, len(p.nodes)), Live: p.live, Settings: p.conf.Settings}
	dead := make([]uint64, (len(p.nodes)+63)/64)
	open := 0
	for i, n := range p.nodes {
		x := roost.NodeView{ID: n.conf.ID, Addr: n.conf.Addr, Verdict: n.health.Verdict, Duty: roost.DutyOf(n.conf.Holds), Live: n.live}
		switch {
		case !n.listed:
			x.Duty = roost.DutyDown // but not cut: a node that was taken out of the list may finish what it has
		case x.Duty == roost.DutyDown:
			x.Cut = true
		case !p.table.Roster[i].Closed:
			open++
		}
		if x.Weight = p.weight(now, n); x.Weight > 0 {
			v.Weight += uint64(x.Weight)
			v.Takers++
		}
		if n.listed && n.agreed() {
			dead[i>>6] |= 1 << (i & 63)
		}
		v.Nodes[i] = x
	}
	if slices.Equal(v.Nodes, p.view.Nodes) {
		v.Nodes = p.view.Nodes
	}
	v.Liveness = agree(p.view.Liveness, dead)
	p.panics = open > 0 && v.Takers == 0
	p.view, p.viewed, p.stale, p.urgent, p.facts = v, now, false, false, nil
}

// agree returns last if it says the same.
func agree(last *roost.Liveness, dead []uint64) *roost.Liveness {
	if last == nil {
		return &roost.Liveness{Rev: 1, Dead: dead}
	}
	if slices.Equal(last.Dead, dead) {
		return last
	}
	return &roost.Liveness{Rev: last.Rev + 1, Dead: dead}
}

// forget lets go of former nodes in which nothing is counted any more. A node of the table, and be it a tombstone, is
// not a former one.
func (p *pool) forget() {
	if len(p.known) == len(p.nodes) {
		return
	}
	for id, n := range p.known {
		if int(n.ref) < len(p.nodes) && p.nodes[n.ref] == n {
			continue
		}
		if n.listed = false; !n.busy() {
			delete(p.known, id)
		}
	}
}

// busy tells whether anything is still counted in the pool or its nodes.
func (p *pool) busy() bool {
	return p.live.InFlight.Load() != 0 || p.live.Waiting.Load() != 0 || len(p.known) > 0
}

// slots counts the slots of each first home, and the pins.
func slots(t *roost.Table) (share []int, pins int) {
	share = make([]int, len(t.Roster))
	for slot := range uint32(t.Slots()) {
		if r := t.Row(slot)[0]; r != roost.NoNode {
			share[r]++
		}
	}
	for _, page := range t.Pages {
		for i := range page.Exceptions {
			if page.Exceptions[i].Cause == roost.Pin {
				pins++
			}
		}
	}
	return share, pins
}
