// Package storetest is the contract of package store as tests, for every adapter to run.
//
// Guarantee: an adapter that passes does what the memory store does, and keeps the promises of store.Store that can be
// seen from inside one process.
//
// Trap: what outlives a process, and each database's own failures, the adapters test themselves.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"roost"
	"roost/internal/store"
)

// Run tests the stores that open makes. Each is to be new; Run closes them.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	for name, test := range map[string]func(*testing.T, store.Store){
		"a new store is empty":                         isEmpty,
		"what was saved is loaded":                     loadsWhatWasSaved,
		"a save from another revision changes nothing": conflicts,
		"edits that cannot be stored change nothing":   refuses,
		"tables are kept as they are":                  keepsTables,
		"a call whose context ended changes nothing":   obeysContexts,
		"of saves at the same time one wins":           oneWins,
		"a closed store fails":                         closes,
		"it does what a map does":                      isAsAMap,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			test(t, s)
		})
	}
	t.Run("each has an id of its own", func(t *testing.T) {
		a, b := open(t), open(t)
		defer a.Close()
		defer b.Close()
		if a.ID() == b.ID() || a.ID() == (roost.StoreID{}) {
			t.Errorf("ids %x and %x", a.ID(), b.ID())
		}
		if a.Kind() == "" {
			t.Error("it has no kind")
		}
	})
}

func isEmpty(t *testing.T, s store.Store) {
	if e := load(t, s); e.Rev != 0 || len(e.Pools) != 0 {
		t.Errorf("edits %+v", e)
	}
	tables, err := s.Tables(t.Context())
	if err != nil || len(tables) != 0 {
		t.Errorf("tables %v, %v", tables, err)
	}
}

func loadsWhatWasSaved(t *testing.T, s store.Store) {
	all := &roost.Edits{Rev: 1, Pools: map[roost.PoolID]roost.PoolEdits{
		"fn": {
			Nodes: []roost.Node{
				{ID: "10.0.0.1:80", Addr: "10.0.0.1:80", Weight: 1000},
				{ID: "b", Addr: "unix:/run/b \"quoted\" é.sock", Zone: "z", Weight: 1, Host: "lb", Sleeps: true},
			},
			Weights: map[roost.NodeID]uint32{"b": roost.MaxWeight, "c": 0},
			Holds: map[roost.NodeID]roost.Hold{
				"b": {Kind: roost.Draining, Cause: "operator", Since: roost.Stamp{Wall: 1<<64 - 1, Count: 7, By: "lb"}, Deadline: time.Nanosecond},
				"c": {Kind: roost.Down},
			},
			Pins: []roost.PinIntent{
				{Key: "", Homes: 1},
				{Key: "/r/a/<b>&\x00\u2028\ufffd\\ufffd" + strings.Repeat("long", 1000), Nodes: []roost.NodeID{"c", "b"}},
				{Key: "k", Homes: 255},
			},
			Homes: 4,
		},
		"FN":    {Homes: 1}, // names differ by case
		"other": {Weights: map[roost.NodeID]uint32{"b": 5}},
	}}
	save(t, s, nil, all)
	if err := same(load(t, s), all); err != nil {
		t.Fatal(err)
	}
	less := &roost.Edits{Rev: 5, Pools: map[roost.PoolID]roost.PoolEdits{"fn": {Nodes: all.Pools["fn"].Nodes[:1]}}}
	save(t, s, all, less)
	if err := same(load(t, s), less); err != nil {
		t.Fatal(err)
	}
	none := &roost.Edits{Rev: 6}
	save(t, s, less, none)
	if err := same(load(t, s), none); err != nil {
		t.Fatal(err)
	}
}

func conflicts(t *testing.T, s store.Store) {
	one := edits(1, "a")
	save(t, s, nil, one)
	for _, prev := range []*roost.Edits{nil, edits(0), edits(2, "a")} {
		err := s.Save(t.Context(), prev, edits(3, "b"))
		if !errors.Is(err, store.Conflict) || store.KindOf(err) != store.Conflict {
			t.Errorf("from %+v: %v", prev, err)
		}
	}
	if err := same(load(t, s), one); err != nil {
		t.Error(err)
	}
}

func refuses(t *testing.T, s store.Store) {
	one := edits(1, "a")
	save(t, s, nil, one)
	node := func(n roost.Node) roost.PoolEdits { return roost.PoolEdits{Nodes: []roost.Node{{ID: "ok"}, n}} }
	for name, p := range map[string]roost.PoolEdits{
		"an address not UTF-8":  node(roost.Node{ID: "b", Addr: "\xff"}),
		"an id not UTF-8":       node(roost.Node{ID: "\xff"}),
		"an id with a NUL":      node(roost.Node{ID: "b\x00"}),
		"an id too long":        node(roost.Node{ID: roost.NodeID(strings.Repeat("n", store.MaxName+1))}),
		"a node twice":          node(roost.Node{ID: "ok"}),
		"a node with sources":   node(roost.Node{ID: "b", Sources: []roost.Source{{Kind: "api"}}}),
		"a node with holds":     node(roost.Node{ID: "b", Holds: []roost.Hold{{}}}),
		"a hold of no kind":     {Holds: map[roost.NodeID]roost.Hold{"b": {}}},
		"a cause not UTF-8":     {Holds: map[roost.NodeID]roost.Hold{"b": {Kind: roost.Down, Cause: "\xff"}}},
		"a key not UTF-8":       {Pins: []roost.PinIntent{{Key: "\xff", Homes: 1}}},
		"a pin too long":        {Pins: []roost.PinIntent{{Key: strings.Repeat("k", store.MaxValue), Homes: 1}}},
		"a pinned id not UTF-8": {Pins: []roost.PinIntent{{Key: "k", Nodes: []roost.NodeID{"\xff"}}}},
	} {
		next := edits(2, "b")
		next.Pools["q"] = p
		if err := s.Save(t.Context(), one, next); err == nil || errors.Is(err, store.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, rev := range []uint64{0, 1, 1 << 63} {
		if err := s.Save(t.Context(), one, edits(rev, "b")); err == nil || errors.Is(err, store.Conflict) {
			t.Errorf("revision %d after 1: %v", rev, err)
		}
	}
	if err := same(load(t, s), one); err != nil {
		t.Error(err)
	}
}

func keepsTables(t *testing.T, s store.Store) {
	big := bytes.Repeat([]byte{0, 1, 0xff, '\''}, 1<<18)
	for _, p := range []struct {
		pool    roost.PoolID
		encoded []byte
	}{{"a", []byte("first")}, {"b", big}, {"a", []byte("second")}} {
		given := bytes.Clone(p.encoded)
		if err := s.SaveTable(t.Context(), p.pool, given); err != nil {
			t.Fatal(err)
		}
		clear(given) // the store kept a copy
	}
	tables, err := s.Tables(t.Context())
	if err != nil || len(tables) != 2 || string(tables["a"]) != "second" || !bytes.Equal(tables["b"], big) {
		t.Errorf("tables: %d, a is %q, %v", len(tables), tables["a"], err)
	}
	if e := load(t, s); e.Rev != 0 {
		t.Errorf("tables raised the revision to %d", e.Rev)
	}
}

func obeysContexts(t *testing.T, s store.Store) {
	one := edits(1, "a")
	save(t, s, nil, one)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, loadErr := s.Load(ctx)
	_, tablesErr := s.Tables(ctx)
	for name, err := range map[string]error{
		"Load":      loadErr,
		"Tables":    tablesErr,
		"Save":      s.Save(ctx, one, edits(2, "b")),
		"SaveTable": s.SaveTable(ctx, "a", []byte("table")),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := same(load(t, s), one); err != nil {
		t.Error(err)
	}
	if tables, err := s.Tables(t.Context()); err != nil || len(tables) > 0 {
		t.Errorf("tables %v, %v", tables, err)
	}
}

func oneWins(t *testing.T, s store.Store) {
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() { errs[i] = s.Save(t.Context(), nil, edits(1, fmt.Sprint(i))) })
		wg.Go(func() {
			if _, err := s.Load(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	won := slices.Index(errs, nil)
	for i, err := range errs {
		if i != won && !errors.Is(err, store.Conflict) {
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if won < 0 {
		t.Fatal("none won")
	}
	if err := same(load(t, s), edits(1, fmt.Sprint(won))); err != nil {
		t.Error(err)
	}
}

func closes(t *testing.T, s store.Store) {
	save(t, s, nil, edits(1, "a"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Load(t.Context())
	if store.KindOf(err) != store.Unavailable || err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Load: %v", err)
	}
	if err := s.Save(t.Context(), edits(1, "a"), edits(2)); err == nil {
		t.Error("Save after Close")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// isAsAMap makes random changes, right and wrong ones, to the store and to its dumb twin.
func isAsAMap(t *testing.T, s store.Store) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	now := &roost.Edits{}
	tables := map[roost.PoolID][]byte{}
	for step := range 120 {
		pool := roost.PoolID(fmt.Sprint("pool", rnd.IntN(3)))
		switch rnd.IntN(8) {
		case 0:
			b := make([]byte, 1+rnd.IntN(3000))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			if err := s.SaveTable(t.Context(), pool, b); err != nil {
				t.Fatal(err)
			}
			tables[pool] = b
		case 1:
			stale := *now
			stale.Rev += 1 + rnd.Uint64N(3)
			next := *now
			next.Rev = stale.Rev + 1
			if err := s.Save(t.Context(), &stale, &next); !errors.Is(err, store.Conflict) {
				t.Fatalf("step %d: %v", step, err)
			}
		default:
			next := &roost.Edits{Rev: now.Rev + 1 + rnd.Uint64N(3), Pools: maps.Clone(now.Pools)}
			if next.Pools == nil {
				next.Pools = map[roost.PoolID]roost.PoolEdits{}
			}
			next.Pools[pool] = random(rnd, next.Pools[pool])
			save(t, s, now, next)
			now = next
		}
		if err := same(load(t, s), now); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		got, err := s.Tables(t.Context())
		if err != nil || !maps.EqualFunc(got, tables, bytes.Equal) {
			t.Fatalf("step %d: tables differ, %v", step, err)
		}
	}
}

// random changes some of a pool's edits.
func random(rnd *rand.Rand, p roost.PoolEdits) roost.PoolEdits {
	if rnd.IntN(12) == 0 {
		return roost.PoolEdits{}
	}
	id := roost.NodeID(fmt.Sprint("n", rnd.IntN(9)))
	p.Weights, p.Holds = maps.Clone(p.Weights), maps.Clone(p.Holds)
	switch rnd.IntN(5) {
	case 0:
		p.Nodes = slices.DeleteFunc(slices.Clone(p.Nodes), func(n roost.Node) bool { return n.ID == id })
		if rnd.IntN(3) > 0 {
			p.Nodes = append(p.Nodes, roost.Node{ID: id, Addr: fmt.Sprint(rnd.IntN(99)), Zone: "z", Weight: rnd.Uint32(), Sleeps: rnd.IntN(2) == 0})
		}
		slices.SortFunc(p.Nodes, func(a, b roost.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	case 1:
		if p.Weights == nil {
			p.Weights = map[roost.NodeID]uint32{}
		}
		p.Weights[id] = rnd.Uint32()
		delete(p.Weights, "n1")
	case 2:
		if p.Holds == nil {
			p.Holds = map[roost.NodeID]roost.Hold{}
		}
		p.Holds[id] = roost.Hold{Kind: roost.HoldKind(1 + rnd.IntN(2)), Cause: "c", Since: roost.Stamp{Wall: rnd.Uint64()}, Deadline: time.Duration(rnd.Int64())}
		delete(p.Holds, "n1")
	case 3:
		key := fmt.Sprint("k", rnd.IntN(9))
		p.Pins = slices.DeleteFunc(slices.Clone(p.Pins), func(p roost.PinIntent) bool { return p.Key == key })
		if rnd.IntN(3) > 0 {
			p.Pins = append(p.Pins, roost.PinIntent{Key: key, Nodes: []roost.NodeID{id}})
		}
		slices.SortFunc(p.Pins, func(a, b roost.PinIntent) int { return strings.Compare(a.Key, b.Key) })
	case 4:
		p.Homes = uint8(rnd.IntN(5))
	}
	return p
}

// edits are of pools with a homes of 1 and one node each.
func edits(rev uint64, pools ...string) *roost.Edits {
	e := &roost.Edits{Rev: rev, Pools: map[roost.PoolID]roost.PoolEdits{}}
	for _, p := range pools {
		e.Pools[roost.PoolID(p)] = roost.PoolEdits{Homes: 1, Nodes: []roost.Node{{ID: "n", Addr: "n:1"}}}
	}
	return e
}

func load(t *testing.T, s store.Store) *roost.Edits {
	t.Helper()
	e, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func save(t *testing.T, s store.Store, prev, next *roost.Edits) {
	t.Helper()
	if err := s.Save(t.Context(), prev, next); err != nil {
		t.Fatal(err)
	}
}

// same compares edits; what is empty need not be there.
func same(got, want *roost.Edits) error {
	if got.Rev != want.Rev {
		return fmt.Errorf("revision %d, want %d", got.Rev, want.Rev)
	}
	for pool := range want.Pools {
		if a, b := tidy(got.Pools[pool]), tidy(want.Pools[pool]); !reflect.DeepEqual(a, b) {
			return fmt.Errorf("pool %q is\n%+v\nwant\n%+v", pool, a, b)
		}
	}
	for pool := range got.Pools {
		if _, ok := want.Pools[pool]; !ok {
			return fmt.Errorf("pool %q: nobody saved it", pool)
		}
	}
	return nil
}

func tidy(p roost.PoolEdits) roost.PoolEdits {
	if len(p.Nodes) == 0 {
		p.Nodes = nil
	}
	if len(p.Weights) == 0 {
		p.Weights = nil
	}
	if len(p.Holds) == 0 {
		p.Holds = nil
	}
	if len(p.Pins) == 0 {
		p.Pins = nil
	}
	return p
}
