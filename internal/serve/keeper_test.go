package serve

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roost"
	"roost/internal/place"
	"roost/internal/store"
)

// slow is a store whose tables go nowhere until it is let.
type slow struct {
	store.Store
	let   chan struct{}
	began chan struct{} // has an element after the first SaveTable began
	saves atomic.Int64
}

func (s *slow) SaveTable(ctx context.Context, pool roost.PoolID, encoded []byte) error {
	s.saves.Add(1)
	select {
	case s.began <- struct{}{}:
	default:
	}
	select {
	case <-s.let:
		return s.Store.SaveTable(ctx, pool, encoded)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func table(t *testing.T, pool roost.PoolID, seq uint64) *roost.Table {
	t.Helper()
	b, err := place.Build(nil, place.Input{Pool: pool, Hash: place.HashFor("test"), Policy: roost.Policy{Homes: 3}, Nodes: []roost.Node{nodeAt("a", "127.0.0.1:1")}})
	if err != nil {
		t.Fatal(err)
	}
	b.Epoch = roost.Epoch{Era: 1, Term: 1, Seq: seq}
	return b
}

func TestTablesAreKeptWithoutWaitingAndOnlyTheLatestOfEachPoolIsStored(t *testing.T) {
	s := &slow{Store: store.NewMemory(), let: make(chan struct{}), began: make(chan struct{}, 1)}
	k := newKeeper(s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.run(ctx) }()
	k.keep(table(t, "fn", 1))
	<-s.began // the store hangs, and control goes on
	for seq := uint64(2); seq <= 50; seq++ {
		k.keep(table(t, "fn", seq))
		k.keep(table(t, "other", seq))
	}
	close(s.let)
	k.settle(t.Context())
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	encoded, err := s.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pool := range []roost.PoolID{"fn", "other"} {
		if got, err := place.Decode(encoded[pool]); err != nil || got.Epoch.Seq != 50 {
			t.Errorf("pool %s: %v %v", pool, got, err)
		}
	}
	if n := s.saves.Load(); n > 4 {
		t.Errorf("%d tables were stored", n)
	}
}

func TestAStoreThatHangsIsAFaultAndAskedAgainAtABoundedPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: store.NewMemory(), let: make(chan struct{}), began: make(chan struct{}, 1)}
		k := newKeeper(s, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.run(ctx) }()
		began := time.Now()
		k.keep(table(t, "fn", 1))
		k.settle(t.Context())
		if waited := time.Since(began); waited > storeLimit {
			t.Errorf("settle waited for %v", waited)
		}
		synctest.Wait()
		if k.status() == "" {
			t.Error("it is no fault")
		}
		for seq := range uint64(1000) {
			k.keep(table(t, "fn", seq+2))
		}
		<-time.After(time.Minute) // the bubble's
		if n := s.saves.Load(); n > 2*int64(time.Minute/checkEvery) {
			t.Errorf("it was asked %d times in a minute", n)
		}
		close(s.let)
		<-time.After(2 * checkEvery)
		if f := k.status(); f != "" {
			t.Errorf("it has not healed: %s", f)
		}
		cancel()
		<-ended
		encoded, _ := s.Tables(t.Context())
		if got, err := place.Decode(encoded["fn"]); err != nil || got.Epoch.Seq != 1001 {
			t.Errorf("stored: %v %v", got, err)
		}
	})
}

func TestWhatControlRefusesIsTakenBackFromTheStore(t *testing.T) {
	s := newKeeping()
	h := build(t, "listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ 127.0.0.1:1 ] } }\n", houseOptions{store: s})
	h.change(roost.SetHomes{Pool: "fn", Homes: 2})
	refused := &roost.Edits{Rev: 2, Pools: map[roost.PoolID]roost.PoolEdits{"fn": {Homes: 1}}}
	if err := s.Save(t.Context(), h.edits, refused); err != nil {
		t.Fatal(err)
	}
	if err := h.takeBack(refused, errors.New("too many nodes")); code(err) != roost.CodeBadChange || err.Error() != "too many nodes" {
		t.Errorf("the answer: %v", err)
	}
	if e, err := s.Load(t.Context()); err != nil || e.Rev != 3 || e.Pools["fn"].Homes != 2 {
		t.Errorf("the store: %+v %v", e, err)
	}
	if rev := h.change(roost.SetHomes{Pool: "fn", Homes: 1}); rev != 4 {
		t.Errorf("the next change: revision %d", rev)
	}
}
