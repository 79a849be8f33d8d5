// Package place builds the tables of pools: which nodes are the homes of which slots.
//
// Guarantee: the same input gives the same table, bit for bit, on every platform: only integers are used. A later table
// moves only what must move, and no node is the first home of more than its share of slots and a small slack.
//
// Trap: a table is history. Only a first table is a function of the nodes alone; later ones depend on the table before,
// so balancers copy tables and do not each compute their own.
package place

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"slices"

	"roost"
)

// Input is all that a table is built from, besides the table before it. The order of Nodes and Pins has no meaning.
type Input struct {
	Pool   roost.PoolID
	Hash   roost.Hash
	Policy roost.Policy
	Nodes  []roost.Node
	Pins   []roost.PinIntent
	Voters []roost.MemberID
}

// SlotsPerNode is how many slots a table has for each node, at least: a slot is then at most 1.6 % of a node's load,
// the grain by which load can be moved. Slicer keeps 50 to 150, Dicer 32 to 64.
const SlotsPerNode = 64

// HashFor derives a cluster's default hash from its name, so that balancers that share no more than flags agree.
func HashFor(cluster string) roost.Hash {
	h := roost.Hash{Algo: roost.SipHash13}
	sum := sha256.Sum256([]byte("roost hash key v1\x00" + cluster))
	copy(h.Key[:], sum[:])
	return h
}

// Build makes the table that follows prev; with prev nil, the first one. It returns prev itself when nothing changed.
// The epoch is prev's: who publishes the table stamps a new one. The errors name what is wrong in the input.
//
// A first table ranks all nodes in each slot by weighted rendezvous hashing (Thaler and Ravishankar, 1998). A slot's
// first home is the best of them, but for the few slots that keep every node within 2 % of its share. Later:
//   - slots double in place as nodes are added, and keep their rows;
//   - a removed node's slots go each to the next candidate that is not full, and only they move;
//   - a node that came, came back or gained weight takes slots, up to its share, where it ranks best, from nodes above
//     theirs, and nothing else moves;
//   - a node that lost weight gives its excess away;
//   - draining, down, pins and policy move no slot.
//
// In every table a node is first home of at most 1.05 of its share of slots, rounded up, and one more.
//
// A removed node stays in the roster with no share, so that its NodeRef is never given to another; it takes it up again
// when it comes back. A roster thus grows by every name that was ever used. At roost.MaxNodes Build refuses further
// names: dropping the old ones renumbers all nodes, which is a new era.
//
// The cost is that of looking at every node in every slot once for a first table, and little more than that of looking
// at every slot once for a later one.
func Build(prev *roost.Table, in Input) (*roost.Table, error) {
	if prev != nil && prev.Pool != in.Pool {
		return nil, fmt.Errorf("build table of pool %q: the table before is of pool %q", in.Pool, prev.Pool)
	}
	t, err := build(prev, &in)
	if err != nil {
		return nil, fmt.Errorf("build table of pool %q: %w", in.Pool, err)
	}
	if prev != nil && t.Digest == prev.Digest {
		return prev, nil
	}
	return t, nil
}

func build(prev *roost.Table, in *Input) (*roost.Table, error) {
	if err := check(in); err != nil {
		return nil, err
	}
	roster, changed, err := enroll(prev, in.Nodes)
	if err != nil {
		return nil, err
	}
	t := &roost.Table{
		Pool:     in.Pool,
		Hash:     in.Hash,
		Policy:   in.Policy,
		Voters:   slices.Clone(in.Voters),
		Roster:   roster,
		SlotBits: slotBits(len(in.Nodes)),
		Stride:   strides(len(roster)),
	}
	if prev != nil {
		t.Epoch = prev.Epoch
		t.SlotBits = max(t.SlotBits, prev.SlotBits)
	}
	d := newDraft(t)
	if prev == nil || prev.Hash != in.Hash || !d.inherit(prev, changed) {
		d.first()
	} else {
		d.follow(prev)
	}
	t.Pages = d.pages()
	if err := except(t, prev, in.Pins); err != nil {
		return nil, err
	}
	share(t, prev)
	t.Digest = digest(t)
	return t, nil
}

func check(in *Input) error {
	if in.Hash.Algo != roost.SipHash13 {
		return fmt.Errorf("hash algorithm %d is unknown", in.Hash.Algo)
	}
	if h := in.Policy.Homes; h < 1 || h > roost.MaxHomes {
		return fmt.Errorf("%d homes: give 1 to %d", h, roost.MaxHomes)
	}
	return nil
}

// enroll makes the roster: nodes of the table before keep their places, new ones follow by name. changed are the nodes
// whose share is not what it was.
func enroll(prev *roost.Table, nodes []roost.Node) (roster []roost.RosterNode, changed []roost.NodeRef, err error) {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b roost.Node) int { return cmp.Compare(a.ID, b.ID) })
	refs := map[roost.NodeID]int{}
	if prev != nil {
		roster = slices.Clone(prev.Roster)
		for ref := range roster {
			roster[ref].Share = 0
			refs[roster[ref].ID] = ref
		}
	}
	for i, n := range nodes {
		switch {
		case n.ID == "":
			return nil, nil, fmt.Errorf("a node at %q has no id", n.Addr)
		case i > 0 && nodes[i-1].ID == n.ID:
			return nil, nil, fmt.Errorf("node %q is listed twice", n.ID)
		case n.Weight < 1 || n.Weight > roost.MaxWeight:
			return nil, nil, fmt.Errorf("node %q weighs %d thousandths: give 1 to %d", n.ID, n.Weight, roost.MaxWeight)
		}
		ref, ok := refs[n.ID]
		if !ok {
			if ref = len(roster); ref == roost.MaxNodes {
				return nil, nil, fmt.Errorf("node %q is one too many: a pool has names for %d, removed ones included",
					n.ID, roost.MaxNodes)
			}
			roster = append(roster, roost.RosterNode{})
		}
		closed := roost.DutyOf(n.Holds) >= roost.DutyDraining
		roster[ref] = roost.RosterNode{ID: n.ID, Share: n.Weight, Closed: closed, Zone: n.Zone}
	}
	for ref := range roster {
		if prev == nil || ref >= len(prev.Roster) || roster[ref].Share != prev.Roster[ref].Share {
			changed = append(changed, roost.NodeRef(ref))
		}
	}
	return roster, changed, nil
}

func slotBits(nodes int) uint8 {
	return uint8(min(max(bits.Len(uint(max(1, nodes)*SlotsPerNode-1)), roost.MinSlotBits), roost.MaxSlotBits))
}

// strides are up to MaxStrides numbers coprime to n, spread over 1 to n-1.
func strides(n int) []uint32 {
	var out []uint32
	for i := range roost.MaxStrides {
		s := 1 + i*n/roost.MaxStrides
		for s < n && gcd(s, n) != 1 {
			s++
		}
		if (s < n || n == 1) && !slices.Contains(out, uint32(s)) {
			out = append(out, uint32(s))
		}
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
