package control

import (
	"errors"
	"log/slog"
	"slices"

	"roost"
	"roost/internal/place"
)

// tables builds the next table of every pool; one that needs no change is the one it has. They have no voters: a cluster of
// one has nobody to succeed it.
func (w *World) tables(cluster string, pools []roost.Pool) ([]*roost.Table, error) {
	now := make(map[roost.PoolID]*pool, len(w.pools))
	for _, p := range w.pools {
		now[p.conf.ID] = p
	}
	hash := place.HashFor(cluster)
	next := make([]*roost.Table, len(pools))
	var errs []error
	for i := range pools {
		c := &pools[i]
		in := place.Input{Pool: c.ID, Hash: hash, Policy: c.Intent.Policy, Nodes: c.Intent.Nodes, Pins: c.Intent.Pins}
		t, err := (*roost.Table)(nil), error(nil)
		switch p, restored := now[c.ID], w.restored[c.ID]; {
		case p != nil && p.table.Hash == hash && alike(&p.conf.Intent, &c.Intent):
			t = p.table // what a table costs to build is felt by the probes that wait meanwhile
		case p != nil:
			t, err = place.Build(p.table, in)
		case restored != nil:
			if t, err = place.Build(restored, in); err == nil {
				break
			}
			w.log(slog.LevelWarn, "the restored table cannot be followed: keys are placed anew", slog.String("pool", string(c.ID)), slog.Any("error", err))
			fallthrough
		default:
			t, err = place.Build(nil, in)
		}
		if err != nil {
			errs = append(errs, err) // says which pool
		}
		next[i] = t
	}
	return next, errors.Join(errs...)
}

// alike tells that two intents give the same table. It may be wrong about those that differ in order alone.
func alike(a, b *roost.Intent) bool {
	node := func(a, b roost.Node) bool {
		open := func(n *roost.Node) bool { return roost.DutyOf(n.Holds) < roost.DutyDraining }
		return a.ID == b.ID && a.Weight == b.Weight && a.Zone == b.Zone && open(&a) == open(&b)
	}
	pin := func(a, b roost.PinIntent) bool {
		return a.Key == b.Key && a.Homes == b.Homes && slices.Equal(a.Nodes, b.Nodes)
	}
	return a.Policy == b.Policy && slices.EqualFunc(a.Nodes, b.Nodes, node) && slices.EqualFunc(a.Pins, b.Pins, pin)
}

// stamp gives a table that is about to be published its epoch: later than all that this process published, and a term
// later than what the process before left.
func (w *World) stamp(t *roost.Table) *roost.Table {
	w.epoch++
	last := w.ended[t.Pool]
	stamped := *t // it may be the restored one, which is not ours
	stamped.Epoch = roost.Epoch{Era: max(1, last.Era), Term: last.Term + 1, Seq: w.epoch, Leader: w.self}
	return &stamped
}
