package roost_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"roost"
	"roost/internal/place"
)

// table is a pool's first table over n nodes of different weights, with exceptions of up to 12 homes for some keys.
func table(t testing.TB, rnd *rand.Rand, n, exceptions int) *roost.Table {
	t.Helper()
	in := place.Input{Pool: "p", Hash: place.HashFor("test"), Policy: roost.Policy{Homes: uint8(1 + rnd.IntN(roost.MaxHomes))}}
	for i := range n {
		in.Nodes = append(in.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprint("n", i)), Weight: uint32(1+rnd.IntN(3)) * 500})
	}
	tb, err := place.Build(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	for i := range exceptions {
		ex := roost.Exception{Key: tb.Hash.Sum(fmt.Append(nil, "exception ", i)), Cause: roost.Cause(1 + rnd.IntN(4))}
		for _, ref := range rnd.Perm(n)[:min(n, 1+rnd.IntN(12))] {
			ex.Homes = append(ex.Homes, roost.NodeRef(ref))
		}
		p := tb.Pages[tb.SlotOf(ex.Key)>>roost.PageBits]
		p.SetExceptions(append(p.Exceptions, ex))
	}
	return tb
}

// keyOf is one of a table's keys: every other one has an exception.
func keyOf(tb *roost.Table, i, exceptions int) roost.KeyHash {
	if i%2 == 0 && exceptions > 0 {
		return tb.Hash.Sum(fmt.Append(nil, "exception ", i%exceptions))
	}
	return tb.Hash.Sum(fmt.Append(nil, "key ", i))
}

func walk(tb *roost.Table, k roost.KeyHash) (refs []roost.NodeRef, homes int) {
	w := tb.Walk(k)
	for ref, home := w.Next(); ref != roost.NoNode; ref, home = w.Next() {
		refs = append(refs, ref)
		if home {
			homes++
		}
	}
	return refs, homes
}

func dead(tb *roost.Table, refs ...roost.NodeRef) *roost.Liveness {
	l := &roost.Liveness{Dead: make([]uint64, len(tb.Roster)/64+1)}
	for _, ref := range refs {
		l.Dead[ref>>6] |= 1 << (ref & 63)
	}
	return l
}

func TestWalkBeginsAtTheHomesAndVisitsEveryNode(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 2, 3, 7, 8, 9, 16, 64, 100} {
		exceptions := min(n, 1) * 200
		tb := table(t, rnd, n, exceptions)
		for i := range 300 {
			k := keyOf(tb, i, exceptions)
			refs, homes := walk(tb, k)
			times, row := map[roost.NodeRef]int{}, tb.Row(tb.SlotOf(k))
			for _, ref := range refs {
				times[ref]++
			}
			if len(times) != n {
				t.Fatalf("%d nodes: the walk meets %d", n, len(times))
			}
			for ref, m := range times {
				if m > 3 {
					t.Fatalf("%d nodes: the walk meets %d %d times", n, ref, m)
				}
			}
			want, rest := row[:min(n, int(tb.Policy.Homes))], row[min(n, int(tb.Policy.Homes)):min(n, roost.RowLen)]
			if ex := tb.Exception(k); ex != nil {
				want, rest = ex.Homes, row[:min(n, roost.RowLen)]
			}
			if homes != len(want) || !slices.Equal(refs[:homes], want) || !slices.Equal(refs[homes:homes+len(rest)], rest) {
				t.Fatalf("%d nodes: the walk is %v with %d homes, want %v and then %v", n, refs, homes, want, rest)
			}
		}
	}
}

func TestWalksOfDifferentSlotsPartBeyondTheirRows(t *testing.T) {
	tb := table(t, rand.New(rand.NewPCG(1, 2)), 100, 0)
	seen := map[[2]roost.NodeRef]bool{}
	for slot := range uint64(tb.Slots()) {
		refs, _ := walk(tb, roost.KeyHash(slot<<(64-tb.SlotBits)))
		seen[[2]roost.NodeRef{refs[roost.RowLen], refs[roost.RowLen+1]}] = true
	}
	if len(seen) < 1000 { // 100 starts, 16 strides
		t.Errorf("only %d ways to go on", len(seen))
	}
}

func TestHomesArePureAndTotal(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	for _, n := range []int{1, 2, 3, 9, 40} {
		tb := table(t, rnd, n, 100)
		for ref := range tb.Roster { // some are draining, one is removed
			tb.Roster[ref].Closed = n > 3 && rnd.IntN(5) == 0
		}
		if n > 3 {
			tb.Roster[1].Share = 0
		}
		for i := range 200 {
			k := keyOf(tb, i, 100)
			l := dead(tb)
			for alive := true; alive; { // until none is left
				refs, _ := walk(tb, k)
				wanted := tb.Walk(k).Homes
				var want []roost.NodeRef // the dumb twin: the first that live, each once
				for _, ref := range refs {
					r := tb.Roster[ref]
					if r.Share > 0 && !r.Closed && !l.IsDead(ref) && !slices.Contains(want, ref) && len(want) < wanted {
						want = append(want, ref)
					}
				}
				got := tb.Homes(l, k, nil)
				if !slices.Equal(got, want) {
					t.Fatalf("%d nodes: homes %v, want %v", n, got, want)
				}
				if again := tb.Homes(l, k, []roost.NodeRef{77}); again[0] != 77 || !slices.Equal(again[1:], want) {
					t.Fatalf("%d nodes: appended to another slice they are %v, want %v", n, again, want)
				}
				if alive = len(got) > 0; alive {
					l.Dead[got[0]>>6] |= 1 << (got[0] & 63)
				}
			}
			for ref, r := range tb.Roster {
				if r.Share > 0 && !r.Closed && !l.IsDead(roost.NodeRef(ref)) {
					t.Fatalf("%d nodes: a key without homes while node %d lives", n, ref)
				}
			}
		}
	}
}

func TestDeathChangesOnlyTheKeysOfTheDead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 4))
	tb := table(t, rnd, 30, 200)
	was := dead(tb, 5, 6)
	is := dead(tb, 5, 6, 7)
	changed := 0
	for i := range 5000 {
		k := keyOf(tb, i, 200)
		before, after := tb.Homes(was, k, nil), tb.Homes(is, k, nil)
		if !slices.Contains(before, 7) {
			if !slices.Equal(before, after) {
				t.Fatalf("key %d: %v became %v", i, before, after)
			}
			continue
		}
		changed++
		survivors := slices.DeleteFunc(before, func(r roost.NodeRef) bool { return r == 7 })
		if len(after) != len(survivors)+1 || !slices.Equal(after[:len(survivors)], survivors) {
			t.Fatalf("key %d: %v without node 7 became %v", i, survivors, after)
		}
	}
	if changed == 0 {
		t.Error("no key had the dead node")
	}
}

func TestExceptionsAreFoundWhereverTheyLie(t *testing.T) {
	tb := table(t, rand.New(rand.NewPCG(1, 5)), 5, 0)
	first, last := roost.KeyHash(0), ^roost.KeyHash(0)
	near := roost.KeyHash(1) << 60
	for _, k := range []roost.KeyHash{first, near - 1, near, near + 1, last} {
		p := tb.Pages[tb.SlotOf(k)>>roost.PageBits]
		p.SetExceptions(append(p.Exceptions, roost.Exception{Key: k, Cause: roost.Pin, Homes: []roost.NodeRef{1}}))
	}
	for _, k := range []roost.KeyHash{first, near - 1, near, near + 1, last} {
		if ex := tb.Exception(k); ex == nil || ex.Key != k {
			t.Errorf("%x: %+v", uint64(k), ex)
		}
	}
	for _, k := range []roost.KeyHash{first + 1, near - 2, near + 2, last - 1} {
		if ex := tb.Exception(k); ex != nil {
			t.Errorf("%x: %+v", uint64(k), ex)
		}
	}
}

func TestDoublingSlotsSplitsEachInPlace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 6))
	for range 1000 {
		k := roost.KeyHash(rnd.Uint64())
		for bits := uint8(roost.MinSlotBits); bits < roost.MaxSlotBits; bits++ {
			a, b := roost.Table{SlotBits: bits}, roost.Table{SlotBits: bits + 1}
			if a.SlotOf(k) != b.SlotOf(k)>>1 || int(b.SlotOf(k)) >= b.Slots() {
				t.Fatalf("%x is in slot %d of %d and %d of %d", uint64(k), a.SlotOf(k), a.Slots(), b.SlotOf(k), b.Slots())
			}
		}
	}
}

func TestLivenessKnowsOnlyTheDead(t *testing.T) {
	var none *roost.Liveness
	l := &roost.Liveness{Dead: []uint64{1<<0 | 1<<63, 1 << 1}}
	for ref, want := range map[roost.NodeRef]bool{0: true, 1: false, 63: true, 64: false, 65: true, 128: false, roost.NoNode: false} {
		if l.IsDead(ref) != want || none.IsDead(ref) {
			t.Errorf("node %d is dead: %v", ref, !want)
		}
	}
}

func TestHomesAllocateNothing(t *testing.T) {
	tb := table(t, rand.New(rand.NewPCG(1, 7)), 50, 100)
	l, dst := dead(tb, 3), make([]roost.NodeRef, 0, 16)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		dst = tb.Homes(l, roost.KeyHash(uint64(i)*0x9e3779b97f4a7c15), dst[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The look-up of homes at 65,536 slots with 1,000 exceptions, over many keys of 30 bytes, which are hashed first.
func BenchmarkHomes(b *testing.B) {
	tb := table(b, rand.New(rand.NewPCG(1, 8)), 1000, 1000)
	tb.Policy.Homes = roost.DefaultHomes
	l, dst := dead(tb, 3), make([]roost.NodeRef, 0, 16)
	key := []byte("/r/shop/checkout/confirm/order")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		key[3], key[4], key[5] = byte(i), byte(i>>8), byte(i>>16)
		dst = tb.Homes(l, tb.Hash.Sum(key), dst[:0])
	}
}
