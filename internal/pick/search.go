package pick

import (
	"math/bits"

	"roost"
)

// search is the choice of one attempt: what it is made from, and what was met on the way.
type search struct {
	p   *roost.PoolView
	t   *roost.Tried
	now int64

	base float64 // of limits, once one was needed; 0: not yet

	takers bool          // a node takes new requests
	full   bool          // one of them is at its hard limit
	held   roost.NodeRef // the first of them that is on hold
}

// choice is a node and why, or a refusal.
type choice struct {
	node    roost.NodeRef
	why     roost.Why
	spilled bool // past the homes because of load
	refusal roost.Refusal
}

// open tells whether a node can be chosen: it takes requests, was not tried, is not on hold and not at its hard limit.
func (s *search) open(ref roost.NodeRef) bool {
	n := &s.p.Nodes[ref]
	if n.Weight == 0 || s.p.Liveness.IsDead(ref) {
		return false
	}
	s.takers = true
	if s.t.Has(ref) {
		return false
	}
	if n.Live.HoldUntil.Load() > s.now {
		if s.held == roost.NoNode {
			s.held = ref
		}
		return false
	}
	if full(s.p, n.Live.InFlight.Load(), n.Weight) {
		s.full = true
		return false
	}
	return true
}

// home finds the first of a key's candidates below its limit, else the least busy.
func (s *search) home(k roost.KeyHash, rnd uint64) choice {
	p := s.p
	w := p.Table.Walk(k)
	if w.Cause == roost.HotKey {
		a, b := two(p.Table.Exception(k).Homes, rnd)
		okA, okB := s.open(a) && s.below(a), s.open(b) && s.below(b)
		if okB && (!okA || busy(p, b, s.now) < busy(p, a, s.now)) {
			a, okA = b, true
		}
		if okA {
			return choice{node: a, why: roost.WhyHot}
		}
	}
	crowded := false // a home is at a limit
	least, leastLoad, leastHome := roost.NoNode, 0.0, false
	for i := 0; ; i++ {
		ref, home := w.Next()
		if ref == roost.NoNode {
			break
		}
		if !s.open(ref) {
			crowded = crowded || home && s.full
			continue
		}
		if s.below(ref) {
			return choice{node: ref, why: why(&w, i, home, crowded), spilled: crowded && !home}
		}
		crowded = crowded || home
		if load := busy(p, ref, s.now); least == roost.NoNode || load < leastLoad {
			least, leastLoad, leastHome = ref, load, home
		}
	}
	if least != roost.NoNode {
		return choice{node: least, why: roost.WhyLeast, spilled: !leastHome}
	}
	return s.desperate(k)
}

// below tells whether a node is below its limit. Most are below the floor of all limits, and cost no more than a look.
func (s *search) below(ref roost.NodeRef) bool {
	n := &s.p.Nodes[ref]
	in := n.Live.InFlight.Load()
	if n.Live.Pressure(s.now) == 0 && in*roost.WeightOne < int64(s.p.Table.Policy.WalkFloor)*int64(n.Weight) {
		return true
	}
	if s.base == 0 {
		s.base = base(s.p)
	}
	return in < limit(s.base, n, s.now)
}

// two are two of a hot key's homes, different where there are two.
func two(homes []roost.NodeRef, rnd uint64) (a, b roost.NodeRef) {
	n := uint64(len(homes))
	i, j := rnd>>32*n>>32, rnd&(1<<32-1)*(n-1)>>32
	if j >= i && n > 1 {
		j++
	}
	return homes[i], homes[j]
}

// why names the choice of a walk's i-th candidate.
func why(w *roost.Walk, i int, home, crowded bool) roost.Why {
	switch {
	case !home && crowded:
		return roost.WhySpill
	case !home:
		return roost.WhySuccessor
	case w.Cause == roost.Pin:
		return roost.WhyPin
	case w.Cause == roost.HotKey:
		return roost.WhyHot
	case w.Cause != 0:
		return roost.WhyMoved
	case i > 0:
		return roost.WhyNextHome
	}
	return roost.WhyHome
}

// balance takes the less busy of two nodes for a request without a key (the power of two choices: Mitzenmacher, 2001).
// They are drawn as homes of random slots: by weight, and without a list of nodes to draw from.
func (s *search) balance(rnd uint64) choice {
	a := s.draw(rnd, roost.NoNode)
	if a == roost.NoNode {
		return s.desperate(roost.KeyHash(rnd))
	}
	b := s.draw(bits.RotateLeft64(rnd, 32), a)
	if b != roost.NoNode && busy(s.p, b, s.now) < busy(s.p, a, s.now) {
		a = b
	}
	return choice{node: a, why: roost.WhyBalance}
}

// draw is the first open node of a random slot's candidates, but not the one to avoid.
func (s *search) draw(rnd uint64, avoid roost.NodeRef) roost.NodeRef {
	w := s.p.Table.Walk(roost.KeyHash(rnd))
	for {
		ref, _ := w.Next()
		if ref == roost.NoNode || ref != avoid && s.open(ref) {
			return ref
		}
	}
}

// owner is a key's first home, or the first successor when that is agreed to be dead. What this balancer alone thinks
// of the node (a verdict, a hold) does not count: two owners would be worse than none.
func (s *search) owner(k roost.KeyHash) choice {
	p := s.p
	w := p.Table.Walk(k)
	last, lastWhy := roost.NoNode, roost.WhyPanic // the first home, should all be dead
	for i := 0; ; i++ {
		ref, home := w.Next()
		if ref == roost.NoNode {
			break
		}
		if n := &p.Table.Roster[ref]; n.Share == 0 || n.Closed {
			continue
		}
		if !p.Liveness.IsDead(ref) {
			last, lastWhy = ref, why(&w, i, home, false)
			break
		}
		if last == roost.NoNode {
			last = ref
		}
	}
	switch {
	case last == roost.NoNode:
		return choice{refusal: roost.RefusedEmpty}
	case s.t.Has(last):
		return choice{refusal: roost.RefusedOwner}
	case full(p, p.Nodes[last].Live.InFlight.Load(), p.Table.Roster[last].Share):
		return choice{refusal: roost.RefusedFull}
	}
	return choice{node: last, why: lastWhy}
}

// desperate ends a search that found no open node. A node on hold is tried before the request fails; and when no node
// at all takes requests, because health may be wrong about all of them at once (Envoy calls it panic), they are tried
// in the key's order, except those that draining or down keep out.
func (s *search) desperate(k roost.KeyHash) choice {
	switch {
	case s.full:
		return choice{refusal: roost.RefusedFull}
	case s.held != roost.NoNode:
		return choice{node: s.held, why: roost.WhyPanic}
	case s.takers:
		return choice{refusal: roost.RefusedTried}
	}
	p, end := s.p, choice{refusal: roost.RefusedEmpty}
	w := p.Table.Walk(k)
	for {
		ref, _ := w.Next()
		if ref == roost.NoNode {
			return end
		}
		n := &p.Table.Roster[ref]
		switch {
		case n.Share == 0 || n.Closed:
		case s.t.Has(ref):
			if end.refusal == roost.RefusedEmpty {
				end.refusal = roost.RefusedTried
			}
		case full(p, p.Nodes[ref].Live.InFlight.Load(), n.Share):
			end.refusal = roost.RefusedFull
		default:
			return choice{node: ref, why: roost.WhyPanic}
		}
	}
}
