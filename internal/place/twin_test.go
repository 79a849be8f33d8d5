package place

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"roost"
)

// ranked is the dumb twin of a slot's order: every node, sorted by the formula in floating point.
func ranked(t *roost.Table, slot uint32) []roost.NodeRef {
	k := newRanking(t)
	cost := map[roost.NodeRef]float64{}
	var refs []roost.NodeRef
	for ref, n := range t.Roster {
		if n.Share > 0 {
			r := roost.NodeRef(ref)
			refs = append(refs, r)
			u := (float64(k.hash(slot, r)) + 1) / (1 << 64)
			cost[r] = -math.Log2(u) / float64(n.Share)
		}
	}
	slices.SortFunc(refs, func(a, b roost.NodeRef) int { return cmp.Compare(cost[a], cost[b]) })
	return refs
}

// rowOf is the dumb twin of a row: the home, then the others by rank.
func rowOf(t *roost.Table, slot uint32) roost.Row {
	row, home := emptyRow(), t.Row(slot)[0]
	row[0] = home
	others := slices.DeleteFunc(ranked(t, slot), func(r roost.NodeRef) bool { return r == home })
	copy(row[1:], others)
	return row
}

func TestBestNodesAreThoseOfSorting(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 1))
	for round := range 25 {
		in := Input{Pool: "p", Hash: HashFor(fmt.Sprint(round)), Policy: roost.Policy{Homes: 1}}
		kinds := 1 + rnd.IntN(3)*rnd.IntN(50) // how many weights there are
		for i := range 1 + rnd.IntN(120) {
			w := uint32(math.Pow(10, 6*rnd.Float64()*float64(rnd.IntN(kinds))/float64(kinds)))
			in.Nodes = append(in.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprint("n", i)), Weight: min(max(1, w), roost.MaxWeight)})
		}
		tb, err := Build(nil, in)
		if err != nil {
			t.Fatal(err)
		}
		k := newRanking(tb)
		for range 100 {
			slot := uint32(rnd.IntN(tb.Slots()))
			want := ranked(tb, slot)
			got := make([]roost.NodeRef, 1+rnd.IntN(roost.RowLen))
			n := k.best(slot, got, none)
			if !slices.Equal(got[:n], want[:min(len(got), len(want))]) {
				t.Fatalf("round %d slot %d: %v, want %v", round, slot, got[:n], want)
			}
			if n = k.best(slot, got, func(r roost.NodeRef) bool { return r == want[0] }); n > 0 && got[0] != want[1] {
				t.Fatalf("round %d slot %d: %v without %v, want %v", round, slot, got[:n], want[0], want[1:])
			}
		}
	}
}

func TestLogarithmIsExactToItsLastBit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 2))
	last := uint64(64) << 32
	if got := negLog2(0); got != last {
		t.Errorf("least draw costs %#x, want %#x", got, last)
	}
	if got := negLog2(math.MaxUint64); got != 0 {
		t.Errorf("best draw costs %#x, want 0", got)
	}
	for i := range 64 {
		if got, want := negLog2(1<<i-1), uint64(64-i)<<32; got != want {
			t.Errorf("draw 2^%d costs %#x, want %#x", i-64, got, want)
		}
	}
	for range 200_000 {
		h := rnd.Uint64() >> rnd.IntN(64)
		if rnd.IntN(2) == 0 {
			h = ^h // where the winners draw
		}
		want := 64 - math.Log2(float64(h)+1)
		if h > 1<<63 { // near 1 the draw has too few digits, what it lacks of 1 has enough
			want = -math.Log1p(-float64(^h)/(1<<64)) / math.Ln2
		}
		want *= 1 << 32
		if got := float64(negLog2(h)); got < want-1e-3 || got > want+1.001 {
			t.Fatalf("draw %#x costs %v, want %v", h, got, want)
		}
	}
}

func TestLogarithmNeverRises(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 200_000 {
		a := rnd.Uint64() >> rnd.IntN(64)
		b := a + 1 + rnd.Uint64N(1<<rnd.IntN(40))
		if b > a && negLog2(a) < negLog2(b) {
			t.Fatalf("%#x costs less than %#x", a, b)
		}
	}
}

func TestBarNeverDropsWhoWouldPass(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	k := ranking{weighted: true, roster: []roost.RosterNode{{ID: "a"}, {ID: "b"}}}
	dropped := 0
	for range 200_000 {
		weight := func() uint32 { return uint32(1 + rnd.IntN(1<<(1+rnd.IntN(19)))) }
		a := k.draw(contender{weight: weight(), ref: 0}, ^(rnd.Uint64() >> rnd.IntN(20)))
		b := k.draw(contender{weight: weight(), ref: 1}, ^(rnd.Uint64() >> rnd.IntN(20)))
		bar := barOf(&a)
		if b.hash < bar.hashFor(b.weight) {
			if dropped++; k.ahead(&b, &a) {
				t.Fatalf("%+v is dropped and ranks before %+v", b, a)
			}
		}
	}
	if dropped < 50_000 {
		t.Errorf("only %d dropped: the bar is of no use", dropped)
	}
}

func TestStridesVisitEveryNodeOnce(t *testing.T) {
	for n := 1; n <= 300; n++ {
		s := strides(n)
		if len(s) == 0 || len(s) > roost.MaxStrides {
			t.Fatalf("%d nodes: %d strides", n, len(s))
		}
		if n > 100 && len(s) < 8 {
			t.Errorf("%d nodes: only %d strides", n, len(s))
		}
		for i, step := range s {
			if slices.Contains(s[:i], step) || gcd(int(step), n) != 1 || step < 1 || int(step) > max(1, n-1) {
				t.Fatalf("%d nodes: strides %v", n, s)
			}
		}
	}
}

// Random histories, checked after each step against what Build promises.
func TestEveryHistoryKeepsThePromises(t *testing.T) {
	histories, steps := 6, 25
	for seed := range uint64(histories) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		in := Input{Pool: "p", Hash: HashFor("history"), Policy: roost.Policy{Homes: 3}}
		named := 0
		add := func() {
			named++
			in.Nodes = append(in.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprintf("n%d-%x", named, rnd.Uint32())), Weight: uint32(1+rnd.IntN(4)) * 500})
		}
		for range 1 + rnd.IntN(100) {
			add()
		}
		var gone []roost.Node
		var prev *roost.Table
		for step := range steps {
			drop := func(i int) {
				gone = append(gone, in.Nodes[i])
				in.Nodes = slices.Delete(in.Nodes, i, i+1)
			}
			what := rnd.IntN(7)
			switch {
			case step == 0:
			case what <= 1:
				for range 1 + rnd.IntN(3)*rnd.IntN(8) {
					add()
				}
			case what <= 3 && len(in.Nodes) > 1:
				for range min(1+rnd.IntN(3)*rnd.IntN(4), len(in.Nodes)-1) {
					drop(rnd.IntN(len(in.Nodes)))
				}
			case what == 4 && len(gone) > 0:
				i := rnd.IntN(len(gone))
				in.Nodes = append(in.Nodes, gone[i])
				gone = slices.Delete(gone, i, i+1)
			case what == 5:
				in.Nodes[rnd.IntN(len(in.Nodes))].Weight = uint32(1+rnd.IntN(8)) * 500
			default: // all at once
				add()
				drop(rnd.IntN(len(in.Nodes) - 1))
				in.Nodes[rnd.IntN(len(in.Nodes))].Weight = uint32(1+rnd.IntN(8)) * 250
				in.Nodes[rnd.IntN(len(in.Nodes))].Holds = []roost.Hold{{Kind: roost.Draining}}
			}
			rnd.Shuffle(len(in.Nodes), func(i, j int) { in.Nodes[i], in.Nodes[j] = in.Nodes[j], in.Nodes[i] })
			next, err := Build(prev, in)
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if err := promises(prev, next, in, rnd); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			prev = next
		}
	}
}

// promises checks one step.
func promises(prev, next *roost.Table, in Input, rnd *rand.Rand) error {
	held := map[roost.NodeRef]int{}
	for slot := range uint32(next.Slots()) {
		held[next.Row(slot)[0]]++
	}
	live, sum := 0, 0
	for ref, n := range next.Roster {
		if n.Share > 0 {
			live++
		}
		if !n.Closed || held[roost.NodeRef(ref)] > 0 { // one that came draining has no share yet
			sum += int(n.Share)
		}
	}
	if live != len(in.Nodes) {
		return fmt.Errorf("%d nodes have a share, want %d", live, len(in.Nodes))
	}
	for slot := range uint32(next.Slots()) {
		row := next.Row(slot)
		for i, ref := range row {
			switch {
			case i >= live:
				if ref != roost.NoNode {
					return fmt.Errorf("slot %d: %v with %d nodes", slot, row, live)
				}
			case ref == roost.NoNode || next.Roster[ref].Share == 0 || slices.Contains(row[:i], ref):
				return fmt.Errorf("slot %d: %v has a hole, a removed node or one twice", slot, row)
			}
		}
	}
	for ref, n := range next.Roster {
		share := float64(next.Slots()) * float64(n.Share) / float64(sum)
		if h := held[roost.NodeRef(ref)]; float64(h) > math.Ceil(share*1.05)+1 {
			return fmt.Errorf("node %s holds %d of %d slots, its share is %.1f", n.ID, h, next.Slots(), share)
		}
		if prev == nil {
			if h := held[roost.NodeRef(ref)]; float64(h) > math.Ceil(share*1.02) || float64(h) < math.Floor(math.Floor(share)*0.98) {
				return fmt.Errorf("first table: node %s holds %d, its share is %.1f", n.ID, h, share)
			}
		}
	}
	if prev == nil {
		for range 100 {
			slot := uint32(rnd.IntN(next.Slots()))
			if want := rowOf(next, slot); *next.Row(slot) != want {
				return fmt.Errorf("slot %d: %v, want %v", slot, *next.Row(slot), want)
			}
		}
		return nil
	}

	for ref, n := range prev.Roster {
		if next.Roster[ref].ID != n.ID {
			return fmt.Errorf("ref %d was %s and is %s", ref, n.ID, next.Roster[ref].ID)
		}
	}
	if next.SlotBits < prev.SlotBits {
		return fmt.Errorf("%d slots became %d", prev.Slots(), next.Slots())
	}
	split := next.SlotBits - prev.SlotBits
	before := map[roost.NodeRef]int{}
	for slot := range uint32(next.Slots()) {
		before[prev.Row(slot >> split)[0]]++
	}
	share := func(t *roost.Table, ref roost.NodeRef) uint32 {
		if int(ref) >= len(t.Roster) {
			return 0
		}
		return t.Roster[ref].Share
	}
	moved, orphans, came := 0, 0, map[roost.NodeRef]int{}
	lost, gained, removed := false, false, false
	for ref := range next.Roster {
		a, b := share(prev, roost.NodeRef(ref)), next.Roster[ref].Share
		lost = lost || b < a && b > 0
		removed = removed || b == 0 && a > 0
		gained = gained || b > a
	}
	for slot := range uint32(next.Slots()) {
		from, to := prev.Row(slot >> split)[0], next.Row(slot)[0]
		if share(next, from) == 0 {
			orphans++
		}
		if from == to {
			continue
		}
		moved++
		came[to]++
		why := share(next, from) == 0 || // its node is gone
			share(next, from) < share(prev, from) || // or lost weight
			share(next, to) > share(prev, to) || before[to] == 0 // or the new one came or gained weight
		if !why {
			return fmt.Errorf("slot %d moved from %s to %s without need", slot, next.Roster[from].ID, next.Roster[to].ID)
		}
	}
	if removed && !lost && !gained && moved != orphans {
		return fmt.Errorf("a removal moved %d slots, %d lost their home", moved, orphans)
	}
	for ref, n := range came {
		if share(next, ref) <= share(prev, ref) || removed {
			continue // takes what was freed
		}
		if fair := next.Slots() * int(next.Roster[ref].Share) / sum; before[ref]+n > fair+1 && !lost {
			return fmt.Errorf("node %s took %d slots to %d, its share is %d", next.Roster[ref].ID, n, before[ref]+n, fair)
		}
	}
	// Those that stay keep their order in every row, except where the home or a weight changed.
	if !lost && !gained {
		for slot := range uint32(next.Slots()) {
			was, is := prev.Row(slot>>split), next.Row(slot)
			if was[0] != is[0] && share(next, was[0]) > 0 {
				continue
			}
			i := 0
			for _, ref := range was {
				if ref == roost.NoNode || share(next, ref) == 0 || ref == is[0] {
					continue
				}
				at := slices.Index(is[:], ref)
				if at < i {
					return fmt.Errorf("slot %d: %v became %v", slot, *was, *is)
				}
				i = at
			}
		}
	}
	return nil
}

// While slots are never split, rows follow from homes alone, whatever the history.
func TestRowsAreHomesThenRank(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 6))
	in := Input{Pool: "p", Hash: HashFor("rows"), Policy: roost.Policy{Homes: 3}}
	for i := range 40 {
		in.Nodes = append(in.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprint("n", i)), Weight: roost.WeightOne})
	}
	all := slices.Clone(in.Nodes)
	var prev *roost.Table
	for range 20 {
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		in.Nodes = slices.Clone(all[:5+rnd.IntN(35)])
		if rnd.IntN(2) == 0 {
			all[0].Weight = uint32(1+rnd.IntN(5)) * 500
		}
		next, err := Build(prev, in)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			slot := uint32(rnd.IntN(next.Slots()))
			if want := rowOf(next, slot); *next.Row(slot) != want {
				t.Fatalf("slot %d: %v, want %v", slot, *next.Row(slot), want)
			}
		}
		prev = next
	}
}
