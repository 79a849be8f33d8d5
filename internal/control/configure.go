package control

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"

	"roost"
	"roost/internal/intent"
)

// configure takes cfg as a whole or not at all. Edits and listings stay.
func (w *World) configure(now int64, cfg *roost.Config) {
	err := check(cfg)
	if err == nil {
		err = w.turn(now, cfg, w.edits, w.listed)
	}
	if err != nil {
		w.do(Refuse{fmt.Errorf("apply configuration %v: %w", cfg.Digest, err)})
		return
	}
	w.log(slog.LevelInfo, "configuration applied", slog.String("digest", cfg.Digest.String()),
		slog.Int("listeners", len(cfg.Listeners)), slog.Int("pools", len(cfg.Pools)))
}

// edit takes the edits as a whole or not at all.
func (w *World) edit(now int64, e *roost.Edits) {
	if e == nil {
		e = &roost.Edits{} // nothing was ever changed
	}
	if w.cfg == nil {
		w.edits = e
		return
	}
	if err := w.turn(now, w.cfg, e, w.listed); err != nil {
		w.do(Refuse{fmt.Errorf("apply the changes of revision %d: %w", e.Rev, err)})
		return
	}
	// What changed, and by whom, is for those to say who took the change.
	w.log(slog.LevelDebug, "changes applied", slog.Uint64("revision", e.Rev))
}

// list takes what a source lists in one pool. Sources that are asked again and again mostly say the same.
func (w *World) list(now int64, l roost.Listing) {
	i := slices.IndexFunc(w.listed, func(o roost.Listing) bool {
		return o.Pool == l.Pool && o.Source.Kind == l.Source.Kind && o.Source.From == l.Source.From
	})
	listed, was := slices.Clone(w.listed), []roost.Node(nil)
	if i >= 0 {
		was = w.listed[i].Nodes
		listed = slices.Delete(listed, i, i+1)
	}
	if len(was) == len(l.Nodes) && (len(was) == 0 || reflect.DeepEqual(was, l.Nodes)) {
		return
	}
	if len(l.Nodes) > 0 {
		listed = append(listed, l)
	}
	if w.cfg == nil {
		w.listed = listed
		return
	}
	if err := w.turn(now, w.cfg, w.edits, listed); err != nil {
		w.do(Refuse{fmt.Errorf("apply what %s lists in pool %q: %w", l.Source.Kind, l.Pool, err)})
		return
	}
	w.log(slog.LevelInfo, "listing applied", slog.String("source", l.Source.Kind), slog.String("pool", string(l.Pool)),
		slog.Int("nodes", len(l.Nodes)), slog.Int("before", len(was)))
}

// turn makes the world what configuration, edits and listings say together. Everything that can fail is done before
// anything changes.
func (w *World) turn(now int64, cfg *roost.Config, e *roost.Edits, listed []roost.Listing) error {
	merged, notes := intent.Merge(cfg, e, listed, now)
	tables, err := w.tables(cfg.Cluster, merged)
	if err != nil {
		return err
	}

	if cfg != w.cfg {
		w.listeners = views(w.listeners, cfg)
		w.do(Listeners{w.listeners})
	}
	w.cfg, w.edits, w.listed, w.due = cfg, e, listed, nextCut(merged)
	old := w.pools
	w.pools = make([]*pool, len(merged))
	var fresh []*roost.Table
	for i := range merged {
		p := w.claim(&old, merged[i].ID)
		before := p.table
		w.fold(now, p, &merged[i], tables[i], notes[merged[i].ID])
		if p.table != before {
			fresh = append(fresh, p.table)
		}
		w.pools[i] = p
	}
	for _, p := range old {
		p.leave()
		w.leaving = append(w.leaving, p)
	}
	w.facts = nil
	w.publish(now)
	for _, t := range fresh {
		w.do(Keep{t})
	}
	w.do(Targets{w.targets()})
	return nil
}

// nextCut is when the next deadline of a drain passes.
func nextCut(pools []roost.Pool) int64 {
	next := int64(never)
	for i := range pools {
		for j := range pools[i].Intent.Nodes {
			for _, h := range pools[i].Intent.Nodes[j].Holds {
				if at, ok := h.CutAt(); ok && h.Kind == roost.Draining {
					next = min(next, at)
				}
			}
		}
	}
	return next
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
	ids := map[roost.ListenerID]string{}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if name, taken := ids[l.ID]; taken {
			errs = append(errs, fmt.Errorf("listener %s: its id %d is that of listener %s", l.Name, l.ID, name))
		}
		ids[l.ID] = l.Name
		for _, r := range l.Routes {
			if int(r.Pool) >= len(cfg.Pools) || cfg.Pools[r.Pool].ID != r.PoolID {
				errs = append(errs, fmt.Errorf("listener %s: route %s: pool %d is not %q", l.Name, r.Name, r.Pool, r.PoolID))
			}
		}
	}
	return errors.Join(errs...)
}
