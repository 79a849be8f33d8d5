package control

import (
	"log/slog"
	"slices"
	"time"

	"roost"
)

// claim takes the pool from those that are in use or leaving, or makes it: live counters go on wherever anything is
// counted in them.
func (w *World) claim(old *[]*pool, id roost.PoolID) *pool {
	for _, from := range []*[]*pool{old, &w.leaving} {
		for i, p := range *from {
			if p.conf.ID == id {
				*from = append((*from)[:i:i], (*from)[i+1:]...)
				return p
			}
		}
	}
	return &pool{live: &roost.PoolLive{}, known: map[roost.NodeID]*node{}}
}

// fold makes p what the merged pool and its table say.
func (w *World) fold(now int64, p *pool, conf *roost.Pool, t *roost.Table, notes []string) {
	p.conf, p.alone = *conf, conf.Health
	p.alone.Kind = roost.HealthNone
	if t != p.table {
		p.table = w.stamp(t)
		p.share, p.pins = slots(t)
		message := "new table"
		if r := w.restored[conf.ID]; r != nil && r.Digest == t.Digest {
			message = "table restored: every key stays where it was"
		}
		delete(w.restored, conf.ID)
		w.log(slog.LevelInfo, message, slog.String("pool", string(conf.ID)), slog.String("epoch", p.table.Epoch.String()),
			slog.String("digest", t.Digest.String()), slog.Int("nodes", len(conf.Intent.Nodes)), slog.Int("slots", t.Slots()), slog.Int("pins", p.pins))
	}
	for _, note := range notes {
		if !slices.Contains(p.notes, note) {
			w.log(slog.LevelWarn, "what is wished for a pool cannot be used", slog.String("pool", string(conf.ID)), slog.String("note", note))
		}
	}
	p.notes = notes
	listed := make(map[roost.NodeID]*roost.Node, len(conf.Intent.Nodes))
	for i := range conf.Intent.Nodes {
		listed[conf.Intent.Nodes[i].ID] = &conf.Intent.Nodes[i]
	}
	p.nodes = make([]*node, len(t.Roster))
	for i := range t.Roster {
		id := t.Roster[i].ID
		n := p.known[id]
		if n == nil {
			n = &node{conf: roost.Node{ID: id}, live: &roost.Live{}}
			p.known[id] = n
		}
		n.ref = roost.NodeRef(i)
		w.enlist(now, p, n, listed[id])
		p.nodes[i] = n
	}
	w.view(now, p)
}

// enlist takes what is listed of n now, nil when nothing is.
func (w *World) enlist(now int64, p *pool, n *node, c *roost.Node) {
	if c == nil {
		n.listed = false
		return
	}
	was := roost.Up
	if n.listed {
		was = roost.DutyOf(n.conf.Holds)
	}
	if !n.listed || n.conf.Addr != c.Addr {
		n.reset(now)
	}
	n.listed, n.conf = true, *c
	n.sources, n.held = kinds(c.Sources), held(c.Holds)
	duty := roost.DutyOf(c.Holds)
	if duty == was {
		return
	}
	attrs := n.attrs(p)
	if n.held != nil {
		if attrs = append(attrs, slog.String("cause", n.held.Cause)); n.held.Deadline != nil {
			attrs = append(attrs, slog.Time("deadline", *n.held.Deadline))
		}
	}
	w.log(slog.LevelInfo, "node is "+duty.String(), attrs...)
}

// kinds are the kinds of sources, each once.
func kinds(sources []roost.Source) []string {
	kinds := make([]string, 0, len(sources))
	for _, s := range sources {
		if !slices.Contains(kinds, s.Kind) {
			kinds = append(kinds, s.Kind)
		}
	}
	return kinds
}

// held is the hold that decides the duty, or nil.
func held(holds []roost.Hold) *roost.Held {
	duty := roost.DutyOf(holds)
	for _, h := range holds {
		if roost.DutyOf([]roost.Hold{h}) != duty {
			continue
		}
		told := &roost.Held{Cause: h.Cause, Since: time.Unix(0, int64(h.Since.Wall)).UTC()}
		if at, ok := h.CutAt(); ok {
			deadline := time.Unix(0, at).UTC()
			told.Deadline = &deadline
		}
		return told
	}
	return nil
}

// leave keeps of a pool that is out of the configuration only what is still counted in.
func (p *pool) leave() {
	p.table, p.share, p.nodes, p.notes, p.view, p.panics, p.facts = nil, nil, nil, nil, roost.PoolView{}, false, nil
	p.forget()
}

// targets are the nodes to probe.
func (w *World) targets() []roost.Target {
	var ts []roost.Target
	for _, p := range w.pools {
		for _, n := range p.nodes {
			if n.listed && p.rules(n).Kind != roost.HealthNone {
				ts = append(ts, roost.Target{Pool: p.conf.ID, Node: n.conf.ID, Addr: n.conf.Addr, Settings: p.conf.Health})
			}
		}
	}
	return ts
}
