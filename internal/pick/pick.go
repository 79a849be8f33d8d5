// Package pick chooses the node for one attempt and says what follows when the attempt ended.
//
// Guarantee: no lock, no allocation, no wait. A node at its limit is not chosen while one below its limit can be; a
// node at its hard limit never is; a key of a pool with an owner goes to nobody else.
//
// Trap: what Begin counted in, Next or End must count out, exactly once.
package pick

import "roost"

// Begin chooses a node for an attempt and counts it in: node and pool have one more request in flight, and t has the
// node. k is the request's key, or nil; its Hash is computed when it is 0. t belongs to the exchange: its nodes are
// avoided. rnd is any random number, now is in Unix nanoseconds. A refusal counts nothing, but leaves the caller free
// to ask again.
//
// Reading the counters and adding to them are two steps. Requests that choose at the same moment do not see each other,
// so a limit may be passed by as many as choose at once, less one: at most one for each running thread. The limits
// bound queues, not correctness, and exactness would cost a compare-and-swap loop on the hottest cache lines.
func Begin(p *roost.PoolView, k *roost.Key, t *roost.Tried, rnd uint64, now int64) (roost.Attempt, roost.Refusal) {
	s := search{p: p, t: t, now: now, held: roost.NoNode}
	var c choice
	if k == nil {
		c = s.balance(rnd)
	} else {
		if k.Hash == 0 {
			k.Hash = p.Table.Hash.Sum(k.Bytes)
		}
		if p.Table.Policy.Owner == roost.Shared {
			c = s.home(k.Hash, rnd)
		} else {
			c = s.owner(k.Hash)
		}
	}
	if c.refusal != roost.NotRefused {
		return roost.Attempt{}, c.refusal
	}
	return s.start(c), roost.NotRefused
}

// start counts the chosen attempt in.
func (s *search) start(c choice) roost.Attempt {
	p, n := s.p, &s.p.Nodes[c.node]
	fresh := s.t.Forgave()
	switch {
	case c.why == roost.WhyPanic:
		p.Live.Panics.Add(1)
	case s.t.N > 0:
		c.why = roost.WhyRetry
	}
	if s.t.N == 0 {
		p.Live.Budget.Earn()
	}
	if c.spilled {
		p.Live.Spills.Add(1)
	}
	try := s.t.N
	s.t.Add(c.node)
	n.Live.InFlight.Add(1)
	p.Live.InFlight.Add(1)
	return roost.Attempt{Live: n.Live, Pool: p.Live, Node: c.node, ID: n.ID, Addr: n.Addr, Why: c.why, Try: try, Fresh: fresh,
		Epoch: p.Table.Epoch}
}

// End counts an attempt out; a second call only counts itself, as the bug that it is. With wake a request waits for
// room in the pool. After Next, which calls End, ask Attempt.Pool.Waiting.
//
// A request that was refused for want of room counts itself in Waiting first and asks Begin again after that: else the
// last attempt could end in between and wake nobody.
func End(a *roost.Attempt) (wake bool) {
	if a.Ended {
		a.Live.DoubleEnds.Add(1)
		return false
	}
	a.Ended = true
	a.Live.InFlight.Add(-1)
	a.Pool.InFlight.Add(-1)
	return a.Pool.Waiting.Load() > 0
}
