package pick_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"roost"
	"roost/internal/pick"
	"roost/internal/place"
)

const now = 1_790_000_000_000_000_000

// pool is a pool of nodes of the given weights in shares, all well and idle.
func pool(t testing.TB, policy roost.Policy, weights ...int) *roost.PoolView {
	t.Helper()
	in := place.Input{Pool: "p", Hash: place.HashFor("test"), Policy: policy}
	for i, w := range weights {
		in.Nodes = append(in.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprintf("n%03d", i)), Weight: uint32(w) * roost.WeightOne})
	}
	table, err := place.Build(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	p := &roost.PoolView{ID: "p", Table: table, Liveness: &roost.Liveness{Dead: make([]uint64, len(weights)/64+1)},
		Live: &roost.PoolLive{}, Settings: roost.PoolSettings{MaxTries: roost.MaxTries}}
	for _, n := range table.Roster {
		p.Nodes = append(p.Nodes, roost.NodeView{ID: n.ID, Addr: string(n.ID) + ":80", Weight: n.Share, Live: &roost.Live{}})
		p.Weight += uint64(n.Share)
		p.Takers++
	}
	return p
}

func equal(n int) []int { return slices.Repeat([]int{1}, n) }

var shared = roost.Policy{Homes: 3, WalkFloor: roost.DefaultWalkFloor}

// out takes a node out as control does for a verdict or a hold; the table stays.
func out(p *roost.PoolView, refs ...roost.NodeRef) {
	for _, ref := range refs {
		p.Weight -= uint64(p.Nodes[ref].Weight)
		p.Takers--
		p.Nodes[ref].Weight = 0
	}
}

func kill(p *roost.PoolView, refs ...roost.NodeRef) {
	out(p, refs...)
	for _, ref := range refs {
		p.Liveness.Dead[ref>>6] |= 1 << (ref & 63)
	}
}

func load(p *roost.PoolView, ref roost.NodeRef, n int64) {
	p.Nodes[ref].Live.InFlight.Add(n)
	p.Live.InFlight.Add(n)
}

func key(s string) *roost.Key { return &roost.Key{Bytes: []byte(s)} }

// order is every candidate of a key once.
func order(p *roost.PoolView, k *roost.Key) (refs []roost.NodeRef) {
	w := p.Table.Walk(p.Table.Hash.Sum(k.Bytes))
	for ref, _ := w.Next(); ref != roost.NoNode; ref, _ = w.Next() {
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// begin fails the test unless the choice is as said.
func begin(t *testing.T, p *roost.PoolView, k *roost.Key, tried *roost.Tried, node roost.NodeRef, why roost.Why) roost.Attempt {
	t.Helper()
	a, refusal := pick.Begin(p, k, tried, 1, now)
	if refusal != roost.NotRefused {
		t.Fatalf("refused: %v", refusal)
	}
	if a.Node != node || a.Why != why {
		t.Fatalf("node %d because of %v, want %d because of %v", a.Node, a.Why, node, why)
	}
	return a
}

func refused(t *testing.T, p *roost.PoolView, k *roost.Key, tried *roost.Tried, want roost.Refusal) {
	t.Helper()
	before := p.Live.InFlight.Load()
	if a, refusal := pick.Begin(p, k, tried, 1, now); refusal != want {
		t.Fatalf("refusal %v (node %d), want %v", refusal, a.Node, want)
	}
	if p.Live.InFlight.Load() != before {
		t.Fatal("a refusal was counted in")
	}
}

// IronFunctions' issue 570: ten calls of an idle function went to ten nodes.
func TestTenCallsOfAnIdleFunctionReachOneNode(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 64} {
		p := pool(t, shared, equal(n)...)
		for fn := range 200 {
			k := key(fmt.Sprintf("/r/app/fn-%d", fn))
			home := order(p, k)[0]
			for range 10 { // one after another
				var tried roost.Tried
				a := begin(t, p, k, &tried, home, roost.WhyHome)
				pick.End(&a)
			}
			var together []roost.Attempt
			for range roost.DefaultWalkFloor { // and at once, up to the floor
				var tried roost.Tried
				together = append(together, begin(t, p, k, &tried, home, roost.WhyHome))
			}
			for i := range together {
				pick.End(&together[i])
			}
		}
		if got := p.Live.InFlight.Load(); got != 0 {
			t.Fatalf("%d in flight at the end", got)
		}
	}
}

func TestAttemptSaysWhereItGoes(t *testing.T) {
	p := pool(t, shared, equal(5)...)
	stamped := *p.Table
	stamped.Epoch = roost.Epoch{Term: 2, Seq: 9}
	p.Table = &stamped
	k, tried := key("k"), roost.Tried{}
	home := order(p, k)[0]
	a := begin(t, p, k, &tried, home, roost.WhyHome)
	n := &p.Nodes[home]
	if a.ID != n.ID || a.Addr != n.Addr || a.Live != n.Live || a.Pool != p.Live || a.Epoch != stamped.Epoch || a.Try != 0 || a.Ended {
		t.Errorf("attempt %+v", a)
	}
	if k.Hash != p.Table.Hash.Sum([]byte("k")) {
		t.Error("the key's hash was not filled in")
	}
	if tried.N != 1 || tried.Refs[0] != home {
		t.Errorf("tried %+v", tried)
	}
	if n.Live.InFlight.Load() != 1 || p.Live.InFlight.Load() != 1 {
		t.Error("not counted in")
	}
}

func TestHomesAreUsedFirstToLastAsLoadGrows(t *testing.T) {
	p, k := pool(t, shared, equal(10)...), key("busy")
	o := order(p, k)
	var whys []roost.Why
	deepest := 0
	for i := range 200 {
		a, _ := pick.Begin(p, k, &roost.Tried{}, 1, now)
		if !slices.Contains(whys, a.Why) {
			whys = append(whys, a.Why)
		}
		at := slices.Index(o, a.Node)
		if at > deepest+1 {
			t.Fatalf("request %d: candidate %d before %d", i, at, deepest+1)
		}
		deepest = max(deepest, at)
	}
	if want := []roost.Why{roost.WhyHome, roost.WhyNextHome, roost.WhySpill}; !slices.Equal(whys, want) {
		t.Errorf("because of %v, want %v", whys, want)
	}
	if deepest < 4 { // the limit is 43 at the end
		t.Errorf("200 requests used %d candidates", deepest+1)
	}
	if p.Live.Spills.Load() == 0 {
		t.Error("no spill was counted")
	}
}

func TestNoNodePassesTheBoundWhileOthersAreBelow(t *testing.T) {
	p := pool(t, shared, 1, 1, 2, 4)
	for i := range 4000 {
		var tried roost.Tried
		a, _ := pick.Begin(p, key("the only key"), &tried, 1, now)
		n := &p.Nodes[a.Node]
		n.Live.InFlight.Add(-1)
		p.Live.InFlight.Add(-1)
		if got, limit := n.Live.InFlight.Load(), pick.Limit(p, n, now); got >= limit {
			t.Fatalf("request %d: node %d had %d in flight, its limit is %d", i, a.Node, got, limit)
		}
		n.Live.InFlight.Add(1)
		p.Live.InFlight.Add(1)
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		fair := 4000 * float64(n.Weight) / float64(p.Weight)
		if got := float64(n.Live.InFlight.Load()); got > 1.5*fair+1 {
			t.Errorf("node %d of weight %d has %v in flight, 1.5 times its share is %v", i, n.Weight, got, 1.5*fair)
		}
	}
}

func TestLimitFollowsTheFormula(t *testing.T) {
	for _, c := range []struct {
		nodes, inFlight int
		floor           uint32
		weight          uint32
		pressure        uint16
		want            int64
	}{
		{1, 0, 4, 1000, 0, 6},        // a = 1: a + 5*sqrt(a)
		{100, 0, 4, 1000, 0, 4},      // the floor
		{100, 0, 0, 1000, 0, 1},      // 0.01 + 0.5, rounded up
		{10, 9, 4, 1000, 0, 6},       // a = 1
		{10, 999, 4, 1000, 0, 150},   // a = 100: 1.5*a and a + 5*sqrt(a) are one
		{10, 9999, 4, 1000, 0, 1500}, // 1.5*a
		{10, 9999, 4, 500, 0, 750},   // half the weight
		{10, 9999, 4, 3000, 0, 4500},
		{100, 0, 4, 100, 0, 1},      // slow start
		{100, 0, 4, 1000, 32768, 1}, // half pressed: 4*(1-0.500008), rounded down
		{100, 0, 4, 1000, 65535, 0}, // takes nothing
		{100, 0, 4, 1000, 16384, 2}, // 4*0.749996
		{10, 9999, 4, 1000, 6554, 1349},
	} {
		p := pool(t, roost.Policy{Homes: 1, WalkFloor: c.floor}, equal(c.nodes)...)
		p.Live.InFlight.Store(int64(c.inFlight))
		n := &p.Nodes[0]
		n.Weight = c.weight
		n.Live.Report(roost.Load{Has: true, Pressure: c.pressure}, now)
		if got := pick.Limit(p, n, now); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestPressedNodeIsSparedUntilTheReportFades(t *testing.T) {
	p, k := pool(t, shared, equal(10)...), key("k")
	o := order(p, k)
	p.Nodes[o[0]].Live.Report(roost.Load{Has: true, Pressure: 65535}, now)
	at := func(seconds int64) roost.NodeRef {
		a, _ := pick.Begin(p, k, &roost.Tried{}, 1, now+seconds*1e9)
		pick.End(&a)
		return a.Node
	}
	if got := at(0); got != o[1] {
		t.Errorf("under full pressure: node %d, want the second home %d", got, o[1])
	}
	if got := at(30); got != o[0] {
		t.Errorf("three half-lives later: node %d, want the home %d", got, o[0])
	}
	p.Nodes[o[0]].Live.Report(roost.Load{Has: true}, now)
	if got := at(0); got != o[0] {
		t.Errorf("after the all-clear: node %d, want the home %d", got, o[0])
	}
	// When all are pressed to the full, requests still go somewhere.
	for i := range p.Nodes {
		p.Nodes[i].Live.Report(roost.Load{Has: true, Pressure: 65535}, now)
	}
	begin(t, p, k, &roost.Tried{}, o[0], roost.WhyLeast)
	begin(t, p, k, &roost.Tried{}, o[1], roost.WhyLeast)
}

func TestDeadHomeIsReplacedByTheNextAndNothingElseMoves(t *testing.T) {
	p := pool(t, shared, equal(10)...)
	var before []roost.NodeRef
	for i := range 1000 {
		before = append(before, order(p, key(fmt.Sprint(i)))[0])
	}
	kill(p, 3)
	for i := range 1000 {
		k := key(fmt.Sprint(i))
		a, _ := pick.Begin(p, k, &roost.Tried{}, 1, now)
		pick.End(&a)
		want := before[i]
		if want == 3 {
			want = order(p, k)[1]
		}
		if a.Node != want {
			t.Fatalf("key %d: node %d, want %d", i, a.Node, want)
		}
	}
}

func TestWithoutALivingHomeTheFirstSuccessorServes(t *testing.T) {
	p, k := pool(t, shared, equal(10)...), key("k")
	o := order(p, k)
	kill(p, o[0], o[1])
	begin(t, p, k, &roost.Tried{}, o[2], roost.WhyNextHome)
	out(p, o[2])
	begin(t, p, k, &roost.Tried{}, o[3], roost.WhySuccessor)
	if got := p.Live.Spills.Load(); got != 0 {
		t.Errorf("%d spills: nothing was crowded", got)
	}
}

func TestNodeOnHoldIsPassedOver(t *testing.T) {
	p, k := pool(t, shared, equal(3)...), key("k")
	o := order(p, k)
	p.Nodes[o[0]].Live.HoldUntil.Store(now + 1)
	begin(t, p, k, &roost.Tried{}, o[1], roost.WhyNextHome)
	p.Nodes[o[0]].Live.HoldUntil.Store(now)
	begin(t, p, k, &roost.Tried{}, o[0], roost.WhyHome)
	for i := range p.Nodes { // all on hold: tried before the request fails
		p.Nodes[i].Live.HoldUntil.Store(now + 1)
	}
	begin(t, p, k, &roost.Tried{}, o[0], roost.WhyPanic)
	if got := p.Live.Panics.Load(); got != 1 {
		t.Errorf("%d panics", got)
	}
}

func TestWhenAllAreDeadTheyAreTriedAnyway(t *testing.T) {
	for _, agreed := range []bool{true, false} {
		p, k := pool(t, shared, equal(5)...), key("k")
		o := order(p, k)
		for _, ref := range o {
			if agreed {
				kill(p, ref)
			} else {
				out(p, ref)
			}
		}
		closed := *p.Table
		closed.Roster = slices.Clone(p.Table.Roster)
		closed.Roster[o[0]].Closed = true // draining is not death: it stays out
		p.Table = &closed
		var tried roost.Tried
		for i := range 4 {
			begin(t, p, k, &tried, o[i+1], roost.WhyPanic)
		}
		if got := p.Live.Panics.Load(); got != 4 {
			t.Errorf("%d panics", got)
		}
		begin(t, p, nil, &roost.Tried{}, firstOpen(p, 1), roost.WhyPanic) // without a key, too
		for i := range closed.Roster {
			closed.Roster[i].Closed = true
		}
		refused(t, p, k, &roost.Tried{}, roost.RefusedEmpty)
	}
}

// firstOpen is the first node of a random number's walk that is not closed.
func firstOpen(p *roost.PoolView, rnd uint64) roost.NodeRef {
	w := p.Table.Walk(roost.KeyHash(rnd))
	for {
		if ref, _ := w.Next(); !p.Table.Roster[ref].Closed {
			return ref
		}
	}
}

func TestTriedNodesAreNotTriedAgain(t *testing.T) {
	p, k := pool(t, shared, equal(3)...), key("k")
	o := order(p, k)
	var tried roost.Tried
	for i, ref := range o {
		why := roost.WhyRetry
		if i == 0 {
			why = roost.WhyHome
		}
		if a := begin(t, p, k, &tried, ref, why); int(a.Try) != i {
			t.Errorf("try %d, want %d", a.Try, i)
		}
	}
	refused(t, p, k, &tried, roost.RefusedTried)
	refused(t, p, nil, &tried, roost.RefusedTried)
}

func TestEmptyPoolRefuses(t *testing.T) {
	for _, policy := range []roost.Policy{shared, {Homes: 1, Owner: roost.Available}} {
		p := pool(t, policy)
		refused(t, p, key("k"), &roost.Tried{}, roost.RefusedEmpty)
		refused(t, p, nil, &roost.Tried{}, roost.RefusedEmpty)
	}
}

func TestHardLimitHoldsAndIsScaledByWeight(t *testing.T) {
	for name, k := range map[string]*roost.Key{"keyed": key("k"), "balanced": nil} {
		p := pool(t, shared, 1, 2, 3)
		p.Settings.MaxInFlight = 2
		p.Nodes[1].Weight, p.Weight = 1500, p.Weight-500 // ailing
		var attempts []roost.Attempt
		for range 2 + 3 + 6 {
			a, refusal := pick.Begin(p, k, &roost.Tried{}, rand.Uint64(), now)
			if refusal != roost.NotRefused {
				t.Fatalf("%s: refused after %d: %v", name, len(attempts), refusal)
			}
			attempts = append(attempts, a)
		}
		for i, want := range []int64{2, 3, 6} {
			if got := p.Nodes[i].Live.InFlight.Load(); got != want {
				t.Errorf("%s: node %d has %d in flight, want %d", name, i, got, want)
			}
		}
		refused(t, p, k, &roost.Tried{}, roost.RefusedFull)
		p.Live.Waiting.Add(1)
		if !pick.End(&attempts[0]) {
			t.Errorf("%s: the end of an attempt woke nobody", name)
		}
		if a, _ := pick.Begin(p, k, &roost.Tried{}, 1, now); a.Node != attempts[0].Node {
			t.Errorf("%s: node %d, the one with room is %d", name, a.Node, attempts[0].Node)
		}
	}
}

func TestHardLimitHoldsInPanicToo(t *testing.T) {
	p, k := pool(t, shared, equal(2)...), key("k")
	p.Settings.MaxInFlight = 1
	o := order(p, k)
	kill(p, o...)
	begin(t, p, k, &roost.Tried{}, o[0], roost.WhyPanic)
	begin(t, p, k, &roost.Tried{}, o[1], roost.WhyPanic)
	refused(t, p, k, &roost.Tried{}, roost.RefusedFull)
}

// owned is a pool whose keys have an owner.
var owned = roost.Policy{Homes: 1, Owner: roost.Available, WalkFloor: roost.DefaultWalkFloor}

func TestOwnedKeysGoToTheirOwnerAndNobodyElse(t *testing.T) {
	p, k := pool(t, owned, equal(5)...), key("group")
	o := order(p, k)
	load(p, o[0], 100_000) // however loaded,
	p.Nodes[o[0]].Live.HoldUntil.Store(now + 1e9)
	begin(t, p, k, &roost.Tried{}, o[0], roost.WhyHome)
	out(p, o[0]) // and whatever this balancer alone thinks of it
	var tried roost.Tried
	begin(t, p, k, &tried, o[0], roost.WhyHome)
	refused(t, p, k, &tried, roost.RefusedOwner)

	p.Liveness.Dead[0] |= 1 << o[0] // until its death is agreed
	begin(t, p, k, &roost.Tried{}, o[1], roost.WhySuccessor)
	p.Settings.MaxInFlight = 1
	refused(t, p, k, &roost.Tried{}, roost.RefusedFull)
	p.Settings.MaxInFlight = 0

	kill(p, o[1:]...)
	begin(t, p, k, &roost.Tried{}, o[0], roost.WhyPanic)
}

func TestDrainingOwnerHandsOver(t *testing.T) {
	p, k := pool(t, owned, equal(5)...), key("group")
	o := order(p, k)
	closed := *p.Table
	closed.Roster = slices.Clone(p.Table.Roster)
	closed.Roster[o[0]].Closed = true
	p.Table = &closed
	begin(t, p, k, &roost.Tried{}, o[1], roost.WhySuccessor)
}

// with adds an exception for a key to a pool's table.
func with(p *roost.PoolView, k *roost.Key, cause roost.Cause, homes ...roost.NodeRef) {
	t := *p.Table
	t.Pages = slices.Clone(t.Pages)
	hash := t.Hash.Sum(k.Bytes)
	page := *t.Pages[t.SlotOf(hash)>>roost.PageBits]
	page.SetExceptions([]roost.Exception{{Key: hash, Cause: cause, Homes: homes}})
	t.Pages[t.SlotOf(hash)>>roost.PageBits] = &page
	p.Table = &t
}

func TestExceptionsBeatTheSlot(t *testing.T) {
	for cause, why := range map[roost.Cause]roost.Why{
		roost.Pin:         roost.WhyPin,
		roost.HotKey:      roost.WhyHot,
		roost.MovedGroup:  roost.WhyMoved,
		roost.Quarantined: roost.WhyMoved,
	} {
		p, k := pool(t, shared, equal(10)...), key("k")
		o := order(p, k)
		with(p, k, cause, o[7])
		begin(t, p, k, &roost.Tried{}, o[7], why)
		kill(p, o[7])
		begin(t, p, k, &roost.Tried{}, o[0], roost.WhySuccessor)
	}
	p, k := pool(t, owned, equal(10)...), key("k")
	o := order(p, k)
	with(p, k, roost.MovedGroup, o[7])
	begin(t, p, k, &roost.Tried{}, o[7], roost.WhyMoved)
}

func TestHotKeyIsSpreadOverItsHomes(t *testing.T) {
	p, k := pool(t, shared, equal(40)...), key("hot")
	homes := order(p, k)[5:17]
	with(p, k, roost.HotKey, homes...)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 12 * 10 {
		a, _ := pick.Begin(p, k, &roost.Tried{}, rnd.Uint64(), now)
		if !slices.Contains(homes, a.Node) && a.Why != roost.WhySpill {
			t.Fatalf("request %d: node %d because of %v", i, a.Node, a.Why)
		}
	}
	most, least := int64(0), int64(1000)
	for _, ref := range homes {
		n := p.Nodes[ref].Live.InFlight.Load()
		most, least = max(most, n), min(least, n)
	}
	if most > least+4 {
		t.Errorf("the homes have from %d to %d in flight", least, most)
	}
}

func TestHotKeyPrefersAHomeBelowItsLimit(t *testing.T) {
	p, k := pool(t, shared, equal(40)...), key("hot")
	homes := order(p, k)[5:9]
	with(p, k, roost.HotKey, homes...)
	for _, ref := range homes[1:] {
		load(p, ref, 200)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		a, _ := pick.Begin(p, k, &roost.Tried{}, rnd.Uint64(), now)
		if a.Node != homes[0] || a.Why != roost.WhyHot {
			t.Fatalf("node %d because of %v, want %d", a.Node, a.Why, homes[0])
		}
		pick.End(&a)
	}
}

func TestRequestsWithoutAKeyFollowTheWeights(t *testing.T) {
	p := pool(t, shared, 1, 2, 3)
	rnd := rand.New(rand.NewPCG(1, 3))
	var got [3]float64
	for range 60_000 { // idle
		a, _ := pick.Begin(p, nil, &roost.Tried{}, rnd.Uint64(), now)
		if a.Why != roost.WhyBalance {
			t.Fatalf("because of %v", a.Why)
		}
		got[a.Node]++
		pick.End(&a)
	}
	for i, n := range got {
		if want := 10_000 * float64(i+1); n < 0.95*want || n > 1.05*want {
			t.Errorf("idle: node %d got %v, want %v", i, n, want)
		}
	}
	for range 6000 { // and when nothing ends
		pick.Begin(p, nil, &roost.Tried{}, rnd.Uint64(), now)
	}
	for i := range p.Nodes {
		if n, want := p.Nodes[i].Live.InFlight.Load(), int64(1000*(i+1)); n < want-20 || n > want+20 {
			t.Errorf("loaded: node %d has %d in flight, want %d", i, n, want)
		}
	}
}

func TestRequestsWithoutAKeyPreferTheBetterOfTwo(t *testing.T) {
	for name, worsen := range map[string]func(p *roost.PoolView){
		"busy":    func(p *roost.PoolView) { load(p, 0, 1) },
		"ailing":  func(p *roost.PoolView) { p.Nodes[0].Weight /= 2 },
		"pressed": func(p *roost.PoolView) { p.Nodes[0].Live.Report(roost.Load{Has: true, Pressure: 20000}, now) },
		"dead":    func(p *roost.PoolView) { kill(p, 0) },
		"on hold": func(p *roost.PoolView) { p.Nodes[0].Live.HoldUntil.Store(now + 1) },
	} {
		p := pool(t, shared, 1, 1)
		worsen(p)
		for rnd := range uint64(100) {
			a, _ := pick.Begin(p, nil, &roost.Tried{}, rnd*0x9e3779b97f4a7c15, now)
			if a.Node != 1 {
				t.Fatalf("%s: the worse of two nodes", name)
			}
			pick.End(&a)
		}
	}
}

func TestSecondEndIsCountedAsABug(t *testing.T) {
	p := pool(t, shared, 1)
	a := begin(t, p, key("k"), &roost.Tried{}, 0, roost.WhyHome)
	pick.End(&a)
	pick.End(&a)
	if n := &p.Nodes[0]; n.Live.InFlight.Load() != 0 || p.Live.InFlight.Load() != 0 || n.Live.DoubleEnds.Load() != 1 {
		t.Errorf("in flight %d, double ends %d", n.Live.InFlight.Load(), n.Live.DoubleEnds.Load())
	}
}

// Many at once: what is counted in is counted out, and limits are passed by no more than choose at once.
func TestCountersComeBackToZero(t *testing.T) {
	const workers, calls, hard = 8, 3000, 3
	p := pool(t, shared, 1, 1, 2)
	p.Settings.MaxInFlight = hard
	outcomes := []roost.Outcome{
		{Stage: roost.StageDone, Status: 200, Nanos: 1000},
		{Stage: roost.StageDone, Status: 500},
		{Stage: roost.StageConnect, Fault: roost.FaultRefused},
		{Stage: roost.StageHead, Fault: roost.FaultReset, Reused: true, Sent: true},
		{Stage: roost.StageBody, Fault: roost.FaultClientGone, Status: 200, Answered: true},
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(9, uint64(w)))
			for i := range calls {
				var k *roost.Key
				if i%5 > 0 {
					k = key(fmt.Sprint(rnd.IntN(50)))
				}
				var tried roost.Tried
				for step := roost.StepRetry; step == roost.StepRetry; {
					at := now + int64(i)*1e9
					a, refusal := pick.Begin(p, k, &tried, rnd.Uint64(), at)
					if refusal != roost.NotRefused {
						break
					}
					if got := a.Live.InFlight.Load(); got > 2*hard+workers-1 {
						t.Errorf("%d in flight on a node", got)
					}
					step = pick.Next(p, &a, &outcomes[rnd.IntN(len(outcomes))], roost.Replay{Idempotent: true, Replayable: true}, &tried, at)
				}
			}
		})
	}
	wg.Wait()
	if got := p.Live.InFlight.Load(); got != 0 {
		t.Errorf("pool: %d in flight", got)
	}
	for i := range p.Nodes {
		if l := p.Nodes[i].Live; l.InFlight.Load() != 0 || l.DoubleEnds.Load() != 0 || l.Requests.Load() == 0 {
			t.Errorf("node %d: %d in flight, %d double ends, %d requests", i, l.InFlight.Load(), l.DoubleEnds.Load(), l.Requests.Load())
		}
	}
}
