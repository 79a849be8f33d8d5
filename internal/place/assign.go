package place

import (
	"cmp"
	"slices"

	"roost"
)

// follow gives their share to nodes that gained weight since prev, and homes to the slots that lost theirs. A node that
// came while it was draining has no share until that ends: its keys would only go on to others.
func (d *draft) follow(prev *roost.Table) {
	in := func(ref roost.NodeRef) bool { return d.held[ref] > 0 || !d.roster[ref].Closed }
	d.measure(in)
	for i, n := range d.roster {
		ref, before := roost.NodeRef(i), uint32(0)
		if i < len(prev.Roster) {
			before = prev.Roster[i].Share
		}
		if n.Share > before && in(ref) || d.held[ref] == 0 {
			d.take(ref, d.fair[ref])
		}
	}
	for slot, home := range d.homes {
		if home == roost.NoNode {
			d.move(uint32(slot), d.next(uint32(slot)))
		}
	}
	d.shed(d.most)
}

// next is the first node in a slot's order, after its home, that is not full. There is one: together, full nodes hold
// more than all slots.
func (d *draft) next(slot uint32) roost.NodeRef {
	full := func(ref roost.NodeRef) bool { return d.held[ref] >= d.full[ref] }
	for _, ref := range d.rows[slot] {
		if ref == roost.NoNode {
			break
		}
		if !full(ref) {
			return ref
		}
	}
	var ref [1]roost.NodeRef
	if d.best(slot, ref[:], full) == 0 {
		panic("place: every node is full")
	}
	return ref[0]
}

// shed moves slots away from nodes that hold more than the limit, until they are no more than full: those where the
// node drew worst, each to the next node that is not full.
func (d *draft) shed(limit []int) {
	var leave []uint32
	for _, c := range d.nodes {
		if d.held[c.ref] <= limit[c.ref] {
			continue
		}
		var own []uint32
		for slot, home := range d.homes {
			if home == c.ref {
				own = append(own, uint32(slot))
			}
		}
		slices.SortFunc(own, func(a, b uint32) int {
			return cmp.Or(cmp.Compare(d.hash(a, c.ref), d.hash(b, c.ref)), cmp.Compare(a, b))
		})
		leave = append(leave, own[:len(own)-d.full[c.ref]]...)
	}
	slices.Sort(leave) // the order of nodes must not matter
	for _, slot := range leave {
		d.move(slot, d.next(slot))
	}
}

// take gives a node slots until it holds enough: first those without a home, then those of nodes that are over-full,
// then of nodes above their share. Of each it takes those where it ranks best.
func (d *draft) take(ref roost.NodeRef, enough int) {
	homeless := func(home roost.NodeRef) bool { return home == roost.NoNode }
	above := func(limit []int) func(roost.NodeRef) bool {
		return func(home roost.NodeRef) bool { return home != roost.NoNode && d.held[home] > limit[home] }
	}
	for _, step := range []struct {
		near bool // only slots with the node in their row
		from func(home roost.NodeRef) bool
	}{
		{true, homeless},
		{false, homeless}, // they move in any case
		{true, above(d.full)},
		{false, above(d.most)}, // else they would go to others
		{true, above(d.fair)},
		{false, above(d.fair)},
	} {
		if d.held[ref] >= enough {
			return
		}
		for _, w := range d.wishes(ref, step.near, step.from) {
			if d.held[ref] < enough && step.from(d.homes[w.slot]) {
				d.move(w.slot, ref)
			}
		}
	}
}

// wish is a slot that a node would take.
type wish struct {
	slot uint32
	rank int    // how many of the slot's row rank before the node
	hash uint64 // of the node in the slot
}

// wishes are the slots of others that a node would take, the best first: near, of those with the node in their row;
// else of the remaining ones.
func (d *draft) wishes(ref roost.NodeRef, near bool, from func(home roost.NodeRef) bool) []wish {
	var out []wish
	for s, home := range d.homes {
		if home == ref || !from(home) {
			continue
		}
		slot, rank := uint32(s), slices.Index(d.rows[s][:], ref)
		if (rank >= 0) != near {
			continue
		}
		if near && home != roost.NoNode && d.beats(slot, ref, home) {
			rank-- // the home stands first whatever its rank
		}
		out = append(out, wish{slot, rank, d.hash(slot, ref)})
	}
	slices.SortFunc(out, func(a, b wish) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.hash, a.hash), cmp.Compare(a.slot, b.slot))
	})
	return out
}
