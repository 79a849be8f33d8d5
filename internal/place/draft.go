package place

import (
	"slices"

	"roost"
)

// draft is a table in the making: each slot's home, by which its first home is meant here, and its row.
//
// Rows follow from homes: a slot's home, then the other nodes by rank. Only a row that a slot's second half
// inherited keeps the order of the whole; nodes that enter it later do so where they rank.
type draft struct {
	ranking
	rows  []roost.Row
	homes []roost.NodeRef // by slot; NoNode while it has none
	held  []int           // by NodeRef: slots whose home it is
	fair  []int           // by NodeRef: its share of slots, rounded down
	full  []int           // by NodeRef: slots at which it is given no more
	most  []int           // by NodeRef: slots above which some are taken away
	moved []bool          // by NodeRef: its places in rows are to be found anew
}

// Slack around a node's share of slots, in hundredths.
const (
	// slackFull is how far a node is filled, and in a first table how little less than its share it gets. Pure
	// rendezvous leaves 64 nodes at up to 1.28 of their share. Keys fall unevenly into slots, too: with a slack of 5
	// above only, 5 of 4,000 sets of ten names gave a node more than 1.15 of 10,000 keys; with 2 both ways, none more
	// than 1.13.
	slackFull = 2
	// slackMost, and one slot, is how far above its share a node may come to stand as shares shrink, before slots leave
	// it for that reason alone. It lies above slackFull so that rounding moves nothing.
	slackMost = 5
)

// emptyRow has no node.
func emptyRow() (r roost.Row) {
	for i := range r {
		r[i] = roost.NoNode
	}
	return r
}

func newDraft(t *roost.Table) *draft {
	n := len(t.Roster)
	return &draft{
		ranking: newRanking(t),
		rows:    slices.Repeat([]roost.Row{emptyRow()}, t.Slots()),
		homes:   slices.Repeat([]roost.NodeRef{roost.NoNode}, t.Slots()),
		held:    make([]int, n),
		fair:    make([]int, n),
		full:    make([]int, n),
		most:    make([]int, n),
		moved:   make([]bool, n),
	}
}

// measure sets what the nodes for which in holds are to have of the slots; others are to have none.
func (d *draft) measure(in func(roost.NodeRef) bool) {
	var sum uint64
	for _, c := range d.nodes {
		if in(c.ref) {
			sum += uint64(c.weight)
		}
	}
	for _, c := range d.nodes {
		if !in(c.ref) {
			continue
		}
		share := uint64(len(d.rows)) * uint64(c.weight) // at most 2^42
		above := func(slack uint64) int { return int((share*(100+slack) + 100*sum - 1) / (100 * sum)) }
		d.fair[c.ref] = int(share / sum)
		d.full[c.ref] = above(slackFull)
		d.most[c.ref] = above(slackMost) + 1
	}
}

// first gives every slot its home from nothing: the best node, but for what is over a node's slack or missing below it.
func (d *draft) first() {
	d.measure(func(roost.NodeRef) bool { return true })
	for slot := range d.rows {
		d.best(uint32(slot), d.rows[slot][:], none)
		d.settle(uint32(slot), d.rows[slot][0])
	}
	d.shed(d.full)
	for _, c := range d.nodes {
		least := min(1, d.fair[c.ref]) // with none, the next table would give it one, although nothing changed
		d.take(c.ref, max(least, d.fair[c.ref]*(100-slackFull)/100))
	}
}

func none(roost.NodeRef) bool { return false }

// inherit takes over homes and rows from the table before, each slot split into as many as the new table has.
// changed are the nodes whose share differs. It returns false, and does nothing, when no home is left.
func (d *draft) inherit(prev *roost.Table, changed []roost.NodeRef) bool {
	lives := func(ref roost.NodeRef) bool { return ref != roost.NoNode && d.roster[ref].Share > 0 }
	left := func(p *roost.Page) bool {
		return slices.ContainsFunc(p.Rows[:], func(r roost.Row) bool { return lives(r[0]) })
	}
	if !slices.ContainsFunc(prev.Pages, left) {
		return false
	}
	for _, ref := range changed {
		d.moved[ref] = true
	}
	for slot := range d.rows {
		row := *prev.Row(uint32(slot) >> (d.bits - prev.SlotBits))
		d.rows[slot] = row
		if lives(row[0]) {
			d.settle(uint32(slot), row[0])
		}
		d.reorder(uint32(slot), changed)
	}
	clear(d.moved)
	return true
}

// settle makes ref the home of a slot that has none.
func (d *draft) settle(slot uint32, ref roost.NodeRef) {
	if ref != roost.NoNode {
		d.homes[slot] = ref
		d.held[ref]++
	}
}

// move makes ref a slot's home. The one before goes back to its rank among the others.
func (d *draft) move(slot uint32, ref roost.NodeRef) {
	old := d.homes[slot]
	d.settle(slot, ref)
	if old == roost.NoNode {
		d.reorder(slot, nil)
		return
	}
	d.held[old]--
	d.moved[old] = true
	d.reorder(slot, []roost.NodeRef{old})
	d.moved[old] = false
}

// reorder makes a slot's row anew: its home, if it has one; then of the others those that still have a share, in their
// order; the moved ones among them where they rank; and at the end the best of the rest.
func (d *draft) reorder(slot uint32, moved []roost.NodeRef) {
	old, row, n := d.rows[slot], emptyRow(), 0
	home := d.homes[slot]
	if home != roost.NoNode {
		row[0], n = home, 1
	}
	head := n
	for _, ref := range old {
		if ref != roost.NoNode && ref != home && d.roster[ref].Share > 0 && !d.moved[ref] && n < roost.RowLen {
			row[n] = ref
			n++
		}
	}
	for _, ref := range moved {
		if ref == home || d.roster[ref].Share == 0 {
			continue
		}
		i := n
		for i > head && d.beats(slot, ref, row[i-1]) {
			i--
		}
		if i < n { // behind all that stay, the rest may be better
			n = min(n+1, roost.RowLen)
			copy(row[i+1:n], row[i:n])
			row[i] = ref
		}
	}
	if n < roost.RowLen && n < len(d.nodes) {
		d.best(slot, row[n:], func(ref roost.NodeRef) bool { return slices.Contains(row[:n], ref) })
	}
	d.rows[slot] = row
}
