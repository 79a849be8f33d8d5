package control

import (
	"time"

	"roost"
)

// Facts are what Status tells besides live counters. They are immutable: anyone may hold them.
type Facts struct {
	status roost.Status
	pools  []*poolFacts
}

// poolFacts are the facts of one pool, and where its live counters are, in the order of the nodes.
type poolFacts struct {
	status  roost.PoolStatus
	live    *roost.PoolLive
	nodes   []*roost.Live
	removed []bool // told only while anything is still counted in it
}

// show makes the facts anew if any changed.
func (w *World) show() {
	changed := w.facts == nil
	for _, p := range w.pools {
		if p.facts == nil {
			p.facts, changed = p.tell(), true
		}
	}
	if !changed || w.cfg == nil {
		return
	}
	f := &Facts{status: roost.Status{Cluster: w.cfg.Cluster, Config: w.cfg.Digest.String(), Snapshot: w.seq}}
	if w.edits != nil {
		f.status.Revision = w.edits.Rev
	}
	for i := range w.cfg.Listeners {
		l := &w.cfg.Listeners[i]
		f.status.Listeners = append(f.status.Listeners, roost.ListenerStatus{Name: l.Name, Address: l.Address, TLS: l.TLS != nil})
	}
	for _, p := range w.pools {
		f.pools = append(f.pools, p.facts)
	}
	w.facts = f
	w.do(Show{f})
}

// tell makes the facts of one pool.
func (p *pool) tell() *poolFacts {
	t := p.table
	f := &poolFacts{live: p.live, status: roost.PoolStatus{ID: p.conf.ID, Epoch: t.Epoch.String(), Digest: t.Digest.String(),
		Slots: t.Slots(), Homes: int(t.Policy.Homes), Pins: p.pins, Notes: p.notes, Panic: p.panics}}
	f.status.Nodes = make([]roost.NodeStatus, len(p.nodes))
	f.nodes, f.removed = make([]*roost.Live, len(p.nodes)), make([]bool, len(p.nodes))
	for i, n := range p.nodes {
		v := &p.view.Nodes[i]
		s := roost.NodeStatus{ID: n.conf.ID, Address: n.conf.Addr, Zone: n.conf.Zone, Sources: n.sources, Duty: v.Duty.String(), Held: n.held,
			Verdict: n.health.Verdict.String(), Reason: n.health.Reason, Since: time.Unix(0, n.health.Since).UTC(),
			Weight: float64(n.conf.Weight) / roost.WeightOne, Effective: float64(v.Weight) / roost.WeightOne, Slots: p.share[i]}
		if !n.listed {
			s.Sources, s.Held = []string{}, nil
			s.Reason = "removed, with requests or connections still there"
		}
		f.status.Nodes[i], f.nodes[i], f.removed[i] = s, n.live, !n.listed
	}
	return f
}

// Status adds the live counters of this moment; now is in Unix nanoseconds. It leaves to its caller what control does
// not know: Version, Started, Ready, Draining, Store, Reload, and the addresses, connections and certificates that
// listeners really have, retired ones included.
//
// What it returns is its caller's, but for what does not change while a status is looked at and would be copied for
// nothing: a pool's Notes, a node's Sources and Held.
func (f *Facts) Status(now int64) roost.Status {
	s := f.status
	s.Listeners = append([]roost.ListenerStatus{}, s.Listeners...)
	s.Pools = make([]roost.PoolStatus, len(f.pools))
	for i, p := range f.pools {
		s.Pools[i] = p.now(now)
	}
	return s
}

func (f *poolFacts) now(now int64) roost.PoolStatus {
	s := f.status
	s.InFlight, s.Waiting = f.live.InFlight.Load(), f.live.Waiting.Load()
	s.Spills, s.Retries, s.Panics = f.live.Spills.Load(), f.live.Retries.Load(), f.live.Panics.Load()
	s.Nodes = make([]roost.NodeStatus, 0, len(f.nodes))
	for i, l := range f.nodes {
		n := f.status.Nodes[i]
		n.InFlight, n.Connections = l.InFlight.Load(), l.Conns.Load()
		if f.removed[i] && n.InFlight == 0 && n.Connections == 0 {
			continue
		}
		n.Pressure = l.Pressure(now)
		n.Requests, n.ConnectFail, n.Broken, n.Errors = l.Requests.Load(), l.ConnectFail.Load(), l.Broken.Load(), l.Errors.Load()
		s.Nodes = append(s.Nodes, n)
	}
	return s
}
