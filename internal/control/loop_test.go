package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roost"
)

// twoNodes is a configuration told apart by digest.
func twoNodes(digest byte) *roost.Config {
	return &roost.Config{Cluster: "test", Digest: roost.Digest{digest}, Pools: []roost.Pool{{ID: "fn",
		Intent: roost.Intent{Policy: roost.Policy{Homes: 1, WalkFloor: roost.DefaultWalkFloor}, Nodes: []roost.Node{
			{ID: "a", Addr: "10.0.0.1:80", Weight: roost.WeightOne}, {ID: "b", Addr: "10.0.0.2:80", Weight: roost.WeightOne}}},
		Health: roost.HealthSettings{Kind: roost.HealthTCP, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1, Eject: time.Second}}}}
}

// rig is a running Loop and what it did.
type rig struct {
	*Loop
	snapshot atomic.Pointer[roost.Snapshot]
	log      bytes.Buffer // by the loop's goroutine; read after its end
	mu       sync.Mutex   // guards the rest
	targets  [][]roost.Target
	urged    []roost.NodeID
	said     []string // what Keep and Listeners were told, and which snapshot was in force then
	kept     []*roost.Table
	cancel   func()
	ended    chan error
}

func newRig(tables ...*roost.Table) *rig {
	r := &rig{ended: make(chan error, 1)}
	seq := func() uint64 {
		if s := r.snapshot.Load(); s != nil {
			return s.Seq
		}
		return 0
	}
	r.Loop = New(Options{Snapshot: &r.snapshot, Log: slog.New(slog.NewTextHandler(&r.log, nil)), Incarnation: roost.Incarnation{1}, Version: "1.2.3",
		Targets: func(ts []roost.Target) { r.mu.Lock(); r.targets = append(r.targets, ts); r.mu.Unlock() },
		Urge:    func(_ roost.PoolID, n roost.NodeID) { r.mu.Lock(); r.urged = append(r.urged, n); r.mu.Unlock() },
		Tables:  tables,
		Keep: func(t *roost.Table) {
			r.mu.Lock()
			r.said, r.kept = append(r.said, fmt.Sprintf("snapshot %d: keep %s %d.%d.%d", seq(), t.Pool, t.Epoch.Era, t.Epoch.Term, t.Epoch.Seq)), append(r.kept, t)
			r.mu.Unlock()
		},
		Listeners: func(ls []roost.ListenerView) {
			r.mu.Lock()
			r.said = append(r.said, fmt.Sprintf("snapshot %d: %d listeners", seq(), len(ls)))
			r.mu.Unlock()
		}})
	return r
}

func (r *rig) run(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx)
	go func() { r.ended <- r.Run(ctx) }()
}

func (r *rig) end(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Error("Run:", err)
	}
}

func TestConfigureReturnsAfterTheSnapshotWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		if st := r.Status(); st.Version != "1.2.3" || st.Pools == nil || len(st.Pools) != 0 {
			t.Errorf("status before the first configuration: %+v", st)
		}
		r.run(t.Context())
		for d := range byte(5) {
			if err := r.Configure(t.Context(), twoNodes(d)); err != nil {
				t.Fatal(err)
			}
			if got := r.snapshot.Load(); got == nil || got.Config != (roost.Digest{d}) {
				t.Fatalf("after Configure %d the snapshot is %+v", d, got)
			}
			if since := r.Status().Pools[0].Nodes[0].Since; !since.Equal(time.Now()) {
				t.Errorf("node a is what it is since %v; it came at %v", since, time.Now())
			}
			if st := r.Status(); st.Snapshot != uint64(d)+1 || st.Config != (roost.Digest{d}).String() || len(st.Pools) != 1 || len(st.Pools[0].Nodes) != 2 {
				t.Fatalf("after Configure %d the status is %+v", d, st)
			}
		}
		r.end(t)
		if len(r.targets) != 5 || len(r.targets[0]) != 2 {
			t.Errorf("targets: %v", r.targets)
		}
	})
}

func TestEditsAndListingsAreInForceWhenTheirCallReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.run(t.Context())
		c := roost.Node{ID: "c", Addr: "10.0.0.3:80", Weight: roost.WeightOne}
		early := &roost.Edits{Rev: 7, Pools: map[roost.PoolID]roost.PoolEdits{"fn": {Nodes: []roost.Node{c}}}}
		if err := r.Edit(t.Context(), early); err != nil || r.snapshot.Load() != nil {
			t.Fatalf("edits before the first configuration: %v, snapshot %+v", err, r.snapshot.Load())
		}
		if err := r.Configure(t.Context(), twoNodes(1)); err != nil {
			t.Fatal(err)
		}
		if n := r.snapshot.Load().Pools[0].Nodes; len(n) != 3 || r.Status().Revision != 7 {
			t.Errorf("early edits were lost: %+v, revision %d", n, r.Status().Revision)
		}
		if err := r.Edit(t.Context(), nil); err != nil || r.snapshot.Load().Pools[0].Nodes[2].Duty != roost.DutyDown || r.Status().Revision != 0 {
			t.Errorf("no edits: %v, %+v", err, r.snapshot.Load().Pools[0].Nodes)
		}
		if err := r.List(t.Context(), roost.Listing{Source: roost.Source{Kind: "lb_nodes"}, Pool: "fn", Nodes: []roost.Node{c}}); err != nil {
			t.Fatal(err)
		}
		if n := r.snapshot.Load().Pools[0].Nodes[2]; n.Duty != roost.Up || n.Weight != roost.WeightOne {
			t.Errorf("the listed node is %+v", n)
		}
		if st := r.Status().Pools[0].Nodes[2]; len(st.Sources) != 1 || st.Sources[0] != "lb_nodes" {
			t.Errorf("status %+v", st)
		}
		r.end(t)
		if err := r.Edit(t.Context(), early); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		if err := r.List(t.Context(), roost.Listing{}); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestListenersAreToldBeforeTheirSnapshotAndTablesAreKeptAfterTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := twoNodes(1)
		cfg.Listeners = []roost.Listener{{Name: "web", Address: ":8080"}}
		edits := &roost.Edits{Rev: 1, Pools: map[roost.PoolID]roost.PoolEdits{"fn": {Weights: map[roost.NodeID]uint32{"a": 5}}}}
		configure := func(r *rig) error { return r.Configure(t.Context(), cfg) }
		edit := func(r *rig) error { return r.Edit(t.Context(), edits) }
		live := func(r *rig, steps ...func(*rig) error) *rig {
			r.run(t.Context())
			for _, step := range steps {
				if err := step(r); err != nil {
					t.Fatal(err)
				}
			}
			r.end(t)
			return r
		}
		first := live(newRig(), configure, edit)
		if want := []string{"snapshot 0: 1 listeners", "snapshot 1: keep fn 1.1.1", "snapshot 2: keep fn 1.1.2"}; !slices.Equal(first.said, want) {
			t.Errorf("%q", first.said)
		}
		before := *first.kept[0]
		second := live(newRig(first.kept...), edit, configure) // of two tables the later one counts
		if want := []string{"snapshot 0: 1 listeners", "snapshot 1: keep fn 1.2.1"}; !slices.Equal(second.said, want) {
			t.Errorf("%q", second.said)
		}
		if got := second.kept[0]; got.Digest != first.kept[1].Digest {
			t.Errorf("the same wishes give another table after a restart: %v, %v", got.Digest, first.kept[1].Digest)
		}
		if !reflect.DeepEqual(before, *first.kept[0]) {
			t.Error("a restored table was changed")
		}
	})
}

func TestAStatusBelongsToItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.run(t.Context())
		cfg := twoNodes(1)
		cfg.Listeners = []roost.Listener{{Name: "web", Address: ":8080"}}
		if err := r.Configure(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		st := r.Status()
		st.Listeners[0].Address, st.Pools[0].Nodes[0].Reason, st.Pools[0].ID = "127.0.0.1:39999", "mine", "mine"
		if st := r.Status(); st.Listeners[0].Address != ":8080" || st.Pools[0].Nodes[0].Reason != "" || st.Pools[0].ID != "fn" {
			t.Errorf("the next status is %+v", st)
		}
		r.end(t)
	})
}

func TestABadConfigurationIsReturnedAndTheOldOneStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.run(t.Context())
		if err := r.Configure(t.Context(), twoNodes(1)); err != nil {
			t.Fatal(err)
		}
		before := r.snapshot.Load()
		bad := twoNodes(2)
		bad.Pools = append(bad.Pools, bad.Pools[0])
		err := r.Configure(t.Context(), bad)
		if want := `apply configuration 020000000000: pool "fn" is given twice`; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if r.snapshot.Load() != before {
			t.Error("the snapshot changed")
		}
		r.end(t)
	})
}

func TestWhatRequestsMetIsAVerdictWithinATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.run(t.Context())
		if err := r.Configure(t.Context(), twoNodes(1)); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second + time.Millisecond)
		a := &r.snapshot.Load().Pools[0].Nodes[0]
		a.Live.Requests.Add(1)
		a.Live.ConnectFail.Add(1)
		<-time.After(tickEvery)
		synctest.Wait()
		if now := r.snapshot.Load().Pools[0].Nodes[0]; now.Weight != 0 || now.Verdict != roost.Dead || now.Live != a.Live {
			t.Errorf("%v after a connect failure node a is %+v", tickEvery, now)
		}
		if len(r.urged) != 1 || r.urged[0] != "a" {
			t.Errorf("urged: %v", r.urged)
		}
		r.end(t)
		if !strings.Contains(r.log.String(), `level=WARN msg="node is dead" pool=fn node=a`) {
			t.Errorf("log:\n%s", r.log.String())
		}
	})
}

func TestNothingIsPublishedWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.run(t.Context())
		if err := r.Configure(t.Context(), twoNodes(1)); err != nil {
			t.Fatal(err)
		}
		for _, n := range []roost.NodeID{"a", "b"} {
			r.Probed(roost.ProbeResult{Pool: "fn", Node: n, Addr: map[roost.NodeID]string{"a": "10.0.0.1:80", "b": "10.0.0.2:80"}[n], OK: true})
		}
		<-time.After(time.Second)
		settled := r.snapshot.Load()
		<-time.After(time.Hour)
		synctest.Wait()
		if got := r.snapshot.Load(); got != settled {
			t.Errorf("an hour later there are %d snapshots more", got.Seq-settled.Seq)
		}
		r.end(t)
	})
}

func TestProbedNeverBlocksAndCountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig() // nobody reads the inbox yet
		for range inboxLen + 5 {
			r.Probed(roost.ProbeResult{Pool: "fn", Node: "a"})
		}
		r.run(t.Context())
		<-time.After(tickEvery)
		synctest.Wait()
		r.end(t)
		if n := strings.Count(r.log.String(), "dropped=5"); n != 1 {
			t.Errorf("%d lines say dropped=5:\n%s", n, r.log.String())
		}
	})
}

func TestConfigureEndsWithItsContextAndWithTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Configure(ctx, twoNodes(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before Run: %v, want the context's end", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- r.Configure(t.Context(), twoNodes(2)) }()
		synctest.Wait()
		r.run(t.Context())
		if err := <-waiting; err != nil {
			t.Errorf("a configuration that waited for Run: %v", err)
		}
		r.end(t)
		if err := r.Configure(t.Context(), twoNodes(3)); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v, want ErrEnded", err)
		}
		if got := r.snapshot.Load().Config; got != (roost.Digest{2}) {
			t.Errorf("the snapshot is of configuration %v", got)
		}
	})
}

func TestManyMayConfigureProbeAndAskAtOnce(t *testing.T) {
	r := newRig()
	r.run(t.Context())
	var all sync.WaitGroup
	for g := range byte(4) {
		all.Go(func() {
			for i := range byte(10) {
				if err := r.Configure(t.Context(), twoNodes(g*10+i)); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for i := range 200 {
				r.Probed(roost.ProbeResult{Pool: "fn", Node: "a", Addr: "10.0.0.1:80", OK: i%3 > 0, Reason: fmt.Sprint(i)})
				if st := r.Status(); len(st.Pools) > 0 && len(st.Pools[0].Nodes) != 2 {
					t.Errorf("status %+v", st)
				}
				if s := r.snapshot.Load(); s != nil {
					s.Pools[0].Nodes[0].Live.Errors.Add(1)
				}
			}
		})
	}
	all.Wait()
	r.end(t)
	if seq := r.snapshot.Load().Seq; seq < 40 {
		t.Errorf("%d snapshots of 40 configurations", seq)
	}
}
