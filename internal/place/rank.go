package place

import (
	"math/bits"
	"slices"

	"roost"
)

// ranking orders the nodes of a pool in each slot by weighted rendezvous hashing: a node with weight w and a number u
// drawn evenly from (0, 1] by hashing slot and node ranks by -log2(u)/w, the smallest first. It is the first with a
// probability in proportion to its weight, and what one node does never changes the order of two others (Efraimidis and
// Spirakis, 2006; Schindler and Karoulis, 2005, the logarithmic method).
type ranking struct {
	roster   []roost.RosterNode
	seeds    []uint64    // by NodeRef
	nodes    []contender // with a share, the heaviest first
	weighted bool        // not all weigh the same
	bits     uint8       // of slots
}

// contender is a node as the inner loop wants it.
type contender struct {
	seed   uint64
	weight uint32
	ref    roost.NodeRef
}

// draw is what a node drew in one slot: the larger hash is the better for nodes of one weight.
type draw struct {
	contender
	hash uint64
	cost uint64 // -log2 of the draw in units of 2^-32, when weights differ
}

func newRanking(t *roost.Table) ranking {
	k := ranking{roster: t.Roster, seeds: make([]uint64, len(t.Roster)), bits: t.SlotBits}
	for ref, n := range t.Roster {
		k.seeds[ref] = uint64(t.Hash.Sum([]byte("roost node v1\x00" + n.ID)))
		if n.Share > 0 {
			k.nodes = append(k.nodes, contender{k.seeds[ref], n.Share, roost.NodeRef(ref)})
			k.weighted = k.weighted || n.Share != k.nodes[0].weight
		}
	}
	// The heaviest first: they raise the bar of best early.
	slices.SortStableFunc(k.nodes, func(a, b contender) int { return int(b.weight) - int(a.weight) })
	return k
}

// slotSeed depends on where the slot's keys begin, so that the first of the two halves of a slot ranks as the whole
// did.
func (k *ranking) slotSeed(slot uint32) uint64 {
	return mix(uint64(slot)<<(64-k.bits) + 0x9e3779b97f4a7c15)
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014; constants of Stafford's variant 13).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash is what a node draws in a slot.
func (k *ranking) hash(slot uint32, ref roost.NodeRef) uint64 {
	return mix(k.seeds[ref] ^ k.slotSeed(slot))
}

func (k *ranking) draw(c contender, hash uint64) draw {
	d := draw{contender: c, hash: hash}
	if k.weighted {
		d.cost = negLog2(hash)
	}
	return d
}

// ahead tells whether a ranks before b. It is a total order: equal costs per weight go by hash, equal hashes by name.
func (k *ranking) ahead(a, b *draw) bool {
	if a.weight != b.weight {
		if x, y := a.cost*uint64(b.weight), b.cost*uint64(a.weight); x != y { // below 2^39 times MaxWeight: no overflow
			return x < y
		}
	}
	if a.hash != b.hash {
		return a.hash > b.hash
	}
	return k.roster[a.ref].ID < k.roster[b.ref].ID
}

// beats tells whether node a ranks before node b in a slot. Both have a share.
func (k *ranking) beats(slot uint32, a, b roost.NodeRef) bool {
	s := k.slotSeed(slot)
	x := k.draw(contender{weight: k.roster[a].Share, ref: a}, mix(k.seeds[a]^s))
	y := k.draw(contender{weight: k.roster[b].Share, ref: b}, mix(k.seeds[b]^s))
	return k.ahead(&x, &y)
}

// best fills dst with the first nodes of a slot's order, but for those that skip refuses, and returns how many there
// were.
//
// The inner loop is all the cost of a first table. So a node is dropped by one comparison of its hash, where that can
// be: when dst is full, and not even the least cost that its hash allows is below that of dst's last.
func (k *ranking) best(slot uint32, dst []roost.NodeRef, skip func(roost.NodeRef) bool) int {
	var found [roost.RowLen]draw
	var last bar
	n, s := 0, k.slotSeed(slot)
	least, weight := uint64(0), uint32(0) // hashes below least cannot get in, at this weight
	for _, c := range k.nodes {
		if c.weight != weight {
			weight = c.weight
			least = last.hashFor(weight)
		}
		hash := mix(c.seed ^ s)
		if hash < least || skip(c.ref) {
			continue
		}
		d := k.draw(c, hash)
		i := n
		for i > 0 && k.ahead(&d, &found[i-1]) {
			i--
		}
		if i == len(dst) {
			continue
		}
		n = min(n+1, len(dst))
		copy(found[i+1:n], found[i:n])
		found[i] = d
		if n == len(dst) {
			last = barOf(&found[n-1])
			least = last.hashFor(weight)
		}
	}
	for i := range n {
		dst[i] = found[i].ref
	}
	return n
}

// bar is what a node must draw to rank before another. The zero bar lets all pass.
type bar struct {
	hash   uint64 // of the other
	weight uint32 // of the other
	loss   uint64 // 1-u, in units of 2^-64 for each unit of weight, beyond which a draw u costs too much
}

// barOf uses that a draw u costs -log2(u), which is at least (1-u)/ln(2).
func barOf(d *draw) bar {
	const ln2 = 0xb17217f8 // in units of 2^-32, rounded up
	b := bar{hash: d.hash, weight: d.weight, loss: 1<<64 - 1}
	if d.cost < 1<<32 { // else the bound is beyond 0.69 and would drop little
		b.loss = d.cost*ln2/uint64(d.weight) + 1
	}
	return b
}

// hashFor is the least hash with which a node of a weight may pass.
func (b *bar) hashFor(weight uint32) uint64 {
	if weight == b.weight {
		return b.hash
	}
	hi, loss := bits.Mul64(b.loss, uint64(weight))
	if b.weight == 0 || hi > 0 {
		return 0
	}
	return ^loss
}

// negLog2 is -log2 of the draw (hash+1)/2^64 in units of 2^-32, rounded up by less than one. It never rises with the
// hash. Each squaring of the mantissa gives one more bit of its logarithm.
func negLog2(hash uint64) uint64 {
	if hash == 1<<64-1 {
		return 0
	}
	n := bits.LeadingZeros64(hash + 1)
	m := (hash + 1) << n // the mantissa, from 1 to 2, in units of 2^-63
	log := uint64(63-n) << 32
	for bit := uint64(1) << 31; bit > 0; bit >>= 1 {
		hi, lo := bits.Mul64(m, m)
		if m = hi; hi>>63 == 0 {
			m = hi<<1 | lo>>63
		} else {
			log |= bit
		}
	}
	return 64<<32 - log
}
