package control

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"roost"
)

// steps takes events and returns the last snapshot and all log lines.
func steps(t *testing.T, w *World, events ...Event) (snap *roost.Snapshot, log []string) {
	t.Helper()
	for _, e := range events {
		for _, a := range w.Step(1, e) {
			switch a := a.(type) {
			case Publish:
				snap = a.Snapshot
			case Refuse:
				t.Fatal(a.Err)
			case Log:
				log = append(log, a.Message)
			}
		}
	}
	return snap, log
}

func TestARetiredListenerKeepsWhatItHadAndSnapshotsBeforeKeepTheirs(t *testing.T) {
	cfg := twoNodes(1)
	cfg.Listeners = []roost.Listener{{ID: 1, Name: "web", Settings: roost.ListenerSettings{MaxConns: 7}, Want: []string{"x-key"},
		Routes: []*roost.Route{{Name: "r", PoolID: "fn"}, {Name: "s", PoolID: "other", Pool: 1}}}}
	cfg.Pools = append(cfg.Pools, cfg.Pools[0])
	cfg.Pools[1].ID = "other"
	w := NewWorld(roost.Incarnation{1})
	before, _ := steps(t, w, Configured{cfg})
	if v := before.Listeners[1]; v.Settings.MaxConns != 7 || !slices.Equal(v.Want, []string{"x-key"}) || v.Retired {
		t.Errorf("configured: %+v", v)
	}

	without := *cfg
	without.Listeners = nil
	without.Pools = []roost.Pool{cfg.Pools[1]}
	after, _ := steps(t, w, Configured{&without})
	v := after.Listeners[1]
	if v.Name != "web" || v.Settings.MaxConns != 7 || !slices.Equal(v.Want, []string{"x-key"}) || !v.Retired || len(v.Routes) != 1 || v.Routes[0].Name != "s" || v.Routes[0].Pool != 0 {
		t.Errorf("retired: %+v", v)
	}
	if r := before.Listeners[1].Routes; len(r) != 2 || r[1].Pool != 1 {
		t.Errorf("the snapshot before it changed: %+v", r)
	}
}

func TestARetiredListenerFollowsTheOneThatItsAddressWentTo(t *testing.T) {
	for _, x := range []struct {
		was, now string
		follows  bool
	}{
		{":80", "10.0.0.1:80", true},
		{"10.0.0.1:80", "[::]:80", true},
		{"0.0.0.0:80", "localhost:80", true},
		{"localhost:80", "localhost:80", true},
		{":80", ":81", false},
		{"10.0.0.1:80", "10.0.0.2:80", false},
		{":0", ":0", false},
		{"unix:/run/a", "unix:/run/b", false},
	} {
		cfg := twoNodes(1)
		cfg.Listeners = []roost.Listener{{ID: 0, Name: "old", Address: x.was, Routes: []*roost.Route{{Name: "r", PoolID: "fn"}}}}
		w := NewWorld(roost.Incarnation{1})
		steps(t, w, Configured{cfg})
		moved := *cfg
		moved.Listeners = []roost.Listener{{ID: 1, Name: "new", Address: x.now, Want: []string{"x-key"}, Routes: []*roost.Route{{Name: "s", PoolID: "fn"}}}}
		snap, _ := steps(t, w, Configured{&moved})
		v := snap.Listeners[0]
		if follows := v.Routes[0].Name == "s"; follows != x.follows || follows != (len(v.Want) == 1) || v.Name != "old" || !v.Retired {
			t.Errorf("from %s to %s: %+v", x.was, x.now, v)
		}
	}
}

func TestWhateverATableRestsOnIsSeenToChange(t *testing.T) {
	for name, change := range map[string]func(*roost.Intent){
		"a name":              func(in *roost.Intent) { in.Nodes[1].ID = "z" },
		"a weight":            func(in *roost.Intent) { in.Nodes[1].Weight = 5 },
		"a zone":              func(in *roost.Intent) { in.Nodes[1].Zone = "z" },
		"a hold":              func(in *roost.Intent) { in.Nodes[1].Holds = []roost.Hold{{Kind: roost.Draining}} },
		"a node more":         func(in *roost.Intent) { in.Nodes = append(in.Nodes, roost.Node{ID: "c", Addr: "c:80", Weight: 5}) },
		"a pin's key":         func(in *roost.Intent) { in.Pins[0].Key = "l" },
		"a pin's nodes":       func(in *roost.Intent) { in.Pins[0].Nodes = []roost.NodeID{"b"} },
		"a pin's homes":       func(in *roost.Intent) { in.Pins[1].Homes = 2 },
		"a pin less":          func(in *roost.Intent) { in.Pins = in.Pins[:1] },
		"the number of homes": func(in *roost.Intent) { in.Policy.Homes = 2 },
	} {
		w := NewWorld(roost.Incarnation{1})
		config := func() *roost.Config {
			cfg := twoNodes(1)
			cfg.Pools[0].Intent.Pins = []roost.PinIntent{{Key: "k", Nodes: []roost.NodeID{"a"}}, {Key: "m", Homes: 1}}
			return cfg
		}
		changed := config()
		change(&changed.Pools[0].Intent)
		first, _ := steps(t, w, Configured{config()})
		same, _ := steps(t, w, Configured{config()})
		second, _ := steps(t, w, Configured{changed})
		if first.Pools[0].Table != same.Pools[0].Table {
			t.Errorf("%s: the table changed with nothing else", name)
		}
		if first.Pools[0].Table.Digest == second.Pools[0].Table.Digest {
			t.Errorf("%s: the table did not change", name)
		}
	}
	w := NewWorld(roost.Incarnation{1})
	elsewhere := twoNodes(1)
	elsewhere.Cluster = "elsewhere"
	first, _ := steps(t, w, Configured{twoNodes(1)})
	if second, _ := steps(t, w, Configured{elsewhere}); first.Pools[0].Table.Hash == second.Pools[0].Table.Hash {
		t.Error("the cluster's name: the table did not change")
	}
}

func TestTheLatestRestoredTableIsFollowedInItsEra(t *testing.T) {
	first, _ := steps(t, NewWorld(roost.Incarnation{1}), Configured{twoNodes(1)})
	old, late := *first.Pools[0].Table, *first.Pools[0].Table
	old.Epoch = roost.Epoch{Era: 3, Term: 8, Seq: 9}
	late.Epoch, late.Roster = roost.Epoch{Era: 3, Term: 9, Seq: 1}, append(slices.Clone(late.Roster), roost.RosterNode{ID: "gone"})
	for _, tables := range [][]*roost.Table{{&old, &late}, {&late, &old}} {
		w := NewWorld(roost.Incarnation{2}, tables...)
		snap, _ := steps(t, w, Configured{twoNodes(1)})
		got := snap.Pools[0].Table
		if want := (roost.Epoch{Era: 3, Term: 10, Seq: 1, Leader: roost.Incarnation{2}}); got.Epoch != want || len(got.Roster) != 3 {
			t.Errorf("epoch %v, want %v; roster %v", got.Epoch, want, got.Roster)
		}
		if len(w.restored) > 0 {
			t.Error("a restored table is held though it was followed")
		}
	}
	if old.Epoch.Term != 8 || late.Epoch.Term != 9 {
		t.Error("a restored table was changed")
	}
}

// A table remembers every name that it ever had, and one day that is all it can.
func TestARestoredTableThatCannotBeFollowedIsLeft(t *testing.T) {
	first, _ := steps(t, NewWorld(roost.Incarnation{1}), Configured{twoNodes(1)})
	full := *first.Pools[0].Table
	full.Roster = slices.Clone(full.Roster)
	for i := len(full.Roster); i < roost.MaxNodes; i++ {
		full.Roster = append(full.Roster, roost.RosterNode{ID: roost.NodeID(fmt.Sprint("gone-", i))})
	}
	cfg := twoNodes(2)
	cfg.Pools[0].Intent.Nodes[1].ID = "new"
	snap, log := steps(t, NewWorld(roost.Incarnation{2}, &full), Configured{cfg})
	if p := snap.Pools[0]; len(p.Nodes) != 2 || p.Table.Epoch.Compare(full.Epoch) <= 0 {
		t.Errorf("%+v", p)
	}
	if len(log) == 0 || !strings.Contains(log[0], "cannot be followed") {
		t.Errorf("log: %q", log)
	}
}

func TestSourcesOfOneKindDoNotSpeakForEachOther(t *testing.T) {
	c := roost.Node{ID: "c", Addr: "10.0.0.3:80", Weight: roost.WeightOne}
	from := func(member roost.MemberID, nodes ...roost.Node) Event {
		return Listed{roost.Listing{Source: roost.Source{Kind: "agent", From: member}, Pool: "fn", Nodes: nodes}}
	}
	w := NewWorld(roost.Incarnation{1})
	steps(t, w, Configured{twoNodes(1)}, from("m1", c), from("m2", c))
	if s := w.facts.Status(1).Pools[0].Nodes[2].Sources; !reflect.DeepEqual(s, []string{"agent"}) {
		t.Errorf("its sources: %v", s)
	}
	snap, _ := steps(t, w, from("m1"))
	if n := snap.Pools[0].Nodes; len(n) != 3 || n[2].Duty != roost.Up {
		t.Errorf("m2 lists c, and the nodes are %+v", n)
	}
	snap, _ = steps(t, w, from("m1", c), from("m2"), from("m1"))
	if n := snap.Pools[0].Nodes[2]; n.Duty != roost.DutyDown || n.Cut {
		t.Errorf("nobody lists c, and it is %+v", n)
	}
}

func TestAssembleNumbersListenersByTheirPlace(t *testing.T) {
	cfg := twoNodes(1)
	cfg.Listeners = []roost.Listener{{Name: "one", ID: 5}, {Name: "two", ID: 5}}
	snap, err := Assemble(cfg)
	if err != nil || len(snap.Listeners) != 2 || snap.Listeners[1].Name != "two" || cfg.Listeners[0].ID != 5 {
		t.Errorf("%+v, %v", snap, err)
	}
}
