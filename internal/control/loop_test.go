package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	cancel   func()
	ended    chan error
}

func newRig() *rig {
	r := &rig{ended: make(chan error, 1)}
	r.Loop = New(Options{Snapshot: &r.snapshot, Log: slog.New(slog.NewTextHandler(&r.log, nil)), Incarnation: roost.Incarnation{1}, Version: "1.2.3",
		Targets: func(ts []roost.Target) { r.mu.Lock(); r.targets = append(r.targets, ts); r.mu.Unlock() },
		Urge:    func(_ roost.PoolID, n roost.NodeID) { r.mu.Lock(); r.urged = append(r.urged, n); r.mu.Unlock() }})
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
