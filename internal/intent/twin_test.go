package intent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"roost"
)

// The twin says what a pool is in the dumbest way: it asks every source about every name, and every node about every
// address. It knows nothing of notes.

// twinSources are the kinds of sources, the strongest first; those on one line are equally strong.
var twinSources = [][]string{{"api"}, {"file", "flag"}, {"lb_nodes"}, {"agent"}, {"dns"}, {"gossip"}}

// twinNode is a node and who lists it.
type twinNode struct {
	roost.Node
	by []string
}

func (n *twinNode) open() bool {
	return !slices.ContainsFunc(n.Holds, func(h roost.Hold) bool { return h.Kind != 0 })
}

type twinPool struct {
	nodes []*twinNode
	pins  map[string]roost.PinIntent
	homes uint8
}

func (p *twinPool) node(id roost.NodeID) *twinNode {
	for _, n := range p.nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

func (p *twinPool) text() string {
	var lines []string
	for _, n := range p.nodes {
		slices.Sort(n.by)
		lines = append(lines, fmt.Sprint(n.ID, n.Addr, n.Weight, n.Zone, n.by, n.Holds))
	}
	for _, pin := range p.pins {
		lines = append(lines, fmt.Sprint("pin ", pin.Key, pin.Nodes, pin.Homes))
	}
	slices.Sort(lines)
	return strings.Join(append(lines, fmt.Sprint("homes ", p.homes)), "\n")
}

// textOf says of a merged pool what text says of its twin.
func textOf(p *roost.Pool) string {
	t := twinPool{pins: map[string]roost.PinIntent{}, homes: p.Intent.Policy.Homes}
	for _, n := range p.Intent.Nodes {
		x := &twinNode{Node: n}
		for _, s := range n.Sources {
			x.by = append(x.by, s.Kind)
		}
		t.nodes = append(t.nodes, x)
	}
	for _, pin := range p.Intent.Pins {
		t.pins[pin.Key] = pin
	}
	return t.text()
}

func twin(conf *roost.Pool, e roost.PoolEdits, listed []roost.Listing, now int64) *twinPool {
	p := &twinPool{pins: map[string]roost.PinIntent{}, homes: conf.Intent.Policy.Homes}
	for _, kinds := range twinSources {
		for _, id := range everyID {
			for _, kind := range kinds {
				for _, n := range twinList(conf, e, listed, kind) {
					if n.ID == id {
						p.offer(n, kind)
					}
				}
			}
		}
	}
	for _, n := range p.nodes {
		if w := e.Weights[n.ID]; w >= 1 && w <= roost.MaxWeight {
			n.Weight = w
		}
		if h, ok := e.Holds[n.ID]; ok && (h.Kind == roost.Draining || h.Kind == roost.Down) {
			if h.Deadline > 0 && now >= int64(h.Since.Wall)+int64(h.Deadline) {
				h.Kind = roost.Down
			}
			n.Holds = []roost.Hold{h}
		}
	}
	for _, pins := range [][]roost.PinIntent{conf.Intent.Pins, e.Pins} {
		for _, pin := range pins {
			var nodes []roost.NodeID
			for _, id := range pin.Nodes {
				if p.node(id) != nil {
					nodes = append(nodes, id)
				}
			}
			if pin.Key != "" && (len(nodes) > 0) != (pin.Homes > 0) && (pin.Homes == 0 || len(pin.Nodes) == 0) && pin.Homes <= 64 {
				p.pins[pin.Key] = roost.PinIntent{Key: pin.Key, Nodes: nodes, Homes: pin.Homes}
			}
		}
	}
	if e.Homes >= 1 && e.Homes <= roost.MaxHomes {
		p.homes = e.Homes
	}
	return p
}

// twinList is what sources of a kind list, in an order of its own.
func twinList(conf *roost.Pool, e roost.PoolEdits, listed []roost.Listing, kind string) (nodes []roost.Node) {
	if kind == "api" {
		return e.Nodes
	}
	for _, n := range conf.Intent.Nodes {
		if n.Sources[0].Kind == kind {
			nodes = append(nodes, n)
		}
	}
	for _, l := range listed {
		if l.Pool == conf.ID && l.Source.Kind == kind {
			nodes = append(nodes, l.Nodes...)
		}
	}
	return nodes
}

// offer takes a node from a source that is no stronger than those before.
func (p *twinPool) offer(n roost.Node, kind string) {
	if slices.Contains(badAddresses, n.Addr) || n.Weight == 0 {
		return
	}
	if have := p.node(n.ID); have != nil {
		if !slices.Contains(have.by, kind) {
			have.by = append(have.by, kind)
		}
		return
	}
	for _, other := range p.nodes {
		if other.Addr == n.Addr {
			return
		}
	}
	n.Sources = nil
	p.nodes = append(p.nodes, &twinNode{Node: n, by: []string{kind}})
}

// The world that tests draw from is small, so that names and addresses meet again.
var (
	everyID       = []roost.NodeID{"10.0.0.1:80", "10.0.0.2:80", "a", "b", "c", "d"}
	goodAddresses = []string{"10.0.0.1:80", "10.0.0.2:80", "app.internal:80", "[2001:db8::1]:80", "unix:/run/app.sock"}
	badAddresses  = []string{"", "10.0.0.7", "169.254.169.254:80", "[fe80::1]:80", "UPPER:80", "10.0.0.1:080", "0.0.0.0:80", "unix:run"}
	everyPool     = []roost.PoolID{"fn", "web"}
	everyKey      = []string{"k1", "k2", "k3"}
)

func drawNode(t *rapid.T, source string) roost.Node {
	id := rapid.SampledFrom(everyID).Draw(t, "id")
	addresses := goodAddresses
	if source != "file" && rapid.IntRange(0, 5).Draw(t, "bad") == 0 {
		addresses = badAddresses
	}
	n := roost.Node{ID: id, Addr: rapid.SampledFrom(addresses).Draw(t, "address"), Weight: rapid.SampledFrom([]uint32{1, 1000, 2000}).Draw(t, "weight"),
		Zone: rapid.SampledFrom([]string{"", "z1"}).Draw(t, "zone")}
	if strings.Contains(string(id), ":") {
		n.Addr = string(id) // what is no name is an address
	}
	return n
}

// drawNodes draws nodes of one source, each name once.
func drawNodes(t *rapid.T, source string) []roost.Node {
	byID := map[roost.NodeID]roost.Node{}
	for range rapid.IntRange(0, 4).Draw(t, "nodes") {
		n := drawNode(t, source)
		byID[n.ID] = n
	}
	return slices.SortedFunc(maps.Values(byID), func(a, b roost.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// drawConfig draws a configuration as package config makes them: names and addresses once, pins to nodes that are there.
func drawConfig(t *rapid.T) *roost.Config {
	cfg := &roost.Config{Cluster: "test"}
	for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(everyPool), 1, 2, rapid.ID).Draw(t, "pools") {
		p := roost.Pool{ID: id, Intent: roost.Intent{Policy: roost.Policy{Homes: rapid.Uint8Range(1, roost.MaxHomes).Draw(t, "homes"), WalkFloor: 4}}}
		taken := map[string]bool{}
		for _, n := range drawNodes(t, "file") {
			if taken[n.Addr] {
				continue
			}
			taken[n.Addr] = true
			n.Sources = []roost.Source{{Kind: rapid.SampledFrom([]string{"file", "flag"}).Draw(t, "kind")}}
			p.Intent.Nodes = append(p.Intent.Nodes, n)
		}
		if len(p.Intent.Nodes) > 0 && rapid.Bool().Draw(t, "pin") {
			p.Intent.Pins = []roost.PinIntent{{Key: "k1", Nodes: []roost.NodeID{p.Intent.Nodes[0].ID}}, {Key: "k2", Homes: 2}}
		}
		cfg.Pools = append(cfg.Pools, p)
	}
	return cfg
}

func drawListed(t *rapid.T) (listed []roost.Listing) {
	for _, pool := range everyPool {
		for _, kind := range []string{"lb_nodes", "agent", "dns", "gossip"} {
			if rapid.Bool().Draw(t, kind) {
				listed = append(listed, roost.Listing{Source: roost.Source{Kind: kind}, Pool: pool, Nodes: drawNodes(t, kind)})
			}
		}
	}
	return listed
}

// drawEdits draws edits as a damaged store might give them: nothing in them is sure.
func drawEdits(t *rapid.T) *roost.Edits {
	e := &roost.Edits{Rev: rapid.Uint64Range(0, 5).Draw(t, "rev"), Pools: map[roost.PoolID]roost.PoolEdits{}}
	for _, id := range everyPool {
		if !rapid.Bool().Draw(t, "edited") {
			continue
		}
		p := roost.PoolEdits{Nodes: drawNodes(t, "api"), Weights: map[roost.NodeID]uint32{}, Holds: map[roost.NodeID]roost.Hold{},
			Homes: rapid.Uint8Range(0, roost.MaxHomes+1).Draw(t, "homes")}
		for _, n := range everyID {
			if rapid.IntRange(0, 2).Draw(t, "weighed") == 0 {
				p.Weights[n] = rapid.SampledFrom([]uint32{0, 1, 500, roost.MaxWeight, roost.MaxWeight + 1}).Draw(t, "weight")
			}
			if rapid.IntRange(0, 2).Draw(t, "held") == 0 {
				p.Holds[n] = drawHold(t, roost.HoldKind(rapid.IntRange(0, 3).Draw(t, "kind")))
			}
		}
		for _, key := range everyKey {
			if rapid.Bool().Draw(t, "pinned") {
				p.Pins = append(p.Pins, drawPin(t, key))
			}
		}
		e.Pools[id] = p
	}
	return e
}

func drawHold(t *rapid.T, kind roost.HoldKind) roost.Hold {
	return roost.Hold{Kind: kind, Cause: "operator",
		Since: roost.Stamp{Wall: rapid.Uint64Range(0, 10).Draw(t, "since")}, Deadline: rapid.SampledFrom([]time.Duration{0, 1, 5}).Draw(t, "deadline")}
}

func drawPin(t *rapid.T, key string) roost.PinIntent {
	return roost.PinIntent{Key: key, Nodes: rapid.SliceOfNDistinct(rapid.SampledFrom(everyID), 0, 3, rapid.ID).Draw(t, "nodes"),
		Homes: rapid.SampledFrom([]uint8{0, 0, 0, 1, 64, 65}).Draw(t, "homes")}
}
