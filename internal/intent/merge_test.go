package intent

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roost"
	"roost/internal/place"
)

func TestMergeSaysWhatItsTwinSaysAndTablesCanBeBuiltOfIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, e, listed, now := drawConfig(t), drawEdits(t), drawListed(t), rapid.Int64Range(0, 20).Draw(t, "now")
		before := fmt.Sprint(cfg, e, listed)
		pools, notes := Merge(cfg, e, listed, now)
		if after := fmt.Sprint(cfg, e, listed); after != before {
			t.Fatalf("what was given changed:\n%s\n%s", before, after)
		}
		if len(pools) != len(cfg.Pools) {
			t.Fatalf("%d pools of %d", len(pools), len(cfg.Pools))
		}
		for i := range pools {
			conf, got := &cfg.Pools[i], textOf(&pools[i])
			if want := twin(conf, e.Pools[conf.ID], listed, now).text(); got != want {
				t.Errorf("pool %s:\n%s\nits twin:\n%s\nnotes: %q", conf.ID, got, want, notes[conf.ID])
			}
			if _, err := build(nil, &pools[i]); err != nil {
				t.Errorf("no table can be built: %v", err)
			}
		}
	})
}

func build(prev *roost.Table, p *roost.Pool) (*roost.Table, error) {
	return place.Build(prev, place.Input{Pool: p.ID, Hash: place.HashFor("test"), Policy: p.Intent.Policy, Nodes: p.Intent.Nodes, Pins: p.Intent.Pins})
}

func TestTheOrderOfWhatIsMergedDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, e, listed := drawConfig(t), drawEdits(t), drawListed(t)
		// The same source may list a name twice, in one listing or in two.
		if len(listed) > 0 {
			l := listed[0]
			l.Nodes = append(drawNodes(t, "dns"), drawNodes(t, "dns")...)
			listed = append(listed, l)
		}
		pools, notes := Merge(cfg, e, listed, 7)

		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		mixed := *cfg
		mixed.Pools = slices.Clone(cfg.Pools)
		for i := range mixed.Pools {
			in := &mixed.Pools[i].Intent
			in.Nodes, in.Pins = shuffled(rnd, in.Nodes), shuffled(rnd, in.Pins)
		}
		other := &roost.Edits{Pools: map[roost.PoolID]roost.PoolEdits{}}
		for id, p := range e.Pools {
			p.Nodes, p.Pins = shuffled(rnd, p.Nodes), shuffled(rnd, p.Pins)
			other.Pools[id] = p
		}
		listed = shuffled(rnd, listed)
		for i := range listed {
			listed[i].Nodes = shuffled(rnd, listed[i].Nodes)
		}
		again, said := Merge(&mixed, other, listed, 7)
		for i := range pools {
			if untouched := reflect.DeepEqual(again[i], mixed.Pools[i]); !untouched && !reflect.DeepEqual(pools[i], again[i]) {
				t.Errorf("in one order\n%+v\nin another\n%+v", pools[i], again[i])
			}
		}
		if !reflect.DeepEqual(notes, said) {
			t.Errorf("in one order\n%q\nin another\n%q", notes, said)
		}
	})
}

func shuffled[T any](rnd *rand.Rand, list []T) []T {
	list = slices.Clone(list)
	rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// one is a configuration of one pool, whose nodes are ID=ADDRESS.
func one(nodes ...string) *roost.Config {
	cfg := &roost.Config{Pools: []roost.Pool{{ID: "fn", Intent: roost.Intent{Policy: roost.Policy{Homes: 2, WalkFloor: 4}}}}}
	for _, n := range listing("file", nodes...).Nodes {
		n.Sources = []roost.Source{{Kind: "file"}}
		cfg.Pools[0].Intent.Nodes = append(cfg.Pools[0].Intent.Nodes, n)
	}
	return cfg
}

func listing(kind string, nodes ...string) roost.Listing {
	l := roost.Listing{Source: roost.Source{Kind: kind}, Pool: "fn"}
	for _, text := range nodes {
		id, addr, _ := strings.Cut(text, "=")
		l.Nodes = append(l.Nodes, roost.Node{ID: roost.NodeID(id), Addr: addr, Weight: roost.WeightOne})
	}
	return l
}

func edits(p roost.PoolEdits) *roost.Edits {
	return &roost.Edits{Rev: 1, Pools: map[roost.PoolID]roost.PoolEdits{"fn": p}}
}

func TestNotesSayWhatIsLeftOutAndWhy(t *testing.T) {
	cfg := one("a=10.0.0.1:80", "b=10.0.0.2:80")
	cfg.Pools[0].Intent.Pins = []roost.PinIntent{{Key: "k", Homes: 1}}
	e := edits(roost.PoolEdits{
		Nodes: []roost.Node{
			{ID: "a", Addr: "10.0.0.9:80", Weight: 1000},
			{ID: "bad name", Addr: "10.0.0.3:80", Weight: 1000},
			{ID: "c", Addr: "169.254.169.254:80", Weight: 1000},
			{ID: "d", Addr: "10.0.0.4:80"},
			{ID: "e", Addr: "10.0.0.5:80", Weight: 1000, Zone: "my zone"},
		},
		Weights: map[roost.NodeID]uint32{"gone": 1000, "b": roost.MaxWeight + 1},
		Holds:   map[roost.NodeID]roost.Hold{"gone": {Kind: roost.Down}, "b": {Kind: 9}},
		Pins: []roost.PinIntent{{Key: "k", Nodes: []roost.NodeID{"gone"}}, {Key: "l", Nodes: []roost.NodeID{"gone", "a"}},
			{Key: "m", Homes: 1, Nodes: []roost.NodeID{"a"}}, {Key: strings.Repeat("x", 5000), Homes: 1}},
		Homes: 9,
	})
	pools, notes := Merge(cfg, e, []roost.Listing{listing("lb_nodes", "10.0.0.2:80=10.0.0.2:80"), listing("agent", "b=10.0.0.22:80"), listing("consul", "b=nowhere")}, 0)
	want := []string{
		`node "bad name" is left out, which the API lists: a name has 1 to 63 characters: letters and digits, and - _ . behind the first`,
		`node "c" is left out, which the API lists: address "169.254.169.254:80" is a link-local or metadata address, where machines keep credentials`,
		`node "d" is left out, which the API lists: it weighs 0 thousandths; it can be 1 to 1000000`,
		`node "e" is left out, which the API lists: zone "my zone" is not a name, of 1 to 63 letters and digits, and - _ . behind the first`,
		`node "a" is at 10.0.0.9:80, as the API lists it; the configuration lists it at 10.0.0.1:80, which is left out`,
		`node "10.0.0.2:80" is left out, which the table lb_nodes lists: its address 10.0.0.2:80 is that of node "b", which the configuration lists`,
		`node "b" is at 10.0.0.2:80, as the configuration lists it; its agent lists it at 10.0.0.22:80, which is left out`,
		`node "b" is left out, which consul lists: address "nowhere" does not end with a port, as in 10.0.0.11:8080`,
		`a weight for node "b" is left out: 1000001 thousandths; it can be 1 to 1000000`,
		`a weight for node "gone" waits: nobody lists that node now`,
		`a hold on node "b" is left out: it neither drains it nor takes it down`,
		`a hold on node "gone" waits: nobody lists that node now`,
		`the pin of key "k" waits: nobody lists any of its nodes now`,
		`the pin of key "l" does without 1 of its nodes, which nobody lists now, such as "gone"`,
		`the pin of key "m" is left out: it has both nodes and a number of homes; give one`,
		`the pin of key "` + strings.Repeat("x", 80) + `"... is left out: a key has 1 to 4096 bytes, this has 5000`,
		`9 homes are asked for; at most 4 can be, so the configuration's 2 are used`,
	}
	if got := notes["fn"]; !slices.Equal(got, want) {
		t.Errorf("notes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p := pools[0].Intent.Pins; len(p) != 2 || p[0].Homes != 1 {
		t.Errorf("the configuration's pin does not stand for the one that waits: %+v", p)
	}
}

func TestTheStrongestSourceHasTheSay(t *testing.T) {
	kinds := []string{"api", "file", "lb_nodes", "agent", "dns", "other"}
	for i, stronger := range kinds {
		for _, weaker := range kinds[i+1:] {
			cfg, e := one(), &roost.Edits{}
			var listed []roost.Listing
			for _, l := range []roost.Listing{listing(weaker, "x=10.0.0.1:80", "same=10.0.0.2:80"), listing(stronger, "y=10.0.0.1:80", "same=10.0.0.3:80")} {
				switch l.Source.Kind {
				case "api":
					e = edits(roost.PoolEdits{Nodes: l.Nodes})
				case "file":
					for _, n := range l.Nodes {
						n.Sources = []roost.Source{l.Source}
						cfg.Pools[0].Intent.Nodes = append(cfg.Pools[0].Intent.Nodes, n)
					}
				default:
					listed = append(listed, l)
				}
			}
			pools, notes := Merge(cfg, e, listed, 0)
			var got []string
			for _, n := range pools[0].Intent.Nodes {
				got = append(got, fmt.Sprint(n.ID, n.Addr, len(n.Sources), n.Sources[0].Kind))
			}
			slices.Sort(got)
			want := []string{"same10.0.0.3:802" + stronger, "y10.0.0.1:801" + stronger}
			if len(got) != 2 || strings.ReplaceAll(strings.Join(got, ","), " ", "") != strings.Join(want, ",") {
				t.Errorf("%s over %s: %v", stronger, weaker, got)
			}
			if len(notes["fn"]) != 2 {
				t.Errorf("%s over %s: notes %q", stronger, weaker, notes["fn"])
			}
		}
	}
}

func TestADrainIsDownFromItsDeadlineOn(t *testing.T) {
	hold := roost.Hold{Kind: roost.Draining, Cause: "operator", Since: roost.Stamp{Wall: uint64(time.Hour)}, Deadline: time.Minute}
	for now, want := range map[int64]roost.HoldKind{
		0:                                  roost.Draining,
		int64(time.Hour + time.Minute - 1): roost.Draining,
		int64(time.Hour + time.Minute):     roost.Down,
		math.MaxInt64:                      roost.Down,
	} {
		pools, _ := Merge(one("a=10.0.0.1:80"), edits(roost.PoolEdits{Holds: map[roost.NodeID]roost.Hold{"a": hold}}), nil, now)
		got := pools[0].Intent.Nodes[0].Holds
		if len(got) != 1 || got[0].Kind != want || got[0].Since != hold.Since || got[0].Deadline != hold.Deadline {
			t.Errorf("at %v: %+v, want kind %d", time.Duration(now), got, want)
		}
	}
}

func TestHoldsOfOtherCausesStayBesideTheOperators(t *testing.T) {
	agent := listing("agent", "a=10.0.0.1:80")
	agent.Nodes[0].Holds = []roost.Hold{{Kind: roost.Draining, Cause: "agent", Deadline: 1}}
	e := edits(roost.PoolEdits{Holds: map[roost.NodeID]roost.Hold{"a": {Kind: roost.Down, Cause: "operator"}}})
	pools, _ := Merge(one("a=10.0.0.1:80"), e, []roost.Listing{agent}, 0)
	if h := pools[0].Intent.Nodes[0].Holds; len(h) != 2 || h[0].Cause != "operator" || h[1].Cause != "agent" {
		t.Errorf("%+v", h)
	}
	Merge(one(), nil, []roost.Listing{agent}, 2)
	if h := agent.Nodes[0].Holds; len(h) != 1 || h[0].Kind != roost.Draining {
		t.Errorf("the listing was changed: %+v", h)
	}
	pools, _ = Merge(one("a=10.0.0.1:80"), nil, []roost.Listing{agent}, 0)
	if h := pools[0].Intent.Nodes[0].Holds; len(h) != 1 || h[0].Cause != "agent" {
		t.Errorf("without the operator's: %+v", h)
	}
}

func TestASourceIsToldOnce(t *testing.T) {
	l := listing("agent", "a=10.0.0.1:80", "a=10.0.0.1:80")
	l.Source.From, l.Source.Rev = "m1", 7
	older, other := l, l
	older.Source.Rev, other.Source.From = 6, "m2"
	pools, notes := Merge(one(), nil, []roost.Listing{older, other, l}, 0)
	want := []roost.Source{{Kind: "agent", From: "m1", Rev: 7}, {Kind: "agent", From: "m2", Rev: 7}}
	if n := pools[0].Intent.Nodes; len(n) != 1 || !slices.Equal(n[0].Sources, want) || len(notes) > 0 {
		t.Errorf("%+v, notes %q", n, notes)
	}
}

func TestAPoolOfWhichNothingIsSaidIsTheConfigurations(t *testing.T) {
	cfg := one("b=10.0.0.2:80", "a=10.0.0.1:80")
	pools, notes := Merge(cfg, edits(roost.PoolEdits{}), []roost.Listing{{Pool: "other", Nodes: listing("dns", "c=10.0.0.3:80").Nodes}}, 0)
	if len(notes) > 0 || &pools[0].Intent.Nodes[0] != &cfg.Pools[0].Intent.Nodes[0] {
		t.Errorf("%+v, notes %q", pools, notes)
	}
}

func TestMoreNodesThanAPoolCanHoldAreLeftOutWithTheWeakestFirst(t *testing.T) {
	l := listing("dns")
	for i := range roost.MaxNodes {
		addr := fmt.Sprintf("10.%d.%d.%d:80", 1+i>>16, i>>8&255, i&255)
		l.Nodes = append(l.Nodes, roost.Node{ID: roost.NodeID(addr), Addr: addr, Weight: roost.WeightOne})
	}
	pools, notes := Merge(one("a=10.0.0.1:80"), edits(roost.PoolEdits{Nodes: listing("api", "z=10.0.0.2:80").Nodes}), []roost.Listing{l}, 0)
	nodes := pools[0].Intent.Nodes
	if len(nodes) != roost.MaxNodes || nodes[0].ID != "z" || nodes[1].ID != "a" || !slices.Equal(notes["fn"], []string{"2 nodes are left out: a pool has at most 65535"}) {
		t.Errorf("%d nodes, notes %q", len(nodes), notes)
	}
}

func TestNotesEndSomewhere(t *testing.T) {
	l := listing("lb_nodes")
	for i := range 1000 {
		l.Nodes = append(l.Nodes, roost.Node{ID: "x", Addr: fmt.Sprint(i), Weight: roost.WeightOne})
	}
	_, notes := Merge(one(), nil, []roost.Listing{l}, 0)
	if n := notes["fn"]; len(n) != maxNotes+1 || n[maxNotes] != "and 950 more" {
		t.Errorf("%d notes, the last: %q", len(n), n[len(n)-1])
	}
}

func TestAddressesAreTakenInTheirShortestFormOnly(t *testing.T) {
	for addr, want := range map[string]bool{
		"10.0.0.1:80": true, "a:1": true, "a.b-c_d.e:65535": true, "[2001:db8::1]:80": true, "127.0.0.1:80": true, "localhost:80": true, "unix:/a": true,
		"": false, ":80": false, "a": false, "a:": false, "a:0": false, "a:65536": false, "a:+1": false, "a:080": false, "A:80": false, "a b:80": false,
		"2001:db8::1:80": false, "[2001:DB8::1]:80": false, "[2001:db8:0::1]:80": false, "[10.0.0.1]:80": false, "[::ffff:10.0.0.1]:80": false,
		"[2001:db8::1:80": false, "[[2001:db8::1]]:80": false, "0.0.0.0:80": false, "[::]:80": false, "224.0.0.1:80": false, "255.255.255.255:80": false,
		"169.254.1.1:80": false, "[fe80::1%eth0]:80": false, "[fd00:ec2::254]:80": false, "unix:": false, "unix:a": false, "unix:/a/../b": false,
		"unix:/a\n": false, "unix:/" + strings.Repeat("a", 107): false, strings.Repeat("a", 254) + ":80": false, "http://a:80": false, "a\x00:80": false,
	} {
		if why := addressFlaw(addr, false); (why == "") != want {
			t.Errorf("%q: %q", addr, why)
		}
	}
	for _, addr := range []string{"169.254.1.1:80", "[fe80::1%eth0]:80"} {
		if why := addressFlaw(addr, true); why != "" {
			t.Errorf("link-local allowed: %q: %s", addr, why)
		}
	}
}
