// Package intent folds what operators and node sources want into pools: [Merge] lays edits and listings over the
// configuration, [Apply] makes one change to the edits.
//
// Guarantee: both are pure, and the order of what they are given does not matter. Merge never fails: what cannot be used is
// left out with a note. What Apply accepts, Merge uses and place.Build takes.
//
// Trap: edits are wishes, kept apart from what they are about. A weight, hold or pin of a node that nobody lists any more
// stays, and comes true when the node returns.
package intent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"roost"
)

// maxNotes bounds what is told of one pool: whoever has fifty notes to read reads no more, and a table of 60,000 broken
// rows must not become a status of as many lines.
const maxNotes = 50

// Merge gives the pools that are in force at now (Unix nanoseconds), in the order of cfg.Pools, and by pool what of edits
// and listings could not be used, and why. A pool that neither says anything of is the configuration's, as it stands.
//
// A pool's nodes are the union over all sources, by id, as the strongest source has them: the API, then file and flags,
// then fnlb's table, agents, DNS. One address under two ids is the stronger source's. The operators' weights, holds, pins
// and homes come on top. A Draining hold whose deadline passed is Down.
func Merge(cfg *roost.Config, e *roost.Edits, listed []roost.Listing, now int64) (pools []roost.Pool, notes map[roost.PoolID][]string) {
	pools, notes = make([]roost.Pool, len(cfg.Pools)), map[roost.PoolID][]string{}
	for i := range cfg.Pools {
		id := cfg.Pools[i].ID
		m := merge(&cfg.Pools[i], editsOf(e, id), listed, now)
		pools[i] = m.pool
		if said := m.notes.list(); said != nil {
			notes[id] = said
		}
	}
	return pools, notes
}

// editsOf are the edits of one pool. e may be nil: nothing was ever changed.
func editsOf(e *roost.Edits, pool roost.PoolID) roost.PoolEdits {
	if e == nil {
		return roost.PoolEdits{}
	}
	return e.Pools[pool]
}

// merger makes one pool.
type merger struct {
	pool  roost.Pool
	at    map[roost.NodeID]int // index into pool.Intent.Nodes
	notes notes
}

func merge(conf *roost.Pool, e roost.PoolEdits, listed []roost.Listing, now int64) merger {
	m := merger{pool: *conf}
	listed = slices.DeleteFunc(slices.Clone(listed), func(l roost.Listing) bool { return l.Pool != conf.ID })
	if len(listed) == 0 && blank(e) {
		m.index()
		return m
	}
	m.enroll(offers(conf, e, listed))
	m.weigh(e.Weights)
	m.hold(e.Holds, now)
	m.pin(conf.Intent.Pins, e.Pins)
	switch {
	case e.Homes > roost.MaxHomes:
		m.notes.add("%d homes are asked for; at most %d can be, so the configuration's %d are used", e.Homes, roost.MaxHomes, conf.Intent.Policy.Homes)
	case e.Homes > 0:
		m.pool.Intent.Policy.Homes = e.Homes
	}
	return m
}

// blank tells that the edits of a pool say nothing.
func blank(e roost.PoolEdits) bool { return size(e) == 0 && e.Homes == 0 }

// size is how many edits a pool has, of those that grow in number.
func size(e roost.PoolEdits) int { return len(e.Nodes) + len(e.Weights) + len(e.Holds) + len(e.Pins) }

// offer is a node as one source lists it.
type offer struct {
	roost.Node // with that source alone
	strength   int
}

// The strengths of sources, the strongest first.
const (
	strengthAPI = iota
	strengthConfiguration
	strengthTable
	strengthAgent
	strengthDNS
	strengthOther
)

func strength(kind string) int {
	switch kind {
	case "api":
		return strengthAPI
	case "file", "flag":
		return strengthConfiguration
	case "lb_nodes":
		return strengthTable
	case "agent":
		return strengthAgent
	case "dns":
		return strengthDNS
	}
	return strengthOther
}

// offers are the nodes of all sources, the strongest first, in an order that rests on nothing but what they say.
func offers(conf *roost.Pool, e roost.PoolEdits, listed []roost.Listing) []offer {
	var all []offer
	for _, n := range conf.Intent.Nodes {
		all = append(all, offer{n, strengthConfiguration})
	}
	add := func(s roost.Source, nodes []roost.Node) {
		for _, n := range nodes {
			n.Sources = []roost.Source{s}
			all = append(all, offer{n, strength(s.Kind)})
		}
	}
	add(roost.Source{Kind: "api"}, e.Nodes)
	for _, l := range listed {
		add(l.Source, l.Nodes)
	}
	slices.SortFunc(all, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.strength, b.strength), cmp.Compare(a.ID, b.ID), slices.CompareFunc(a.Sources, b.Sources, compareSources),
			cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Host, b.Host),
			compareBools(a.Sleeps, b.Sleeps))
	})
	return all
}

func compareSources(a, b roost.Source) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.From, b.From), cmp.Compare(b.Rev, a.Rev))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// enroll makes the union.
func (m *merger) enroll(offers []offer) {
	var nodes []roost.Node
	m.at = map[roost.NodeID]int{}
	byAddr := map[string]int{}
	over := 0
	for i := range offers {
		o := &offers[i]
		// The configuration was checked by who read it, and is refused as a whole by place.Build.
		if why := flaw(&o.Node, m.pool.Settings.AllowLinkLocal); why != "" && o.strength != strengthConfiguration {
			m.notes.add("node %s is left out, which %s lists: %s", quoted(string(o.ID)), who(&o.Node), why)
			continue
		}
		if j, ok := m.at[o.ID]; ok {
			n := &nodes[j]
			if n.Addr != o.Addr {
				m.notes.add("node %s is at %s, as %s lists it; %s lists it at %s, which is left out", quoted(string(o.ID)), n.Addr, who(n), who(&o.Node), o.Addr)
			}
			n.Sources, n.Holds = union(n.Sources, o.Sources), append(n.Holds, o.Holds...)
			continue
		}
		if j, ok := byAddr[o.Addr]; ok {
			m.notes.add("node %s is left out, which %s lists: its address %s is that of node %s, which %s lists", quoted(string(o.ID)), who(&o.Node), o.Addr,
				quoted(string(nodes[j].ID)), who(&nodes[j]))
			continue
		}
		if len(nodes) == roost.MaxNodes {
			over++
			continue
		}
		m.at[o.ID], byAddr[o.Addr] = len(nodes), len(nodes)
		n := o.Node
		n.Sources, n.Holds = slices.Clone(n.Sources), slices.Clone(n.Holds)
		nodes = append(nodes, n)
	}
	if over > 0 {
		m.notes.add("%d nodes are left out: a pool has at most %d", over, roost.MaxNodes)
	}
	m.pool.Intent.Nodes = nodes
}

// union adds those of more that are not there.
func union(sources, more []roost.Source) []roost.Source {
	for _, s := range more {
		if !slices.ContainsFunc(sources, func(o roost.Source) bool { return o.Kind == s.Kind && o.From == s.From }) {
			sources = append(sources, s)
		}
	}
	return sources
}

// index finds the nodes of a pool that is the configuration's.
func (m *merger) index() {
	m.at = make(map[roost.NodeID]int, len(m.pool.Intent.Nodes))
	for i := range m.pool.Intent.Nodes {
		m.at[m.pool.Intent.Nodes[i].ID] = i
	}
}

// node is a listed node, or nil.
func (m *merger) node(id roost.NodeID) *roost.Node {
	if i, ok := m.at[id]; ok {
		return &m.pool.Intent.Nodes[i]
	}
	return nil
}

func (m *merger) weigh(weights map[roost.NodeID]uint32) {
	for _, id := range slices.Sorted(maps.Keys(weights)) {
		w, n := weights[id], m.node(id)
		switch {
		case n == nil:
			m.notes.add("a weight for node %s waits: nobody lists that node now", quoted(string(id)))
		case w < 1 || w > roost.MaxWeight:
			m.notes.add("a weight for node %s is left out: %d thousandths; it can be 1 to %d", quoted(string(id)), w, roost.MaxWeight)
		default:
			n.Weight = w
		}
	}
}

func (m *merger) hold(holds map[roost.NodeID]roost.Hold, now int64) {
	for _, id := range slices.Sorted(maps.Keys(holds)) {
		h, n := holds[id], m.node(id)
		switch {
		case n == nil:
			m.notes.add("a hold on node %s waits: nobody lists that node now", quoted(string(id)))
		case h.Kind != roost.Draining && h.Kind != roost.Down:
			m.notes.add("a hold on node %s is left out: it neither drains it nor takes it down", quoted(string(id)))
		default:
			n.Holds = append(n.Holds, h)
		}
	}
	for i := range m.pool.Intent.Nodes {
		holds := m.pool.Intent.Nodes[i].Holds
		for j := range holds {
			if at, ok := holds[j].CutAt(); ok && now >= at {
				holds[j].Kind = roost.Down
			}
		}
		slices.SortFunc(holds, compareHolds)
		m.pool.Intent.Nodes[i].Holds = slices.Compact(holds)
	}
}

// compareHolds puts the strongest first, which decides a node's duty, and of these the oldest.
func compareHolds(a, b roost.Hold) int {
	return cmp.Or(cmp.Compare(b.Kind, a.Kind), cmp.Compare(a.Since.Wall, b.Since.Wall), cmp.Compare(a.Since.Count, b.Since.Count),
		cmp.Compare(a.Since.By, b.Since.By), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Deadline, b.Deadline))
}

// pin takes the configuration's pins and those of operators, which beat them.
func (m *merger) pin(configured, edited []roost.PinIntent) {
	pins := map[string]roost.PinIntent{}
	take := func(from []roost.PinIntent, by string) {
		taken := map[string]bool{}
		for _, p := range slices.SortedFunc(slices.Values(from), comparePins) {
			if taken[p.Key] {
				m.notes.add("a second pin of key %s is left out, which %s", quoted(p.Key), by)
				continue
			}
			if p, ok := m.usable(p); ok {
				pins[p.Key], taken[p.Key] = p, true
			}
		}
	}
	take(configured, "the configuration has")
	take(edited, "the API has")
	m.pool.Intent.Pins = slices.SortedFunc(maps.Values(pins), comparePins)
}

func comparePins(a, b roost.PinIntent) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Homes, b.Homes), slices.Compare(a.Nodes, b.Nodes))
}

// usable is what is left of a pin without the nodes that nobody lists.
func (m *merger) usable(p roost.PinIntent) (roost.PinIntent, bool) {
	if why := pinFlaw(&p); why != "" {
		m.notes.add("the pin of key %s is left out: %s", quoted(p.Key), why)
		return p, false
	}
	known := slices.DeleteFunc(slices.Clone(p.Nodes), func(id roost.NodeID) bool { return m.node(id) == nil })
	switch gone := len(p.Nodes) - len(known); {
	case gone == 0:
	case len(known) == 0:
		m.notes.add("the pin of key %s waits: nobody lists any of its nodes now", quoted(p.Key))
		return p, false
	default:
		i := slices.IndexFunc(p.Nodes, func(id roost.NodeID) bool { return m.node(id) == nil })
		m.notes.add("the pin of key %s does without %d of its nodes, which nobody lists now, such as %s", quoted(p.Key), gone, quoted(string(p.Nodes[i])))
	}
	p.Nodes = known
	return p, true
}

// notes are what could not be used, as people read it.
type notes struct {
	said []string
	more int
}

func (n *notes) add(format string, args ...any) {
	if len(n.said) == maxNotes {
		n.more++
		return
	}
	n.said = append(n.said, fmt.Sprintf(format, args...))
}

func (n *notes) list() []string {
	if n.more > 0 {
		return append(n.said, fmt.Sprintf("and %d more", n.more))
	}
	return n.said
}
