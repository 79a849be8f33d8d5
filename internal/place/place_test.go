package place_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/place"
)

var update = flag.Bool("update", false, "write the digests that are seen")

func nodes(names ...string) []roost.Node {
	var out []roost.Node
	for _, n := range names {
		out = append(out, roost.Node{ID: roost.NodeID(n), Addr: n, Weight: roost.WeightOne})
	}
	return out
}

func many(n int) []roost.Node {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("node-%d", i))
	}
	return nodes(names...)
}

func input(ns []roost.Node) place.Input {
	return place.Input{Pool: "p", Hash: place.HashFor("test"), Policy: roost.Policy{Homes: 3, WalkFloor: 4}, Nodes: ns}
}

func build(t testing.TB, prev *roost.Table, in place.Input) *roost.Table {
	t.Helper()
	next, err := place.Build(prev, in)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// held is how many slots have each node as their i-th candidate.
func held(t *roost.Table, i int) map[roost.NodeID]int {
	out := map[roost.NodeID]int{}
	for slot := range uint32(t.Slots()) {
		if ref := t.Row(slot)[i]; ref != roost.NoNode {
			out[t.Roster[ref].ID]++
		}
	}
	return out
}

// moved is how many slots have another first home in b than in a.
func moved(a, b *roost.Table) (n int) {
	for slot := range uint32(b.Slots()) {
		if a.Roster[a.Row(slot >> (b.SlotBits - a.SlotBits))[0]].ID != b.Roster[b.Row(slot)[0]].ID {
			n++
		}
	}
	return n
}

func names(rnd *rand.Rand, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("10.%d.%d.%d:%d", i, rnd.IntN(256), rnd.IntN(256), 1024+rnd.IntN(60000)))
	}
	return out
}

func TestKeysSpreadEvenlyOverTenNodes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2026, 11))
	var worst float64
	for range 100 {
		tb := build(t, nil, input(nodes(names(rnd, 10)...)))
		keys := make([]int, 10)
		for i := range 10_000 {
			key := fmt.Appendf(nil, "/r/app-%d/fn-%d", i%100, i)
			keys[tb.Homes(nil, tb.Hash.Sum(key), nil)[0]]++
		}
		worst = max(worst, float64(slices.Max(keys))/1000)
	}
	t.Logf("10,000 keys over 10 nodes, 100 sets of names: the worst max/mean is %.3f", worst)
	if worst > 1.15 {
		t.Errorf("max/mean is %.3f, want at most 1.15", worst)
	}
}

func TestWeightsComeOut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2026, 12))
	var worst float64
	for range 100 {
		ns := nodes(names(rnd, 3)...)
		for i := range ns {
			ns[i].Weight = uint32(i+1) * roost.WeightOne
		}
		tb := build(t, nil, input(ns))
		keys := map[roost.NodeID]float64{}
		for i := range 10_000 {
			key := fmt.Appendf(nil, "/r/app-%d/fn-%d", i%100, i)
			keys[tb.Roster[tb.Homes(nil, tb.Hash.Sum(key), nil)[0]].ID]++
		}
		for i, n := range ns {
			worst = max(worst, math.Abs(keys[n.ID]/(10_000*float64(i+1)/6)-1))
		}
	}
	t.Logf("weights 1:2:3, 10,000 keys, 100 sets of names: the worst is off by %.1f %%", 100*worst)
	if worst > 0.10 {
		t.Errorf("off by %.1f %%, want at most 10", 100*worst)
	}
}

func TestLaterHomesAreEvenToo(t *testing.T) {
	for _, n := range []int{10, 64} {
		tb := build(t, nil, input(many(n)))
		mean := float64(tb.Slots()) / float64(n)
		for i := range roost.DefaultHomes {
			worst := 0
			for _, h := range held(tb, i) {
				worst = max(worst, h)
			}
			t.Logf("%d nodes, home %d: max/mean %.3f", n, i+1, float64(worst)/mean)
			if float64(worst) > 1.6*mean { // by chance alone one of 64 is at 1.3
				t.Errorf("%d nodes: one is home %d of %d slots, the mean is %.0f", n, i+1, worst, mean)
			}
		}
	}
}

// The same input gives the same table on every platform and in every release: a difference moves keys in every cluster.
func TestTablesAreTheSameForEver(t *testing.T) {
	weighted := many(7)
	for i := range weighted {
		weighted[i].Weight = uint32(i+1) * 700
	}
	drained := many(5)
	drained[2].Holds = []roost.Hold{{Kind: roost.Draining, Cause: "operator"}}
	drained[3].Zone = "b"
	full := input(drained)
	full.Pins = []roost.PinIntent{{Key: "/r/a/b", Nodes: []roost.NodeID{"node-4", "node-0"}}, {Key: "/r/hot", Homes: 5}}
	full.Voters = []roost.MemberID{"lb1", "lb2"}
	full.Policy = roost.Policy{Homes: 2, Owner: roost.Available, HoldFor: 3 * time.Second, WalkFloor: 9}
	history := build(t, nil, input(many(60)))
	history = build(t, history, input(many(70)[10:]))
	history = build(t, history, input(append(many(90)[20:], weighted[0])))

	var got strings.Builder
	for _, c := range []struct {
		name string
		t    *roost.Table
	}{
		{"empty", build(t, nil, input(nil))},
		{"one", build(t, nil, input(many(1)))},
		{"three", build(t, nil, input(nodes("a:9001", "b:9002", "c:9003")))},
		{"hundred", build(t, nil, input(many(100)))},
		{"weighted", build(t, nil, input(weighted))},
		{"full", build(t, nil, full)},
		{"history", history},
	} {
		fmt.Fprintf(&got, "%-9s %s\n", c.name, hex.EncodeToString(c.t.Digest[:]))
	}
	const file = "testdata/digests.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%swant\n%s", &got, want)
	}
}

func TestDefaultHashComesFromTheClustersName(t *testing.T) {
	h := place.HashFor("roost")
	if got := hex.EncodeToString(h.Key[:]); h.Algo != roost.SipHash13 || got != hashOfRoost {
		t.Errorf("algorithm %d, key %s, want %s", h.Algo, got, hashOfRoost)
	}
	if place.HashFor("other") == h {
		t.Error("two clusters have one key")
	}
}

// printf 'roost hash key v1\0roost' | sha256sum | cut -c1-32
const hashOfRoost = "80a840b046c4b8e0db5f6784485f70d3"

func TestOrderOfTheInputHasNoMeaning(t *testing.T) {
	in := input(many(30))
	in.Pins = []roost.PinIntent{{Key: "a", Homes: 1}, {Key: "b", Homes: 2}, {Key: "c", Homes: 3}}
	want := build(t, nil, in)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		in.Nodes, in.Pins = slices.Clone(in.Nodes), slices.Clone(in.Pins)
		rnd.Shuffle(len(in.Nodes), func(i, j int) { in.Nodes[i], in.Nodes[j] = in.Nodes[j], in.Nodes[i] })
		rnd.Shuffle(len(in.Pins), func(i, j int) { in.Pins[i], in.Pins[j] = in.Pins[j], in.Pins[i] })
		if got := build(t, nil, in); got.Digest != want.Digest {
			t.Fatalf("digest %s, want %s", got.Digest, want.Digest)
		}
		if build(t, want, in) != want {
			t.Fatal("a new table although nothing changed")
		}
	}
}

func TestRemovalMovesOnlyWhatTheNodeHeld(t *testing.T) {
	for _, n := range []int{2, 3, 10, 64} {
		before := build(t, nil, input(many(n)))
		after := build(t, before, input(many(n)[1:]))
		if got, want := moved(before, after), held(before, 0)["node-0"]; got != want {
			t.Errorf("%d nodes: %d slots moved, the removed one held %d", n, got, want)
		}
		if after.Roster[0].ID != "node-0" || after.Roster[0].Share != 0 {
			t.Errorf("%d nodes: the removed one's place holds %+v", n, after.Roster[0])
		}
	}
}

func TestAdditionTakesItsShareAndNoMore(t *testing.T) {
	for _, n := range []int{1, 3, 10, 63} {
		before := build(t, nil, input(many(n)))
		after := build(t, before, input(many(n+1)))
		got, share := moved(before, after), after.Slots()/(n+1)
		name := roost.NodeID(fmt.Sprintf("node-%d", n))
		if took := held(after, 0)[name]; got != took || took != share {
			t.Errorf("%d nodes and one: %d slots moved, it holds %d, its share is %d", n, got, took, share)
		}
	}
}

func TestReplacementMovesOnlyWhatTheOldNodeHeld(t *testing.T) {
	before := build(t, nil, input(many(10)))
	after := build(t, before, input(append(many(10)[1:], nodes("new")...)))
	if got, most := moved(before, after), max(held(before, 0)["node-0"], held(after, 0)["new"]); got > most {
		t.Errorf("%d slots moved, %d would do", got, most)
	}
}

func TestReturningNodeGetsBackWhatItHad(t *testing.T) {
	for n, least := range map[int]int{3: 95, 10: 90, 64: 65} { // of 100; from nodes above their share only
		before := build(t, nil, input(many(n)))
		gone := build(t, before, input(many(n)[1:]))
		back := build(t, gone, input(many(n)))
		same, had := 0, held(before, 0)["node-0"]
		for slot := range uint32(back.Slots()) {
			if before.Row(slot)[0] == 0 && back.Row(slot)[0] == 0 {
				same++
			}
		}
		t.Logf("%d nodes: of %d slots %d come back", n, had, same)
		if same*100 < had*least {
			t.Errorf("%d nodes: of %d slots only %d come back", n, had, same)
		}
		if len(back.Roster) != n {
			t.Errorf("%d nodes: the roster has %d places", n, len(back.Roster))
		}
	}
}

func TestGrowthSplitsSlotsInPlace(t *testing.T) {
	before := build(t, nil, input(many(64)))
	after := build(t, before, input(many(65)))
	if before.Slots() != 4096 || after.Slots() != 8192 {
		t.Fatalf("%d slots became %d", before.Slots(), after.Slots())
	}
	if got, took := moved(before, after), held(after, 0)["node-64"]; got != took {
		t.Errorf("%d slots moved, the new node took %d", got, took)
	}
	for slot := range uint32(after.Slots()) {
		was, is := *before.Row(slot >> 1), *after.Row(slot)
		if !slices.Contains(is[:], 64) && was != is {
			t.Fatalf("slot %d: %v became %v without the new node", slot, was, is)
		}
	}
	if again := build(t, after, input(many(10))); again.Slots() != 8192 {
		t.Errorf("slots shrank to %d", again.Slots())
	}
}

func TestWeightMovesOnlyTheExcess(t *testing.T) {
	ns := many(10)
	before := build(t, nil, input(ns))
	lighter := slices.Clone(ns)
	lighter[0].Weight /= 2
	after := build(t, before, input(lighter))
	for slot := range uint32(after.Slots()) {
		if from, to := before.Row(slot)[0], after.Row(slot)[0]; from != to && from != 0 {
			t.Fatalf("slot %d moved from %d to %d", slot, from, to)
		}
	}
	share := float64(after.Slots()) / 19
	if h := held(after, 0)["node-0"]; float64(h) < share || float64(h) > share*1.03+1 {
		t.Errorf("half the weight holds %d slots, its share is %.0f", h, share)
	}
	back := build(t, after, input(ns))
	for slot := range uint32(back.Slots()) {
		if from, to := after.Row(slot)[0], back.Row(slot)[0]; from != to && to != 0 {
			t.Fatalf("slot %d moved from %d to %d", slot, from, to)
		}
	}
	if h := held(back, 0)["node-0"]; h != back.Slots()/10 {
		t.Errorf("the whole weight holds %d slots again, its share is %d", h, back.Slots()/10)
	}
}

func TestDrainingMovesNoSlotAndItsEndNeither(t *testing.T) {
	ns := many(5)
	before := build(t, nil, input(ns))
	for _, kind := range []roost.HoldKind{roost.Draining, roost.Down} {
		held := slices.Clone(ns)
		held[1].Holds = []roost.Hold{{Kind: kind}}
		during := build(t, before, input(held))
		if !during.Roster[1].Closed {
			t.Fatalf("hold %d: the node is open", kind)
		}
		for i, p := range during.Pages {
			if p != before.Pages[i] {
				t.Fatalf("hold %d: page %d is another", kind, i)
			}
		}
		if after := build(t, during, input(ns)); after.Digest != before.Digest {
			t.Errorf("hold %d: its end leaves another table", kind)
		}
		if fresh := build(t, nil, input(held)); moved(fresh, during) != 0 {
			t.Errorf("hold %d: a first table places slots elsewhere", kind)
		}
	}
}

func TestNodeThatComesDrainingTakesSlotsWhenThatEnds(t *testing.T) {
	before := build(t, nil, input(many(5)))
	ns := many(6)
	ns[5].Holds = []roost.Hold{{Kind: roost.Draining}}
	during := build(t, before, input(ns))
	if n := moved(before, during); n != 0 {
		t.Errorf("%d slots moved to or for a draining node", n)
	}
	after := build(t, during, input(many(6)))
	if h := held(after, 0)["node-5"]; h != after.Slots()/6 || moved(during, after) != h {
		t.Errorf("it holds %d slots then, %d moved, its share is %d", h, moved(during, after), after.Slots()/6)
	}
}

func TestUnchangedPagesAreShared(t *testing.T) {
	before := build(t, nil, input(many(10)))
	in := input(many(10))
	in.Pins = []roost.PinIntent{{Key: "/r/a/b", Homes: 1}}
	in.Policy.Homes = 2 // rows do not depend on it
	after := build(t, before, in)
	page := after.SlotOf(after.Hash.Sum([]byte("/r/a/b"))) >> roost.PageBits
	for i := range after.Pages {
		if (after.Pages[i] == before.Pages[i]) != (uint32(i) != page) {
			t.Errorf("page %d shared: %v, the pin is on page %d", i, after.Pages[i] == before.Pages[i], page)
		}
	}
	if before.Pages[page].Exceptions != nil {
		t.Error("the table before has the pin")
	}
}

func TestPins(t *testing.T) {
	in := input(many(12))
	in.Pins = []roost.PinIntent{
		{Key: "named", Nodes: []roost.NodeID{"node-7", "node-2"}},
		{Key: "one", Homes: 1},
		{Key: "ten", Homes: 10},
		{Key: "all", Homes: 200},
	}
	tb := build(t, nil, in)
	home := func(key string) (ids []roost.NodeID) {
		for _, ref := range tb.Homes(nil, tb.Hash.Sum([]byte(key)), nil) {
			ids = append(ids, tb.Roster[ref].ID)
		}
		return ids
	}
	if got := home("named"); !slices.Equal(got, in.Pins[0].Nodes) {
		t.Errorf("named: %v", got)
	}
	plain := build(t, nil, input(many(12)))
	for key, n := range map[string]int{"one": 1, "ten": 10, "all": 12} {
		hash := tb.Hash.Sum([]byte(key))
		ex := tb.Exception(hash)
		if ex == nil || ex.Cause != roost.Pin || ex.Name != key || len(ex.Homes) != n {
			t.Fatalf("%s: %+v", key, ex)
		}
		row := plain.Row(plain.SlotOf(hash))
		if m := min(n, roost.RowLen); !slices.Equal(ex.Homes[:m], row[:m]) {
			t.Errorf("%s: homes %v, the slot's row is %v", key, ex.Homes, *row)
		}
	}

	// A pin outlives the absence of its node, and is lifted by leaving it out.
	in.Nodes = in.Nodes[:5]
	tb = build(t, tb, in)
	if got := home("named"); len(got) != 2 || got[0] != "node-2" {
		t.Errorf("without node-7: %v", got)
	}
	in.Pins = nil
	if tb = build(t, tb, in); tb.Exception(tb.Hash.Sum([]byte("named"))) != nil {
		t.Error("a lifted pin is still there")
	}
}

func TestOtherExceptionsOutliveABuildButNotAPin(t *testing.T) {
	prev := build(t, nil, input(many(4)))
	hash := prev.Hash.Sum([]byte("hot"))
	page := *prev.Pages[prev.SlotOf(hash)>>roost.PageBits]
	page.SetExceptions([]roost.Exception{{Key: hash, Cause: roost.HotKey, Homes: []roost.NodeRef{1, 2, 3}}})
	with := *prev
	with.Pages = slices.Clone(prev.Pages)
	with.Pages[prev.SlotOf(hash)>>roost.PageBits] = &page

	next := build(t, &with, input(many(5)))
	if ex := next.Exception(hash); ex == nil || ex.Cause != roost.HotKey || !slices.Equal(ex.Homes, []roost.NodeRef{1, 2, 3}) {
		t.Errorf("after a build: %+v", ex)
	}
	in := input(many(5))
	in.Pins = []roost.PinIntent{{Key: "hot", Homes: 1}}
	if ex := build(t, next, in).Exception(hash); ex == nil || ex.Cause != roost.Pin || len(ex.Homes) != 1 {
		t.Errorf("pinned: %+v", ex)
	}
	in = input(many(5))
	in.Hash = place.HashFor("another")
	if ex := build(t, next, in).Exception(hash); ex != nil {
		t.Errorf("under another hash: %+v", ex)
	}
}

func TestNewHashIsANewFirstTableOnTheSameRoster(t *testing.T) {
	prev := build(t, nil, input([]roost.Node{many(3)[2]}))
	prev = build(t, prev, input(many(3)))
	in := input(many(3))
	in.Hash = place.HashFor("another")
	next := build(t, prev, in)
	for ref, n := range prev.Roster {
		if next.Roster[ref].ID != n.ID {
			t.Errorf("place %d was %s and is %s", ref, n.ID, next.Roster[ref].ID)
		}
	}
	if fresh := build(t, nil, in); moved(fresh, next) != 0 {
		t.Errorf("%d slots differ from a first table", moved(fresh, next))
	}
}

func TestPoolMayLoseAllItsNodesAndFindOthers(t *testing.T) {
	tb := build(t, nil, input(nil))
	if homes := tb.Homes(nil, 42, nil); len(homes) != 0 {
		t.Errorf("homes without nodes: %v", homes)
	}
	tb = build(t, tb, input(nodes("a", "b")))
	tb = build(t, tb, input(nil))
	tb = build(t, tb, input(nodes("b", "c", "d")))
	if len(tb.Roster) != 4 {
		t.Errorf("roster %v", tb.Roster)
	}
	if tb.Slots() != 4096 {
		t.Errorf("%d slots", tb.Slots())
	}
	for id, n := range held(tb, 0) {
		if n < 1300 || n > 1430 {
			t.Errorf("%s holds %d of 4096 slots", id, n)
		}
	}
}

func TestEpochIsCopiedAndNotPartOfTheDigest(t *testing.T) {
	a := build(t, nil, input(many(3)))
	if !a.Epoch.IsZero() {
		t.Errorf("a first table has epoch %s", a.Epoch)
	}
	stamped := *a
	stamped.Epoch = roost.Epoch{Term: 3, Seq: 7}
	if build(t, &stamped, input(many(3))) != &stamped {
		t.Error("a new table although nothing changed")
	}
	if b := build(t, &stamped, input(many(4))); b.Epoch != stamped.Epoch || b.Digest == a.Digest {
		t.Errorf("epoch %s, digest %s", b.Epoch, b.Digest)
	}
}

func TestEachPartOfTheInputShowsInTheDigest(t *testing.T) {
	base := build(t, nil, input(many(3)))
	for name, change := range map[string]func(in *place.Input){
		"pool":     func(in *place.Input) { in.Pool = "q" },
		"hash":     func(in *place.Input) { in.Hash.Key[15]++ },
		"homes":    func(in *place.Input) { in.Policy.Homes = 1 },
		"owner":    func(in *place.Input) { in.Policy.Owner = roost.Available },
		"hold":     func(in *place.Input) { in.Policy.HoldFor = time.Second },
		"floor":    func(in *place.Input) { in.Policy.WalkFloor++ },
		"voters":   func(in *place.Input) { in.Voters = []roost.MemberID{"lb"} },
		"name":     func(in *place.Input) { in.Nodes[0].ID = "other" },
		"weight":   func(in *place.Input) { in.Nodes[0].Weight++ },
		"zone":     func(in *place.Input) { in.Nodes[0].Zone = "a" },
		"draining": func(in *place.Input) { in.Nodes[0].Holds = []roost.Hold{{Kind: roost.Draining}} },
		"pin":      func(in *place.Input) { in.Pins = []roost.PinIntent{{Key: "k", Homes: 1}} },
	} {
		in := input(many(3))
		change(&in)
		if got := build(t, nil, in); got.Digest == base.Digest {
			t.Errorf("%s does not", name)
		}
	}
	in := input(many(3))
	in.Nodes[0].Addr = "elsewhere:1" // where a node is found moves no key
	if build(t, base, in) != base {
		t.Error("an address makes a new table")
	}
}

func TestBadInputIsNamed(t *testing.T) {
	prev := build(t, nil, input(many(3)))
	for want, change := range map[string]func(in *place.Input){
		`the table before is of pool "p"`:    func(in *place.Input) { in.Pool = "q" },
		`hash algorithm 9 is unknown`:        func(in *place.Input) { in.Hash.Algo = 9 },
		`0 homes: give 1 to 4`:               func(in *place.Input) { in.Policy.Homes = 0 },
		`5 homes: give 1 to 4`:               func(in *place.Input) { in.Policy.Homes = 5 },
		`node "node-1" is listed twice`:      func(in *place.Input) { in.Nodes[2].ID = "node-1" },
		`a node at "node-2" has no id`:       func(in *place.Input) { in.Nodes[2].ID = "" },
		`node "node-2" weighs 0 thousandths`: func(in *place.Input) { in.Nodes[2].Weight = 0 },
		`node "node-2" weighs 1000001`:       func(in *place.Input) { in.Nodes[2].Weight = roost.MaxWeight + 1 },
		`pin "k": the pool has no node "x"`:  func(in *place.Input) { in.Pins = []roost.PinIntent{{Key: "k", Nodes: []roost.NodeID{"x"}}} },
		`pin "k": it names node "node-1" twice`: func(in *place.Input) {
			in.Pins = []roost.PinIntent{{Key: "k", Nodes: []roost.NodeID{"node-1", "node-1"}}}
		},
		`pin "": it has no key`:   func(in *place.Input) { in.Pins = []roost.PinIntent{{Homes: 1}} },
		`pin "k": it has neither`: func(in *place.Input) { in.Pins = []roost.PinIntent{{Key: "k"}} },
		`pin "k": it has both`: func(in *place.Input) {
			in.Pins = []roost.PinIntent{{Key: "k", Homes: 1, Nodes: []roost.NodeID{"node-1"}}}
		},
		`pin "k": there is one for it already`: func(in *place.Input) { in.Pins = []roost.PinIntent{{Key: "k", Homes: 1}, {Key: "k", Homes: 2}} },
	} {
		in := input(many(3))
		change(&in)
		if _, err := place.Build(prev, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestRosterThatIsFullOfNamesRefusesAnother(t *testing.T) {
	prev := build(t, nil, input(many(3)))
	grown := *prev
	grown.Roster = slices.Clone(prev.Roster)
	for i := len(grown.Roster); i < roost.MaxNodes; i++ {
		grown.Roster = append(grown.Roster, roost.RosterNode{ID: roost.NodeID(fmt.Sprintf("old-%d", i))})
	}
	if _, err := place.Build(&grown, input(many(4))); err == nil || !strings.Contains(err.Error(), `node "node-3" is one too many`) {
		t.Errorf("error %v", err)
	}
	again := build(t, &grown, input(append(many(3), nodes("old-60000")...)))
	if again.Roster[60000].Share != roost.WeightOne {
		t.Error("a name that was used before has another place")
	}
}

func benchmarkBuild(b *testing.B, prev *roost.Table, ns []roost.Node) {
	b.ReportAllocs()
	for b.Loop() {
		build(b, prev, input(ns))
	}
}

func BenchmarkFirstTable10(b *testing.B)   { benchmarkBuild(b, nil, many(10)) }
func BenchmarkFirstTable1000(b *testing.B) { benchmarkBuild(b, nil, many(1000)) }

// All weights differ: the worst case.
func BenchmarkFirstTable1000Weighted(b *testing.B) {
	ns := many(1000)
	for i := range ns {
		ns[i].Weight = uint32(500 + i)
	}
	benchmarkBuild(b, nil, ns)
}

func BenchmarkAddOneTo999(b *testing.B) {
	benchmarkBuild(b, build(b, nil, input(many(999))), many(1000))
}

func BenchmarkRemoveOneOf1000(b *testing.B) {
	benchmarkBuild(b, build(b, nil, input(many(1000))), many(999))
}

func BenchmarkNothingNewAmong1000(b *testing.B) {
	benchmarkBuild(b, build(b, nil, input(many(1000))), many(1000))
}

// A node whose share is hardly a slot is given it at once, or the next table would move one although nothing changed.
func TestATableFollowsItselfWhateverTheWeights(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 3000}, {2, 3000, 1, 3000}, {roost.MaxWeight, 1}, {roost.MaxWeight, 300, 1000}} {
		in := input(many(len(weights)))
		for i, w := range weights {
			in.Nodes[i].Weight = w
		}
		for seed := range 20 {
			in.Hash = place.HashFor(fmt.Sprint(seed))
			first := build(t, nil, in)
			if again := build(t, first, in); again != first {
				t.Errorf("weights %v, hash %d: the table changed with nothing else", weights, seed)
			}
		}
	}
}
