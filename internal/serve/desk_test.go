package serve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/place"
	"roost/internal/store"
)

// keeping is a store that outlives the balancers which use it, and fails when it is told to.
type keeping struct {
	store.Store
	mu  sync.Mutex // guards err
	err error
}

func newKeeping() *keeping { return &keeping{Store: store.NewMemory()} }

func (k *keeping) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *keeping) fault() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func (k *keeping) Load(ctx context.Context) (*roost.Edits, error) {
	if err := k.fault(); errors.Is(err, store.Locked) { // a full one can be read
		return nil, err
	}
	return k.Store.Load(ctx)
}

func (k *keeping) Save(ctx context.Context, before, after *roost.Edits) error {
	if err := k.fault(); err != nil {
		return err
	}
	return k.Store.Save(ctx, before, after)
}

func (k *keeping) SaveTable(ctx context.Context, pool roost.PoolID, encoded []byte) error {
	if err := k.fault(); err != nil {
		return err
	}
	return k.Store.SaveTable(ctx, pool, encoded)
}

func (k *keeping) Close() error { return nil }

// copied is what a crash of the machine at this moment would leave.
func (k *keeping) copied(t *testing.T) *keeping {
	t.Helper()
	c := newKeeping()
	e, err := k.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e.Rev > 0 {
		if err := c.Save(t.Context(), &roost.Edits{}, e); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := k.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for pool, b := range tables {
		c.SaveTable(t.Context(), pool, b)
	}
	return c
}

func (h *house) change(c roost.Change) uint64 {
	h.t.Helper()
	a, err := h.Change(h.t.Context(), c, nil)
	if err != nil {
		h.t.Fatalf("%+v: %v", c, err)
	}
	return a.Revision
}

func code(err error) string {
	if c, ok := errors.AsType[*roost.ChangeError](err); ok {
		return c.Code
	}
	return fmt.Sprint(err)
}

func nodeAt(id, addr string) roost.Node {
	return roost.Node{ID: roost.NodeID(id), Addr: addr, Weight: roost.WeightOne}
}

const onePool = "listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n"

func TestAChangeIsServedAndStoredWhenItIsAnswered(t *testing.T) {
	a, _ := echo(t, "a")
	b, _ := echo(t, "b")
	s := newKeeping()
	h := build(t, fmt.Sprintf(onePool, "a="+a), houseOptions{store: s})
	got, err := h.Change(t.Context(), roost.AddNode{Pool: "fn", Node: nodeAt("b", b)}, nil)
	if err != nil || got.Revision != 1 || got.Pool != "fn" || got.Epoch != h.Status().Pools[0].Epoch {
		t.Fatalf("add: %+v, %v", got, err)
	}
	if e, err := s.Load(t.Context()); err != nil || e.Rev != 1 || len(e.Pools["fn"].Nodes) != 1 {
		t.Errorf("the store: %+v, %v", e, err)
	}
	tables, _ := s.Tables(t.Context())
	if table, err := place.Decode(tables["fn"]); err != nil || table.Epoch.String() != got.Epoch {
		t.Errorf("the stored table: %v, %v", table, err)
	}
	h.change(roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Draining, Cause: "operator"}})
	if body, _ := dial(t, h.addr("web")).get("/x"); body != "b /x" {
		t.Errorf("traffic: %q", body)
	}
	if s := h.Status(); s.Revision != 2 || s.Pools[0].Nodes[0].Held == nil || time.Since(s.Pools[0].Nodes[0].Held.Since) > time.Hour {
		t.Errorf("status: %+v", s.Pools[0].Nodes)
	}
	h.log.await(0, `what="add node b at `+b)

	// The same again changes nothing, and says so by the same revision.
	if rev := h.change(roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Draining, Cause: "operator"}}); rev != 2 {
		t.Errorf("the same again: revision %d", rev)
	}
}

func TestAChangeMadeOnAnOldRevisionIsRefused(t *testing.T) {
	a, _ := echo(t, "a")
	h := build(t, fmt.Sprintf(onePool, a), houseOptions{})
	rev := h.change(roost.SetHomes{Pool: "fn", Homes: 2})
	old := rev - 1
	if _, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 1}, &old); code(err) != roost.CodeRevMoved {
		t.Errorf("on the revision before: %v", err)
	}
	if _, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 1}, &rev); err != nil {
		t.Errorf("on the revision of now: %v", err)
	}
	if _, err := h.Change(t.Context(), roost.SetHomes{Pool: "nope", Homes: 1}, nil); code(err) != roost.CodeNoPool {
		t.Errorf("on no pool: %v", err)
	}
}

func TestWhatAnotherProcessPutIntoTheStoreIsTakenAndTheChangeRefused(t *testing.T) {
	a, _ := echo(t, "a")
	s := newKeeping()
	h := build(t, fmt.Sprintf(onePool, a), houseOptions{store: s})
	theirs := &roost.Edits{Rev: 1, Pools: map[roost.PoolID]roost.PoolEdits{"fn": {Homes: 2}}}
	if err := s.Save(t.Context(), &roost.Edits{}, theirs); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 1}, nil); code(err) != roost.CodeRevMoved {
		t.Fatalf("change: %v", err)
	}
	if s := h.Status(); s.Revision != 1 || s.Pools[0].Homes != 2 || s.Store.Fault != "" {
		t.Errorf("status: %+v", s)
	}
	if rev := h.change(roost.SetHomes{Pool: "fn", Homes: 1}); rev != 2 {
		t.Errorf("after another look: revision %d", rev)
	}
}

// mute carries the first change out and says that it failed.
type mute struct {
	*keeping
	said atomic.Bool
}

func (m *mute) Save(ctx context.Context, before, after *roost.Edits) error {
	if err := m.keeping.Save(ctx, before, after); err != nil || m.said.Swap(true) {
		return err
	}
	return &store.Error{Kind: store.Unavailable, Store: "/x/roost.db", Err: errors.New("no answer")}
}

func TestAChangeThatOnlySeemedToFailIsServedWithoutARestart(t *testing.T) {
	a, _ := echo(t, "a")
	h := build(t, fmt.Sprintf(onePool, a), houseOptions{store: &mute{keeping: newKeeping()},
		before: func(b *Balancer) { b.keeper.every = 10 * time.Millisecond }})
	if _, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 2}, nil); code(err) != roost.CodeStoreAway {
		t.Fatalf("change: %v", err)
	}
	h.await("what the store holds is served", func(s roost.Status) bool { return s.Revision == 1 && s.Pools[0].Homes == 2 })
	h.log.await(0, "the store holds other changes than were served")
	if rev := h.change(roost.SetHomes{Pool: "fn", Homes: 2}); rev != 1 {
		t.Errorf("asked for again, it is revision %d", rev)
	}
	if n := strings.Count(h.log.String(), "the store holds other changes"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestAStoreThatFailsStopsChangesAndNoTrafficAndHealsByItself(t *testing.T) {
	a, _ := echo(t, "a")
	for _, kind := range []store.Kind{store.Full, store.Locked} {
		t.Run(string(kind), func(t *testing.T) {
			s := newKeeping()
			h := build(t, fmt.Sprintf(onePool, a), houseOptions{store: s, before: func(b *Balancer) { b.keeper.every = 10 * time.Millisecond }})
			h.log.await(0, "new table")
			conn := dial(t, h.addr("web"))
			s.fail(&store.Error{Kind: kind, Store: "/x/roost.db", Err: errors.New("disk says so")})
			_, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 2}, nil)
			if code(err) != roost.CodeStoreAway || !strings.Contains(err.Error(), "disk says so") {
				t.Fatalf("change: %v", err)
			}
			if s := h.Status(); !strings.Contains(s.Store.Fault, "disk says so") || s.Pools[0].Homes != 3 || !s.Ready {
				t.Errorf("status: %+v", s)
			}
			h.write(fmt.Sprintf(onePool, a+"*2")) // a new table, which cannot be stored
			h.reloaded()
			if body, _ := conn.get("/x"); !strings.HasSuffix(body, " /x") {
				t.Errorf("traffic: %q", body)
			}
			s.fail(nil)
			h.log.await(0, "the store works again")
			h.await("the store is well", func(s roost.Status) bool { return s.Store.Fault == "" })
			h.change(roost.SetHomes{Pool: "fn", Homes: 2})
			tables, _ := s.Tables(t.Context())
			if table, err := place.Decode(tables["fn"]); err != nil || table.Epoch.String() != h.Status().Pools[0].Epoch {
				t.Errorf("the stored table: %v, %v", table, err)
			}
			if n := strings.Count(h.log.String(), "changes cannot be kept now"); n != 1 {
				t.Errorf("the fault was told %d times", n)
			}
		})
	}
}

func TestAStoreThatCannotBeReadEndsTheStart(t *testing.T) {
	h := &house{t: t, file: t.TempDir() + "/roost.yaml"}
	h.write(fmt.Sprintf(onePool, "127.0.0.1:1"))
	s := newKeeping()
	s.fail(&store.Error{Kind: store.Locked, Store: "/x/roost.db", Err: errors.New("by process 7")})
	_, err := openWith(h.load(), Options{}, func(string) (store.Store, error) { return s, nil })
	if err == nil || !strings.Contains(err.Error(), "by process 7") || !strings.Contains(err.Error(), store.Locked.Error()) {
		t.Errorf("start: %v", err)
	}
}

// homes are those of many keys in a pool.
func (h *house) homes(pool roost.PoolID) map[string]string {
	h.t.Helper()
	m := map[string]string{}
	for i := range 2000 {
		key := fmt.Sprint("key", i)
		k, err := h.Key(pool, key)
		if err != nil {
			h.t.Fatal(err)
		}
		m[key] = fmt.Sprint(k.Homes, k.Next)
	}
	return m
}

func TestARestartAfterAnyHistoryMovesNoKeyAndForgetsNoChange(t *testing.T) {
	s := newKeeping()
	conf := "listeners: { web: { address: \"127.0.0.1:0\" } }\n" + // no probes: deaths would be left out of the homes
		"pools: { fn: { nodes: [ n0=127.0.0.1:1, n1=127.0.0.1:2, n2=127.0.0.1:3 ], health: { probe: none } } }\n"
	h := build(t, conf, houseOptions{store: s})
	rnd := rand.New(rand.NewPCG(1, 2))
	listed := []string{}
	for i := range 40 {
		switch {
		case i%3 == 2:
			n := roost.NodeID(fmt.Sprint("n", rnd.IntN(3)))
			h.change(roost.SetWeight{Pool: "fn", Node: n, Weight: uint32(500 + rnd.IntN(3000))})
		case len(listed) > 3 && rnd.IntN(2) == 0:
			h.change(roost.RemoveNode{Pool: "fn", Node: roost.NodeID(listed[0])})
			listed = listed[1:]
		default:
			id := fmt.Sprint("api", i)
			h.change(roost.AddNode{Pool: "fn", Node: nodeAt(id, fmt.Sprint("127.0.1.1:", 1000+i))})
			listed = append(listed, id)
		}
	}
	h.change(roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "key7", Nodes: []roost.NodeID{"n2"}}})
	crashed := s.copied(t) // as kill -9 right after the answer would leave it
	before, want := h.Status(), h.homes("fn")

	again := build(t, conf, houseOptions{store: crashed})
	after := again.Status()
	if after.Revision != before.Revision || after.Pools[0].Digest != before.Pools[0].Digest || len(after.Pools[0].Nodes) != len(before.Pools[0].Nodes) {
		t.Errorf("before %+v, after %+v", before.Pools[0], after.Pools[0])
	}
	moved := 0
	for key, homes := range again.homes("fn") {
		if homes != want[key] {
			moved++
		}
	}
	if moved > 0 {
		t.Errorf("%d of %d keys moved", moved, len(want))
	}
	if after.Pools[0].Epoch <= before.Pools[0].Epoch { // era and term have one digit here
		t.Errorf("epoch %s follows %s", after.Pools[0].Epoch, before.Pools[0].Epoch)
	}

	// The history matters: without the tables some keys would stand elsewhere, so the test can fail.
	fresh := newKeeping()
	e, _ := crashed.Load(t.Context())
	if err := fresh.Save(t.Context(), &roost.Edits{}, e); err != nil {
		t.Fatal(err)
	}
	if build(t, conf, houseOptions{store: fresh}).Status().Pools[0].Digest == before.Pools[0].Digest {
		t.Error("the table does not depend on its history, and this test shows nothing")
	}
}

func TestATableThatCannotBeReadCostsAWarningAndNoStart(t *testing.T) {
	s := newKeeping()
	s.SaveTable(t.Context(), "fn", []byte("nonsense"))
	h := build(t, fmt.Sprintf(onePool, "127.0.0.1:1"), houseOptions{store: s})
	h.log.await(0, "a stored table cannot be used")
	if !h.Status().Ready {
		t.Error("it is not ready")
	}
}

func TestADrainCutsWhatIsStillOpenAtItsDeadline(t *testing.T) {
	a, _ := echo(t, "a")
	b, _ := echo(t, "b")
	h := build(t, fmt.Sprintf(onePool, "a="+a+", b="+b), houseOptions{})
	h.change(roost.SetHold{Pool: "fn", Node: "b", Hold: roost.Hold{Kind: roost.Draining, Cause: "operator"}})
	tunnel := dial(t, h.addr("web"))
	tunnel.upgrade("/ws")
	h.change(roost.LiftHold{Pool: "fn", Node: "b"})
	const deadline = 300 * time.Millisecond
	began := time.Now()
	h.change(roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Draining, Cause: "operator", Deadline: deadline}})
	if err := tunnel.ended(); err != nil {
		t.Errorf("after the deadline: %v", err)
	}
	if after := time.Since(began); after < deadline {
		t.Errorf("it was cut after %v", after)
	}
	if n := h.Status().Pools[0].Nodes[0]; n.Duty != "down" {
		t.Errorf("the node: %+v", n)
	}
}

func TestANodeThatIsTakenDownLosesItsTunnelsAndFinishesItsRequests(t *testing.T) {
	a, release := echo(t, "a")
	h := build(t, fmt.Sprintf(onePool, "a="+a), houseOptions{})
	tunnel, busy := dial(t, h.addr("web")), dial(t, h.addr("web"))
	busy.ask("/slow")
	h.await("the request is at its node", func(s roost.Status) bool { return s.Pools[0].Nodes[0].InFlight == 1 })
	tunnel.upgrade("/ws")
	down := roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Down, Cause: "operator"}}
	if _, err := h.Change(t.Context(), down, nil); code(err) != roost.CodeLastNode {
		t.Fatalf("without force: %v", err)
	}
	down.Force = true
	h.change(down)
	if err := tunnel.ended(); err != nil {
		t.Errorf("the tunnel: %v", err)
	}
	release()
	if body, _ := busy.answer(); body != "a /slow" {
		t.Errorf("the request: %q", body)
	}
}

func TestChangesReloadsAndRequestsAtTheSameTimeDisturbEachOtherNot(t *testing.T) {
	a, _ := echo(t, "a")
	h := build(t, fmt.Sprintf(onePool, "a="+a), houseOptions{})
	addr := h.addr("web")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			conn := dial(t, addr)
			for range 50 {
				if body, _ := conn.get("/x"); body != "a /x" {
					t.Errorf("traffic: %q", body)
				}
			}
		})
		wg.Go(func() {
			for n := range 10 {
				if _, err := h.Change(t.Context(), roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: fmt.Sprint(i, n), Nodes: []roost.NodeID{"a"}}}, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if r := h.Reload(t.Context(), BySignal, false); !r.OK {
				t.Error(r.Errors)
			}
		}
	})
	wg.Wait()
	if s := h.Status(); s.Revision != 40 || s.Pools[0].Pins != 40 {
		t.Errorf("revision %d, %d pins", s.Revision, s.Pools[0].Pins)
	}
}

func TestAListingIsFoldedInAndKnownToLaterChanges(t *testing.T) {
	a, _ := echo(t, "a")
	first := roost.Listing{Source: roost.Source{Kind: "lb_nodes"}, Pool: "fn", Nodes: []roost.Node{nodeAt(a, a)}}
	h := build(t, "listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [] } }\n", houseOptions{Options: Options{Listed: []roost.Listing{first}}})
	if n := h.Status().Pools[0].Nodes; len(n) != 1 || n[0].Sources[0] != "lb_nodes" {
		t.Fatalf("at the start: %+v", n)
	}
	b, _ := echo(t, "b")
	first.Nodes = []roost.Node{nodeAt(a, a), nodeAt(b, b)}
	if err := h.List(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	h.change(roost.SetHold{Pool: "fn", Node: roost.NodeID(a), Hold: roost.Hold{Kind: roost.Draining, Cause: "operator"}})
	if body, _ := dial(t, h.addr("web")).get("/x"); body != "b /x" {
		t.Errorf("traffic: %q", body)
	}
	if _, err := h.Change(t.Context(), roost.RemoveNode{Pool: "fn", Node: roost.NodeID(b)}, nil); code(err) != roost.CodeListedByFile {
		t.Errorf("remove what a source lists: %v", err)
	}
}
