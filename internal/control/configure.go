package control

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"roost"
	"roost/internal/place"
)

// configure takes cfg as a whole or not at all: everything that can fail is done before anything changes.
func (w *World) configure(now int64, cfg *roost.Config) {
	if err := w.take(now, cfg); err != nil {
		w.do(Refuse{fmt.Errorf("apply configuration %v: %w", cfg.Digest, err)})
	}
}

func (w *World) take(now int64, cfg *roost.Config) error {
	if err := check(cfg); err != nil {
		return err
	}
	tables, err := w.tables(cfg)
	if err != nil {
		return err
	}

	old := w.pools
	w.cfg, w.listeners, w.pools = cfg, listeners(cfg), make([]*pool, len(cfg.Pools))
	for i := range cfg.Pools {
		p := w.claim(&old, cfg.Pools[i].ID)
		w.fold(now, p, &cfg.Pools[i], tables[i])
		w.pools[i] = p
	}
	for _, p := range old {
		p.leave()
		w.leaving = append(w.leaving, p)
	}
	w.facts = nil
	w.publish(now)
	w.do(Targets{w.targets()})
	w.log(slog.LevelInfo, "configuration applied", slog.String("digest", cfg.Digest.String()),
		slog.Int("listeners", len(cfg.Listeners)), slog.Int("pools", len(cfg.Pools)))
	return nil
}

// check asks of a configuration what a snapshot rests on: package config has said everything that people can get wrong.
func check(cfg *roost.Config) error {
	if len(cfg.Pools) > math.MaxUint16 {
		return fmt.Errorf("%d pools; at most %d", len(cfg.Pools), math.MaxUint16)
	}
	var errs []error
	given := map[roost.PoolID]bool{}
	for i := range cfg.Pools {
		id := cfg.Pools[i].ID
		if given[id] {
			errs = append(errs, fmt.Errorf("pool %q is given twice", id))
		}
		given[id] = true
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		for _, r := range l.Routes {
			if int(r.Pool) >= len(cfg.Pools) || cfg.Pools[r.Pool].ID != r.PoolID {
				errs = append(errs, fmt.Errorf("listener %s: route %s: pool %d is not %q", l.Name, r.Name, r.Pool, r.PoolID))
			}
		}
	}
	return errors.Join(errs...)
}

// listeners makes the views of the listeners. The routes are the configuration's own: others know them by address.
func listeners(cfg *roost.Config) []roost.ListenerView {
	views := make([]roost.ListenerView, len(cfg.Listeners))
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		views[i] = roost.ListenerView{Name: l.Name, Settings: l.Settings, Routes: l.Routes, Want: l.Want}
	}
	return views
}

// tables builds the next table of every pool; one that needs no change is the one it has. They have no voters: a cluster of
// one has nobody to succeed it.
func (w *World) tables(cfg *roost.Config) ([]*roost.Table, error) {
	now := make(map[roost.PoolID]*roost.Table, len(w.pools))
	for _, p := range w.pools {
		now[p.conf.ID] = p.table
	}
	hash := place.HashFor(cfg.Cluster)
	next := make([]*roost.Table, len(cfg.Pools))
	var errs []error
	for i := range cfg.Pools {
		c := &cfg.Pools[i]
		t, err := place.Build(now[c.ID], place.Input{Pool: c.ID, Hash: hash, Policy: c.Intent.Policy, Nodes: c.Intent.Nodes, Pins: c.Intent.Pins})
		if err != nil {
			errs = append(errs, err) // says which pool
		}
		next[i] = t
	}
	return next, errors.Join(errs...)
}

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

// fold makes p what the configuration and its table say.
func (w *World) fold(now int64, p *pool, conf *roost.Pool, t *roost.Table) {
	p.conf, p.alone = *conf, conf.Health
	p.alone.Kind = roost.HealthNone
	fresh := t != p.table
	if fresh {
		w.epoch++
		t.Epoch = roost.Epoch{Era: 1, Term: 1, Seq: w.epoch, Leader: w.self}
		p.table = t
		p.share, p.pins = slots(t)
	}
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
		c := listed[id]
		if c != nil && (!n.listed || n.conf.Addr != c.Addr) {
			n.reset(now)
		}
		if n.ref, n.listed = roost.NodeRef(i), c != nil; c != nil {
			n.conf = *c
		}
		p.nodes[i] = n
	}
	w.view(now, p)
	if fresh {
		w.log(slog.LevelInfo, "new table", slog.String("pool", string(conf.ID)), slog.String("epoch", t.Epoch.String()),
			slog.String("digest", t.Digest.String()), slog.Int("nodes", len(listed)), slog.Int("slots", t.Slots()), slog.Int("pins", p.pins))
	}
}

// leave keeps of a pool that is out of the configuration only what is still counted in.
func (p *pool) leave() {
	p.table, p.share, p.nodes, p.view, p.panics, p.facts = nil, nil, nil, roost.PoolView{}, false, nil
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
