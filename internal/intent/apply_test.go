package intent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roost"
)

// codeOf is a refusal's code, "" for none.
func codeOf(err error) string {
	var ce *roost.ChangeError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return ""
}

// model is what edits should be, told plainly. It changes as Apply does, or says why not.
type model struct {
	cfg    *roost.Config
	listed []roost.Listing
	pools  map[roost.PoolID]*edited
}

type edited struct {
	nodes   map[roost.NodeID]roost.Node
	weights map[roost.NodeID]uint32
	holds   map[roost.NodeID]roost.Hold
	pins    map[string]roost.PinIntent
	homes   uint8
}

// pool is the configuration of a pool, and what operators made of it.
func (m *model) pool(id roost.PoolID) (*roost.Pool, *edited) {
	if m.pools[id] == nil {
		m.pools[id] = &edited{map[roost.NodeID]roost.Node{}, map[roost.NodeID]uint32{}, map[roost.NodeID]roost.Hold{}, map[string]roost.PinIntent{}, 0}
	}
	for i := range m.cfg.Pools {
		if m.cfg.Pools[i].ID == id {
			return &m.cfg.Pools[i], m.pools[id]
		}
	}
	return nil, m.pools[id]
}

func (e *edited) value() roost.PoolEdits {
	p := roost.PoolEdits{Homes: e.homes}
	if p.Nodes = slices.Collect(maps.Values(e.nodes)); len(e.weights) > 0 {
		p.Weights = maps.Clone(e.weights)
	}
	if len(e.holds) > 0 {
		p.Holds = maps.Clone(e.holds)
	}
	p.Pins = slices.Collect(maps.Values(e.pins))
	slices.SortFunc(p.Nodes, func(a, b roost.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	slices.SortFunc(p.Pins, func(a, b roost.PinIntent) int { return strings.Compare(a.Key, b.Key) })
	return p
}

func (m *model) text() string {
	var lines []string
	for id, e := range m.pools {
		if text := fmt.Sprint(e.value()); text != fmt.Sprint(roost.PoolEdits{}) {
			lines = append(lines, fmt.Sprint(id, text))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func textOfEdits(e *roost.Edits) string {
	var lines []string
	for id, p := range e.Pools {
		lines = append(lines, fmt.Sprint(id, p))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// lastOpen tells whether a node of the pool is the only one that no hold closes.
func lastOpen(p *twinPool, id roost.NodeID) bool {
	var open []roost.NodeID
	for _, n := range p.nodes {
		if n.open() {
			open = append(open, n.ID)
		}
	}
	return len(open) == 1 && open[0] == id
}

// change makes c and returns the code of its refusal.
func (m *model) change(c roost.Change) string {
	switch c := c.(type) {
	case roost.AddNode:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		if slices.Contains(badAddresses, c.Node.Addr) {
			return roost.CodeBadChange
		}
		p := twin(conf, e.value(), m.listed, 0)
		have, there := e.nodes[c.Node.ID]
		if n := p.node(c.Node.ID); !there && n != nil {
			have, there = n.Node, true
		}
		if there {
			if have.Addr == c.Node.Addr && have.Weight == c.Node.Weight && have.Zone == c.Node.Zone {
				return ""
			}
			return roost.CodeNodeExists
		}
		for _, n := range p.nodes {
			if n.Addr == c.Node.Addr {
				return roost.CodeNodeExists
			}
		}
		e.nodes[c.Node.ID] = c.Node
	case roost.RemoveNode:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		for _, kinds := range twinSources[1:] {
			for _, kind := range kinds {
				for _, n := range twinList(conf, roost.PoolEdits{}, m.listed, kind) {
					if n.ID == c.Node {
						return roost.CodeListedByFile
					}
				}
			}
		}
		if _, there := e.nodes[c.Node]; !there {
			return roost.CodeNoNode
		}
		if lastOpen(twin(conf, e.value(), m.listed, 0), c.Node) {
			return roost.CodeLastNode
		}
		delete(e.nodes, c.Node)
		delete(e.weights, c.Node)
		delete(e.holds, c.Node)
	case roost.SetWeight:
		conf, e := m.pool(c.Pool)
		_, set := e.weights[c.Node]
		switch {
		case conf == nil:
			return roost.CodeNoPool
		case c.Weight > roost.MaxWeight:
			return roost.CodeBadChange
		case c.Weight == 0 && set:
			delete(e.weights, c.Node)
		case twin(conf, e.value(), m.listed, 0).node(c.Node) == nil:
			return roost.CodeNoNode
		case c.Weight > 0:
			e.weights[c.Node] = c.Weight
		}
	case roost.SetHold:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		p := twin(conf, e.value(), m.listed, 0)
		was := e.holds[c.Node]
		switch {
		case c.Hold.Kind != roost.Draining && c.Hold.Kind != roost.Down, c.Hold.Kind == roost.Down && c.Hold.Deadline > 0, c.Hold.Deadline < 0:
			return roost.CodeBadChange
		case p.node(c.Node) == nil:
			return roost.CodeNoNode
		case was.Kind == c.Hold.Kind && was.Deadline == c.Hold.Deadline:
		case lastOpen(p, c.Node) && !c.Force:
			return roost.CodeLastNode
		default:
			e.holds[c.Node] = c.Hold
		}
	case roost.LiftHold:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		if _, held := e.holds[c.Node]; !held && twin(conf, e.value(), m.listed, 0).node(c.Node) == nil {
			return roost.CodeNoNode
		}
		delete(e.holds, c.Node)
	case roost.SetPin:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		if c.Pin.Key == "" || (len(c.Pin.Nodes) > 0) == (c.Pin.Homes > 0) || c.Pin.Homes > 64 {
			return roost.CodeBadChange
		}
		p := twin(conf, e.value(), m.listed, 0)
		for _, id := range c.Pin.Nodes {
			if p.node(id) == nil {
				return roost.CodeNoNode
			}
		}
		e.pins[c.Pin.Key] = c.Pin
	case roost.RemovePin:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		if _, pinned := e.pins[c.Key]; !pinned {
			for _, pin := range conf.Intent.Pins {
				if pin.Key == c.Key {
					return roost.CodeListedByFile
				}
			}
			return roost.CodeNoPin
		}
		delete(e.pins, c.Key)
	case roost.SetHomes:
		conf, e := m.pool(c.Pool)
		if conf == nil {
			return roost.CodeNoPool
		}
		if c.Homes > roost.MaxHomes {
			return roost.CodeBadChange
		}
		e.homes = c.Homes
	}
	return ""
}

func drawChange(t *rapid.T, cfg *roost.Config) roost.Change {
	pool := cfg.Pools[0].ID // mostly, so that changes meet
	if rapid.IntRange(0, 9).Draw(t, "elsewhere") == 0 {
		pool = rapid.SampledFrom(append(everyPool, "nosuch")).Draw(t, "pool")
	}
	id := rapid.SampledFrom(everyID).Draw(t, "node")
	kinds := []roost.HoldKind{roost.Draining, roost.Draining, roost.Draining, roost.Down, roost.Down, 0, 3}
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0, 1:
		return roost.AddNode{Pool: pool, Node: drawNode(t, "api")}
	case 2:
		return roost.RemoveNode{Pool: pool, Node: id}
	case 3:
		return roost.SetWeight{Pool: pool, Node: id, Weight: rapid.SampledFrom([]uint32{0, 0, 1, 1000, roost.MaxWeight, roost.MaxWeight + 1}).Draw(t, "weight")}
	case 4, 5:
		return roost.SetHold{Pool: pool, Node: id, Hold: drawHold(t, rapid.SampledFrom(kinds).Draw(t, "kind")), Force: rapid.Bool().Draw(t, "force")}
	case 6:
		return roost.LiftHold{Pool: pool, Node: id}
	case 7:
		return roost.SetPin{Pool: pool, Pin: drawPin(t, rapid.SampledFrom(append(everyKey, "")).Draw(t, "key"))}
	case 8:
		return roost.RemovePin{Pool: pool, Key: rapid.SampledFrom(everyKey).Draw(t, "key")}
	}
	return roost.SetHomes{Pool: pool, Homes: rapid.Uint8Range(0, roost.MaxHomes+1).Draw(t, "homes")}
}

func TestAnySequenceOfChangesGoesAsItsModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{drawConfig(t), drawListed(t), map[roost.PoolID]*edited{}}
		var e *roost.Edits
		tables := map[roost.PoolID]*roost.Table{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0:
				m.cfg = drawConfig(t)
			case 1:
				m.listed = drawListed(t)
			default:
				next := change(t, m, e, drawChange(t, m.cfg))
				if next == e {
					continue
				}
				e = next
			}
			pools, _ := Merge(m.cfg, e, m.listed, 0)
			for i := range pools {
				next, err := build(tables[pools[i].ID], &pools[i])
				if err != nil {
					t.Fatalf("no table can be built: %v", err)
				}
				tables[pools[i].ID] = next
			}
		}
	})
}

// change makes c in both worlds.
func change(t *rapid.T, m *model, e *roost.Edits, c roost.Change) *roost.Edits {
	before, was := "", m.text()
	rev := uint64(0)
	if e != nil {
		before, rev = fmt.Sprint(*e), e.Rev
	}
	next, err := Apply(m.cfg, e, m.listed, c)
	if code := m.change(c); codeOf(err) != code {
		t.Fatalf("%+v: %v, its model: %q", c, err, code)
	}
	if e != nil && fmt.Sprint(*e) != before {
		t.Fatalf("%+v changed the edits before it:\n%s\n%s", c, before, fmt.Sprint(*e))
	}
	switch {
	case err != nil:
		if next != nil {
			t.Fatalf("%+v was refused and gave edits", c)
		}
		next = e
	case m.text() == was:
		if next != e {
			t.Fatalf("%+v changes nothing and gave other edits", c)
		}
	case next == e || next.Rev != rev+1:
		t.Fatalf("%+v: revision %d became %d", c, rev, next.Rev)
	}
	if next != nil {
		if got, want := textOfEdits(next), m.text(); got != want {
			t.Fatalf("after %+v:\n%s\nits model:\n%s", c, got, want)
		}
	}
	return next
}

func TestARefusalSaysWhatToDo(t *testing.T) {
	cfg := one("a=10.0.0.1:80", "b=10.0.0.2:80")
	cfg.Pools[0].Intent.Pins = []roost.PinIntent{{Key: "theirs", Homes: 1}}
	several := *cfg
	several.Pools = append(slices.Clone(cfg.Pools), roost.Pool{ID: "web"})
	drained := edits(roost.PoolEdits{Holds: map[roost.NodeID]roost.Hold{"b": {Kind: roost.Draining}}})
	alone := edits(roost.PoolEdits{Nodes: listing("api", "c=10.0.0.3:80").Nodes})
	node := func(text string) roost.Node { return listing("api", text).Nodes[0] }
	heavy := node("a=10.0.0.1:80")
	heavy.Weight = 2000
	zoned := node("a=10.0.0.1:80")
	zoned.Zone = "z"
	for _, c := range []struct {
		cfg        *roost.Config
		e          *roost.Edits
		change     roost.Change
		code, text string
	}{
		{cfg, nil, roost.SetHomes{Pool: "x"}, roost.CodeNoPool, `there is no pool "x"; to see them: roost pools ls`},
		{cfg, nil, roost.RemoveNode{Pool: "fn", Node: "a"}, roost.CodeListedByFile, `node "a" of pool "fn" is listed by the configuration; take it out there, or hold it: roost nodes down a`},
		{&several, nil, roost.RemoveNode{Pool: "fn", Node: "a"}, roost.CodeListedByFile, `node "a" of pool "fn" is listed by the configuration; take it out there, or hold it: roost nodes down --pool fn a`},
		{cfg, nil, roost.RemoveNode{Pool: "fn", Node: "x"}, roost.CodeNoNode, `pool "fn" has no node "x"; to see them: roost nodes ls`},
		{one(), alone, roost.RemoveNode{Pool: "fn", Node: "c"}, roost.CodeLastNode, `node "c" is the last open one of pool "fn": without it every request there fails; drain it first, which takes --force`},
		{cfg, drained, roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Down}}, roost.CodeLastNode, `node "a" is the last open one of pool "fn": without it every request there fails; --force does it all the same`},
		{cfg, nil, roost.SetHold{Pool: "fn", Node: "a"}, roost.CodeBadChange, `a hold drains a node or takes it down, this does neither`},
		{cfg, nil, roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Down, Deadline: 1}}, roost.CodeBadChange, `a node that is taken down has no deadline: what is open there is ended at once; to let it finish until then: roost nodes drain a`},
		{cfg, nil, roost.SetHold{Pool: "fn", Node: "a", Hold: roost.Hold{Kind: roost.Draining, Deadline: MaxDeadline + 1}}, roost.CodeBadChange, `a drain's deadline is above zero and at most a year; without one, what is open may stay for ever`},
		{cfg, nil, roost.SetWeight{Pool: "fn", Node: "a", Weight: roost.MaxWeight + 1}, roost.CodeBadChange, `a weight is at most 1000`},
		{cfg, nil, roost.AddNode{Pool: "fn", Node: node("a=10.0.0.9:80")}, roost.CodeNodeExists, `node "a" is there already, at 10.0.0.1:80, as the configuration lists it; give the new one another name, or take that one out first`},
		{cfg, nil, roost.AddNode{Pool: "fn", Node: heavy}, roost.CodeNodeExists, `node "a" is there already, with another weight, as the configuration lists it; to change that: roost nodes weight a WEIGHT`},
		{cfg, nil, roost.AddNode{Pool: "fn", Node: zoned}, roost.CodeNodeExists, `node "a" is there already, with other properties, as the configuration lists it; take that one out first`},
		{cfg, nil, roost.AddNode{Pool: "fn", Node: node("c=10.0.0.1:80")}, roost.CodeNodeExists, `10.0.0.1:80 is node "a" of pool "fn" already; a node has one name`},
		{cfg, nil, roost.AddNode{Pool: "fn", Node: node("c=169.254.169.254:80")}, roost.CodeBadChange, `node "c" cannot be added: address "169.254.169.254:80" is a link-local or metadata address, where machines keep credentials`},
		{cfg, nil, roost.AddNode{Pool: "fn", Node: node("-=10.0.0.3:80")}, roost.CodeBadChange, `node "-" cannot be added: a name has 1 to 63 characters: letters and digits, and - _ . behind the first`},
		{cfg, nil, roost.AddNode{Pool: "fn"}, roost.CodeBadChange, `node "" cannot be added: it has no name`},
		{cfg, nil, roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "k", Nodes: []roost.NodeID{"x"}}}, roost.CodeNoNode, `pool "fn" has no node "x"; to see them: roost nodes ls`},
		{cfg, nil, roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "k", Nodes: []roost.NodeID{"a", "a"}}}, roost.CodeBadChange, `key "k" cannot be pinned: it names node "a" twice`},
		{cfg, nil, roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "k", Homes: 65}}, roost.CodeBadChange, `key "k" cannot be pinned: it asks for more than 64 homes`},
		{cfg, nil, roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "k"}}, roost.CodeBadChange, `key "k" cannot be pinned: it has neither nodes nor a number of homes; give one`},
		{cfg, nil, roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "\xff", Homes: 1}}, roost.CodeBadChange, `key "\xff" cannot be pinned: its key is not text in UTF-8, so it could neither be stored nor shown`},
		{cfg, nil, roost.RemovePin{Pool: "fn", Key: "k"}, roost.CodeNoPin, `pool "fn" has no pin of key "k"; to see them: roost keys ls`},
		{cfg, nil, roost.RemovePin{Pool: "fn", Key: "theirs"}, roost.CodeListedByFile, `the configuration pins key "theirs" of pool "fn"; take the pin out there, or beat it with another: roost keys pin KEY NODE...`},
		{cfg, nil, roost.SetHomes{Pool: "fn", Homes: 5}, roost.CodeBadChange, `a key has 1 to 4 homes; one that needs more can be pinned: roost keys pin`},
	} {
		next, err := Apply(c.cfg, c.e, nil, c.change)
		if next != nil || codeOf(err) != c.code || err.Error() != c.text {
			t.Errorf("%+v:\n%s %v\nwant\n%s %s", c.change, codeOf(err), err, c.code, c.text)
		}
	}
}

func TestARemovedNodeTakesItsWeightAndHoldAlongAndLeavesPins(t *testing.T) {
	cfg := one("a=10.0.0.1:80")
	e := (*roost.Edits)(nil)
	for _, c := range []roost.Change{
		roost.AddNode{Pool: "fn", Node: listing("api", "c=10.0.0.3:80").Nodes[0]},
		roost.SetWeight{Pool: "fn", Node: "c", Weight: 5},
		roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "k", Nodes: []roost.NodeID{"c"}}},
		roost.SetHold{Pool: "fn", Node: "c", Hold: roost.Hold{Kind: roost.Draining, Cause: "somebody", Deadline: time.Minute}},
	} {
		var err error
		if e, err = Apply(cfg, e, nil, c); err != nil {
			t.Fatal(err)
		}
	}
	if h := e.Pools["fn"].Holds["c"]; h.Cause != "operator" {
		t.Errorf("the hold is %+v", h)
	}
	e, err := Apply(cfg, e, nil, roost.RemoveNode{Pool: "fn", Node: "c"})
	if p := e.Pools["fn"]; err != nil || e.Rev != 5 || len(p.Nodes) > 0 || p.Weights != nil || p.Holds != nil || len(p.Pins) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = Apply(cfg, e, nil, roost.RemovePin{Pool: "fn", Key: "k"}); err != nil || len(e.Pools) > 0 {
		t.Errorf("edits that say nothing are kept: %+v, %v", e, err)
	}
}

func TestWhatIsGivenToApplyStaysItsCallers(t *testing.T) {
	cfg := one("a=10.0.0.1:80")
	n := listing("api", "c=10.0.0.3:80").Nodes[0]
	n.Sources, n.Holds = []roost.Source{{Kind: "file"}}, []roost.Hold{{Kind: roost.Down}}
	pin := roost.PinIntent{Key: "k", Nodes: []roost.NodeID{"a"}}
	e, _ := Apply(cfg, nil, nil, roost.AddNode{Pool: "fn", Node: n})
	e, _ = Apply(cfg, e, nil, roost.SetPin{Pool: "fn", Pin: pin})
	pin.Nodes[0] = "x"
	roomy := edits(roost.PoolEdits{Nodes: append(make([]roost.Node, 0, 9), e.Pools["fn"].Nodes...)})
	if _, err := Apply(cfg, roomy, nil, roost.AddNode{Pool: "fn", Node: listing("api", "b=10.0.0.2:80").Nodes[0]}); err != nil || roomy.Pools["fn"].Nodes[0].ID != "c" {
		t.Errorf("%+v, %v", roomy, err)
	}
	if p := e.Pools["fn"]; p.Nodes[0].Sources != nil || p.Nodes[0].Holds != nil || p.Pins[0].Nodes[0] != "a" {
		t.Errorf("%+v", p)
	}
}

func TestEditsHaveLimits(t *testing.T) {
	cfg := one("a=10.0.0.1:80")
	p := roost.PoolEdits{}
	for i := range MaxPins {
		p.Pins = append(p.Pins, roost.PinIntent{Key: fmt.Sprintf("k%05d", i), Homes: 1})
	}
	pin := roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "one more", Homes: 1}}
	if _, err := Apply(cfg, edits(p), nil, pin); codeOf(err) != roost.CodeBadChange || err.Error() != `pool "fn" has 10000 pins, which is the limit; what needs more is another pool` {
		t.Errorf("a pin more than the most: %v", err)
	}
	pin.Pin.Key, pin.Pin.Homes = "k00007", 2
	if e, err := Apply(cfg, edits(p), nil, pin); err != nil || len(e.Pools["fn"].Pins) != MaxPins || e.Pools["fn"].Pins[7].Homes != 2 || p.Pins[7].Homes != 1 {
		t.Errorf("a pin in place of another: %v", err)
	}

	crowd := listing("dns")
	for i := range roost.MaxNodes - 1 {
		addr := fmt.Sprintf("10.%d.%d.%d:80", 1+i>>16, i>>8&255, i&255)
		crowd.Nodes = append(crowd.Nodes, roost.Node{ID: roost.NodeID(addr), Addr: addr, Weight: roost.WeightOne})
	}
	one := roost.AddNode{Pool: "fn", Node: listing("api", "z=10.9.0.2:80").Nodes[0]}
	if _, err := Apply(cfg, nil, []roost.Listing{crowd}, one); codeOf(err) != roost.CodeBadChange || err.Error() != `pool "fn" has 65535 nodes, which is the limit; make another pool` {
		t.Errorf("a node more than the most: %v", err)
	}

	full := edits(p)
	other := roost.PoolEdits{Weights: map[roost.NodeID]uint32{}}
	for i := range MaxEdits - MaxPins {
		other.Weights[roost.NodeID(fmt.Sprint(i))] = 1
	}
	full.Pools["other"] = other
	add := roost.AddNode{Pool: "fn", Node: listing("api", "b=10.0.0.2:80").Nodes[0]}
	if _, err := Apply(cfg, full, nil, add); codeOf(err) != roost.CodeBadChange || !strings.HasPrefix(err.Error(), "there are 100000 changes already, which is the limit") {
		t.Errorf("a node more than the most edits: %v", err)
	}
	if _, err := Apply(cfg, full, nil, roost.RemovePin{Pool: "fn", Key: "k00007"}); err != nil {
		t.Errorf("one is taken back: %v", err)
	}
	if _, err := Apply(cfg, full, nil, roost.SetHomes{Pool: "fn", Homes: 1}); err != nil {
		t.Errorf("what does not grow in number: %v", err)
	}
}
