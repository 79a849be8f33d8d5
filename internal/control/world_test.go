package control

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roost"
	"roost/internal/intent"
)

// life is a world under random events, and what must hold of it told in the dumbest way.
type life struct {
	w      *World
	now    int64
	snap   *roost.Snapshot
	facts  *Facts
	epochs map[roost.PoolID]roost.Epoch // the latest of each pool, removed pools included
	open   map[where]*roost.Live        // where requests are in flight, and the counters they hold
	said   map[*roost.Snapshot]string   // what each snapshot said when it was published

	cfg    *roost.Config
	edits  *roost.Edits
	listed []roost.Listing
	kept   map[roost.PoolID]*roost.Table
	wished map[roost.PoolID]string     // what each pool's last table rests on
	heard  []roost.ListenerView        // by Listeners
	used   map[roost.ListenerID]string // names of the listeners that this process ever had
}

type where struct {
	pool roost.PoolID
	node roost.NodeID
}

// step takes an event and checks what every step owes.
func (l *life) step(t *rapid.T, e Event) (refused error) {
	published, fresh := 0, map[*roost.Table]bool{}
	for _, a := range l.w.Step(l.now, e) {
		switch a := a.(type) {
		case Listeners:
			if published > 0 {
				t.Fatal("listeners are told after the snapshot")
			}
			l.heard = a.Views
		case Keep:
			if !fresh[a.Table] {
				t.Fatalf("pool %s: a table is kept that was not published in this step for the first time", a.Pool)
			}
			delete(fresh, a.Table)
			l.kept[a.Pool] = a.Table
		case Publish:
			for i := range a.Pools {
				if before := l.view(a.Pools[i].ID); before == nil || before.Table != a.Pools[i].Table {
					fresh[a.Pools[i].Table] = true
				}
			}
			if published++; l.snap != nil && a.Seq <= l.snap.Seq {
				t.Fatalf("Seq %d after %d", a.Seq, l.snap.Seq)
			}
			l.published(t, a.Snapshot)
		case Show:
			l.facts = a.Facts
			l.checkStatus(t, a.Facts.Status(l.now))
		case Refuse:
			refused = a.Err
		}
	}
	if published > 1 {
		t.Fatalf("%d snapshots in one step", published)
	}
	if len(fresh) > 0 {
		t.Fatalf("%d published tables are not kept", len(fresh))
	}
	if l.snap != nil && (l.facts == nil || l.facts.status.Snapshot != l.snap.Seq) {
		t.Fatalf("the facts are not of snapshot %d", l.snap.Seq)
	}
	return refused
}

// published checks what a snapshot owes by itself and against the one before.
func (l *life) published(t *rapid.T, s *roost.Snapshot) {
	for i := range s.Pools {
		p := &s.Pools[i]
		l.checkPool(t, p)
		last, known := l.epochs[p.ID]
		before := l.view(p.ID)
		switch c := p.Table.Epoch.Compare(last); {
		case before != nil && before.Table == p.Table && c != 0:
			t.Fatalf("pool %s: the same table with epoch %v, then %v", p.ID, last, p.Table.Epoch)
		case (before == nil || before.Table != p.Table) && known && c <= 0:
			t.Fatalf("pool %s: a new table with epoch %v after %v", p.ID, p.Table.Epoch, last)
		}
		l.epochs[p.ID] = p.Table.Epoch
		if before != nil && before.Liveness != p.Liveness && (slices.Equal(before.Liveness.Dead, p.Liveness.Dead) || before.Liveness.Rev >= p.Liveness.Rev) {
			t.Fatalf("pool %s: liveness %+v, then %+v", p.ID, *before.Liveness, *p.Liveness)
		}
		if before != nil && len(p.Nodes) > 0 && slices.Equal(before.Nodes, p.Nodes) && &before.Nodes[0] != &p.Nodes[0] {
			t.Fatalf("pool %s: nodes that did not change are not shared", p.ID)
		}
	}
	l.checkMerged(t, s)
	l.checkListeners(t, s)
	l.snap = s
	l.said[s] = fmt.Sprint(text(s))
}

// checkMerged holds the nodes of a snapshot against configuration, edits and listings.
func (l *life) checkMerged(t *rapid.T, s *roost.Snapshot) {
	merged, _ := intent.Merge(l.cfg, l.edits, l.listed, l.now)
	if len(merged) != len(s.Pools) {
		t.Fatalf("%d pools of %d", len(s.Pools), len(merged))
	}
	for i := range merged {
		l.wished[merged[i].ID] = wish(&merged[i])
		listed := map[roost.NodeID]*roost.Node{}
		for j := range merged[i].Intent.Nodes {
			listed[merged[i].Intent.Nodes[j].ID] = &merged[i].Intent.Nodes[j]
		}
		seen := 0
		for _, n := range s.Pools[i].Nodes {
			c := listed[n.ID]
			switch {
			case c == nil && (n.Cut || n.Duty != roost.DutyDown || n.Weight != 0):
				t.Fatalf("pool %s: nobody lists node %s, which is %+v", merged[i].ID, n.ID, n)
			case c == nil:
			case n.Addr != c.Addr || n.Duty != roost.DutyOf(c.Holds) || n.Cut != (n.Duty == roost.DutyDown):
				t.Fatalf("pool %s: node %s is %+v, and should be %+v", merged[i].ID, n.ID, n, c)
			default:
				seen++
			}
		}
		if seen != len(listed) {
			t.Fatalf("pool %s: %d nodes of %d", merged[i].ID, seen, len(listed))
		}
	}
}

// checkListeners holds the views of listeners against all configurations that this process had.
func (l *life) checkListeners(t *rapid.T, s *roost.Snapshot) {
	if len(s.Listeners) != len(l.heard) || len(s.Listeners) > 0 && &s.Listeners[0] != &l.heard[0] {
		t.Fatalf("published listeners %+v, told were %+v", s.Listeners, l.heard)
	}
	configured := map[roost.ListenerID]*roost.Listener{}
	for i := range l.cfg.Listeners {
		c := &l.cfg.Listeners[i]
		configured[c.ID], l.used[c.ID] = c, c.Name
	}
	for i := range s.Listeners {
		v, id := &s.Listeners[i], roost.ListenerID(i)
		if c := configured[id]; v.Name != l.used[id] || v.Retired != (c == nil && v.Name != "") || c != nil && !slices.Equal(v.Routes, c.Routes) {
			t.Fatalf("listener %d is %+v, configured %+v", id, v, c)
		}
		for _, r := range v.Routes {
			if int(r.Pool) >= len(s.Pools) || s.Pools[r.Pool].ID != r.PoolID {
				t.Fatalf("listener %d: a route to %s goes to pool %d", id, r.PoolID, r.Pool)
			}
		}
	}
}

func (l *life) view(id roost.PoolID) *roost.PoolView {
	if l.snap == nil {
		return nil
	}
	if i := slices.IndexFunc(l.snap.Pools, func(p roost.PoolView) bool { return p.ID == id }); i >= 0 {
		return &l.snap.Pools[i]
	}
	return nil
}

func (l *life) checkPool(t *rapid.T, p *roost.PoolView) {
	if p.Live == nil || p.Liveness == nil || len(p.Nodes) != len(p.Table.Roster) || p.Table.Epoch.IsZero() {
		t.Fatalf("pool %s: incomplete view", p.ID)
	}
	var weight uint64
	takers := 0
	for i := range p.Nodes {
		n, r := &p.Nodes[i], &p.Table.Roster[i]
		switch {
		case n.ID != r.ID || n.Live == nil:
			t.Fatalf("pool %s: node %d is %s, in the roster %s", p.ID, i, n.ID, r.ID)
		case (n.Verdict == roost.Dead || r.Closed || r.Share == 0) != (n.Weight == 0):
			t.Fatalf("pool %s: node %s is %v, share %d, closed %v, and has weight %d", p.ID, n.ID, n.Verdict, r.Share, r.Closed, n.Weight)
		case n.Weight > r.Share:
			t.Fatalf("pool %s: node %s has weight %d of %d", p.ID, n.ID, n.Weight, r.Share)
		case p.Liveness.IsDead(roost.NodeRef(i)) && n.Verdict != roost.Dead:
			t.Fatalf("pool %s: node %s is agreed dead and %v", p.ID, n.ID, n.Verdict)
		}
		if held := l.open[where{p.ID, n.ID}]; held != nil && held != n.Live {
			t.Fatalf("pool %s: node %s lost its live counters with requests in flight", p.ID, n.ID)
		}
		if n.Weight > 0 {
			takers++
		}
		weight += uint64(n.Weight)
	}
	if weight != p.Weight || takers != p.Takers {
		t.Fatalf("pool %s: weight %d of %d, its nodes sum up to %d of %d", p.ID, p.Weight, p.Takers, weight, takers)
	}
}

// checkStatus holds a status against the snapshot that it is of.
func (l *life) checkStatus(t *rapid.T, s roost.Status) {
	if s.Snapshot != l.snap.Seq || len(s.Pools) != len(l.snap.Pools) {
		t.Fatalf("status of snapshot %d with %d pools, published is %d with %d", s.Snapshot, len(s.Pools), l.snap.Seq, len(l.snap.Pools))
	}
	for i, p := range s.Pools {
		v := &l.snap.Pools[i]
		slots, effective, inFlight := 0, 0.0, int64(0)
		for _, n := range p.Nodes {
			slots, effective, inFlight = slots+n.Slots, effective+n.Effective, inFlight+n.InFlight
		}
		if len(p.Nodes) > 0 && v.Weight > 0 && slots != v.Table.Slots() || int64(effective*roost.WeightOne+0.5) != int64(v.Weight) || inFlight > p.InFlight ||
			p.Panic != (v.Takers == 0 && slices.ContainsFunc(v.Table.Roster, func(r roost.RosterNode) bool { return r.Share > 0 && !r.Closed })) {
			t.Fatalf("status %+v of %+v", p, v)
		}
	}
}

// text is all of a snapshot but what its live counters say.
func text(s *roost.Snapshot) (lines []string) {
	lines = append(lines, fmt.Sprint(s.Seq, s.Config, len(s.Listeners)))
	for i := range s.Pools {
		p := &s.Pools[i]
		lines = append(lines, fmt.Sprint(p.ID, p.Table.Epoch, p.Table.Digest, *p.Liveness, p.Weight, p.Takers, p.Nodes))
	}
	return lines
}

// Draws are from small sets, so that names meet again.
func drawConfig(t *rapid.T) *roost.Config {
	cfg := &roost.Config{Cluster: "test", Digest: roost.Digest{rapid.Byte().Draw(t, "digest")}}
	for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom([]roost.PoolID{"p", "q", "r"}), 0, 3, rapid.ID).Draw(t, "pools") {
		p := roost.Pool{ID: id, Intent: roost.Intent{Policy: roost.Policy{Homes: rapid.Uint8Range(1, 3).Draw(t, "homes"), WalkFloor: 4}},
			Health: roost.HealthSettings{Kind: rapid.SampledFrom([]roost.HealthKind{roost.HealthTCP, roost.HealthNone}).Draw(t, "kind"),
				Interval: time.Second, Timeout: time.Second, Rise: rapid.IntRange(1, 2).Draw(t, "rise"), Fall: rapid.IntRange(1, 3).Draw(t, "fall"),
				SlowStart: rapid.SampledFrom([]time.Duration{0, 2 * time.Second}).Draw(t, "slow start"), Burst: rapid.IntRange(0, 3).Draw(t, "burst"), Eject: time.Second}}
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(nodeIDs), 0, len(nodeIDs), rapid.ID).Draw(t, "nodes") {
			node := roost.Node{ID: n, Addr: fmt.Sprintf("%s:%d", n, rapid.IntRange(80, 81).Draw(t, "port")),
				Weight: rapid.SampledFrom([]uint32{1, 500, 1000, 3000}).Draw(t, "weight")}
			if kind := rapid.SampledFrom([]roost.HoldKind{0, 0, 0, roost.Draining, roost.Down}).Draw(t, "hold"); kind != 0 {
				node.Holds = []roost.Hold{{Kind: kind, Cause: "operator"}}
			}
			p.Intent.Nodes = append(p.Intent.Nodes, node)
		}
		if len(p.Intent.Nodes) > 0 && rapid.Bool().Draw(t, "pin") {
			p.Intent.Pins = []roost.PinIntent{{Key: "k", Nodes: []roost.NodeID{p.Intent.Nodes[0].ID}}}
		}
		cfg.Pools = append(cfg.Pools, p)
	}
	for _, id := range rapid.SliceOfNDistinct(rapid.Uint16Range(0, 3), 0, 3, rapid.ID).Draw(t, "listeners") {
		l := roost.Listener{ID: roost.ListenerID(id), Name: fmt.Sprint("l", rapid.IntRange(0, 9).Draw(t, "name"))}
		for i := range cfg.Pools {
			l.Routes = append(l.Routes, &roost.Route{Pool: roost.PoolRef(i), PoolID: cfg.Pools[i].ID})
		}
		cfg.Listeners = append(cfg.Listeners, l)
	}
	return cfg
}

// drawChange draws a change about a node that may be there.
func (l *life) drawChange(t *rapid.T) roost.Change {
	pool := rapid.SampledFrom([]roost.PoolID{"p", "q", "r"}).Draw(t, "pool")
	node := rapid.SampledFrom(nodeIDs).Draw(t, "node")
	switch rapid.IntRange(0, 7).Draw(t, "change") {
	case 0:
		return roost.AddNode{Pool: pool, Node: roost.Node{ID: node, Addr: fmt.Sprintf("%s:%d", node, rapid.IntRange(80, 81).Draw(t, "port")), Weight: roost.WeightOne}}
	case 1:
		return roost.RemoveNode{Pool: pool, Node: node}
	case 2:
		return roost.SetWeight{Pool: pool, Node: node, Weight: rapid.Uint32Range(0, 3).Draw(t, "weight") * 500}
	case 3, 4:
		return roost.SetHold{Pool: pool, Node: node, Force: true, Hold: roost.Hold{Kind: roost.Draining, Since: roost.Stamp{Wall: uint64(l.now)},
			Deadline: time.Duration(rapid.IntRange(0, 2000).Draw(t, "deadline")) * time.Millisecond}}
	case 5:
		return roost.LiftHold{Pool: pool, Node: node}
	case 6:
		return roost.SetPin{Pool: pool, Pin: roost.PinIntent{Key: "k", Nodes: []roost.NodeID{node}}}
	}
	return roost.SetHomes{Pool: pool, Homes: rapid.Uint8Range(0, 4).Draw(t, "homes")}
}

// restart begins another process, with the edits and tables that were kept.
func (l *life) restart(t *rapid.T) {
	l.w = NewWorld(roost.Incarnation{1}, slices.Collect(maps.Values(l.kept))...)
	l.snap, l.facts, l.heard, l.listed = nil, nil, nil, nil
	l.open, l.used = map[where]*roost.Live{}, map[roost.ListenerID]string{}
	if l.edits != nil {
		l.step(t, Edited{l.edits})
	}
	if l.cfg == nil {
		return
	}
	kept, wished := maps.Clone(l.kept), maps.Clone(l.wished)
	l.step(t, Configured{l.cfg})
	for i := range l.snap.Pools {
		p := &l.snap.Pools[i]
		if was := kept[p.ID]; was != nil && wished[p.ID] == l.wished[p.ID] && was.Digest != p.Table.Digest {
			t.Fatalf("pool %s: nothing changed but the process, and keys moved", p.ID)
		}
		if was := kept[p.ID]; was != nil && p.Table.Epoch.Term <= was.Epoch.Term {
			t.Fatalf("pool %s: epoch %v after %v of the process before", p.ID, p.Table.Epoch, was.Epoch)
		}
	}
}

// wish is what of a pool a table rests on.
func wish(p *roost.Pool) string {
	var nodes []string
	for _, n := range p.Intent.Nodes {
		nodes = append(nodes, fmt.Sprint(n.ID, n.Weight, n.Zone, roost.DutyOf(n.Holds) >= roost.DutyDraining))
	}
	slices.Sort(nodes)
	return fmt.Sprint(nodes, p.Intent.Pins, p.Intent.Policy)
}

var nodeIDs = []roost.NodeID{"a", "b", "c", "d", "e"}

// pick draws a node of the snapshot.
func (l *life) pick(t *rapid.T) (where, *roost.PoolView, *roost.NodeView) {
	if l.snap == nil || len(l.snap.Pools) == 0 {
		t.Skip("no pool")
	}
	p := &l.snap.Pools[rapid.IntRange(0, len(l.snap.Pools)-1).Draw(t, "pool")]
	if len(p.Nodes) == 0 {
		t.Skip("no node")
	}
	n := &p.Nodes[rapid.IntRange(0, len(p.Nodes)-1).Draw(t, "node")]
	return where{p.ID, n.ID}, p, n
}

func TestAnyOrderOfEventsKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{w: NewWorld(roost.Incarnation{1}), epochs: map[roost.PoolID]roost.Epoch{}, open: map[where]*roost.Live{}, said: map[*roost.Snapshot]string{},
			kept: map[roost.PoolID]*roost.Table{}, wished: map[roost.PoolID]string{}, used: map[roost.ListenerID]string{}}
		pools := map[roost.PoolID]*roost.PoolLive{}
		t.Repeat(map[string]func(*rapid.T){
			"configure": func(t *rapid.T) {
				l.cfg = drawConfig(t)
				if err := l.step(t, Configured{l.cfg}); err != nil {
					t.Fatal(err)
				}
			},
			"edit": func(t *rapid.T) {
				if l.cfg == nil {
					t.Skip("no pool")
				}
				next, err := intent.Apply(l.cfg, l.edits, l.listed, l.drawChange(t))
				if err != nil || next == l.edits {
					t.Skip("changes nothing", err)
				}
				l.edits = next
				if err := l.step(t, Edited{next}); err != nil {
					t.Fatal(err)
				}
			},
			"list": func(t *rapid.T) {
				listing := roost.Listing{Pool: rapid.SampledFrom([]roost.PoolID{"p", "q", "r"}).Draw(t, "pool"),
					Source: roost.Source{Kind: rapid.SampledFrom([]string{"lb_nodes", "agent"}).Draw(t, "source")}}
				for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(nodeIDs), 0, 3, rapid.ID).Draw(t, "nodes") {
					listing.Nodes = append(listing.Nodes, roost.Node{ID: n, Addr: fmt.Sprintf("%s:%d", n, rapid.IntRange(80, 81).Draw(t, "port")), Weight: roost.WeightOne})
				}
				l.listed = append(slices.DeleteFunc(slices.Clone(l.listed), func(o roost.Listing) bool { return o.Pool == listing.Pool && o.Source == listing.Source }), listing)
				if err := l.step(t, Listed{listing}); err != nil {
					t.Fatal(err)
				}
			},
			"restart": func(t *rapid.T) {
				clear(pools)
				l.restart(t)
			},
			"configure badly": func(t *rapid.T) {
				before := l.snap
				bad := drawConfig(t)
				bad.Pools = append(bad.Pools, roost.Pool{ID: "x"}, roost.Pool{ID: "x"})
				if err := l.step(t, Configured{bad}); err == nil || l.snap != before {
					t.Fatalf("a bad configuration gave %v, snapshot changed: %v", err, l.snap != before)
				}
			},
			"probe": func(t *rapid.T) {
				at, _, n := l.pick(t)
				l.step(t, Probed{roost.ProbeResult{Pool: at.pool, Node: at.node, Addr: n.Addr, OK: rapid.Bool().Draw(t, "ok"), Reason: "because"}})
			},
			"requests end": func(t *rapid.T) {
				_, _, n := l.pick(t)
				n.Live.Requests.Add(3)
				n.Live.ConnectFail.Add(rapid.Uint64Range(0, 1).Draw(t, "connect"))
				n.Live.Broken.Add(rapid.Uint64Range(0, 1).Draw(t, "broken"))
				n.Live.Errors.Add(rapid.Uint64Range(0, 1).Draw(t, "errors"))
			},
			"a request begins": func(t *rapid.T) {
				at, p, n := l.pick(t)
				n.Live.InFlight.Add(1)
				p.Live.InFlight.Add(1)
				l.open[at], pools[at.pool] = n.Live, p.Live
			},
			"a node's requests end": func(t *rapid.T) {
				if len(l.open) == 0 {
					t.Skip("none")
				}
				var all []where
				for at := range l.open {
					all = append(all, at)
				}
				slices.SortFunc(all, func(a, b where) int {
					return slices.Compare([]string{string(a.pool), string(a.node)}, []string{string(b.pool), string(b.node)})
				})
				at := rapid.SampledFrom(all).Draw(t, "where")
				pools[at.pool].InFlight.Add(-l.open[at].InFlight.Swap(0))
				delete(l.open, at)
			},
			"time passes": func(t *rapid.T) {
				for range rapid.IntRange(1, 15).Draw(t, "ticks") {
					l.now += int64(tickEvery)
					l.step(t, Tick{})
				}
			},
		})
		l.settle(t)
		for s, said := range l.said {
			if got := fmt.Sprint(text(s)); got != said {
				t.Fatalf("snapshot %d changed after it was published:\n%s\n%s", s.Seq, said, got)
			}
		}
	})
}

// settle lets everything end and checks that the world comes to rest with nothing kept.
func (l *life) settle(t *rapid.T) {
	for at, live := range l.open {
		live.InFlight.Store(0)
		for _, p := range append(slices.Clone(l.w.pools), l.w.leaving...) {
			if p.conf.ID == at.pool {
				p.live.InFlight.Store(0)
			}
		}
	}
	for range 100 {
		l.now += int64(tickEvery)
		l.step(t, Tick{})
	}
	if l.snap == nil {
		return
	}
	rest := l.snap
	l.now += int64(tickEvery)
	if l.step(t, Tick{}); l.snap != rest {
		t.Fatal("the world does not come to rest")
	}
	if len(l.w.leaving) > 0 {
		t.Fatalf("%d removed pools are kept with nothing in flight", len(l.w.leaving))
	}
	for i, p := range l.w.pools {
		if len(p.known) != len(p.nodes) {
			t.Fatalf("pool %s keeps %d nodes of %d", p.conf.ID, len(p.known), len(p.nodes))
		}
		for j, n := range p.nodes {
			if v := &l.snap.Pools[i].Nodes[j]; v.Verdict != n.health.Verdict || v.Weight != p.weight(l.now, n) {
				t.Fatalf("pool %s: node %s is published as %v with %d, and is %v with %d", p.conf.ID, n.conf.ID, v.Verdict, v.Weight, n.health.Verdict, p.weight(l.now, n))
			}
		}
	}
}

func TestATickAndAProbeWithoutNewsAllocateNothing(t *testing.T) {
	w := NewWorld(roost.Incarnation{1})
	now := int64(0)
	w.Step(now, Configured{twoNodes(1)})
	var e Event = Probed{roost.ProbeResult{Pool: "fn", Node: "a", Addr: "10.0.0.1:80", OK: true}}
	quiet := func() {
		now += int64(tickEvery)
		w.Step(now, Tick{})
		w.Step(now, e)
	}
	for range 10 {
		quiet()
	}
	if n := testing.AllocsPerRun(100, quiet); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
