package intent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"roost"
)

const (
	// MaxPins bounds the pins of one pool that are made through the API: more placed by hand is a job for another pool.
	MaxPins = 10_000
	// MaxEdits bounds nodes, weights, holds and pins of all pools together. A change rewrites no more than it touches, but
	// all of them are read at each start and held in memory, at some 100 bytes each.
	MaxEdits = 100_000
	// MaxDeadline bounds the deadline of a drain: beyond a year it is none.
	MaxDeadline = 365 * 24 * time.Hour
)

// causeOperator is the cause of holds that people make.
const causeOperator = "operator"

// Apply makes one change. It returns e itself when nothing changes, else new edits with the next Rev that share with e
// what did not change; e is not touched and may be nil. The error is a *roost.ChangeError. What is accepted is in force at
// once: Merge uses it.
func Apply(cfg *roost.Config, e *roost.Edits, listed []roost.Listing, c roost.Change) (*roost.Edits, error) {
	id := c.On()
	i := slices.IndexFunc(cfg.Pools, func(p roost.Pool) bool { return p.ID == id })
	if i < 0 {
		return nil, refuse(roost.CodeNoPool, "there is no pool %s; to see them: roost pools ls", quoted(string(id)))
	}
	before := editsOf(e, id)
	a := applier{merger: merge(&cfg.Pools[i], before, listed, 0), conf: &cfg.Pools[i], e: before, listed: listed}
	if len(cfg.Pools) > 1 {
		a.flag = " --pool " + string(id)
	}
	changed, err := a.apply(c)
	switch {
	case err != nil:
		return nil, err
	case !changed:
		return e, nil
	case size(a.e) > size(before) && total(e) >= MaxEdits:
		return nil, refuse(roost.CodeBadChange, "there are %d changes already, which is the limit; take some back, or write them into the configuration", MaxEdits)
	}
	next := &roost.Edits{Rev: 1, Pools: map[roost.PoolID]roost.PoolEdits{}}
	if e != nil {
		next.Rev, next.Pools = e.Rev+1, maps.Clone(e.Pools)
	}
	if next.Pools[id] = a.e; blank(a.e) {
		delete(next.Pools, id)
	}
	return next, nil
}

func total(e *roost.Edits) (n int) {
	if e != nil {
		for _, p := range e.Pools {
			n += size(p)
		}
	}
	return n
}

func refuse(code, format string, args ...any) *roost.ChangeError {
	return &roost.ChangeError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// applier makes one change to the edits of one pool.
type applier struct {
	merger // the pool as it is in force before
	conf   *roost.Pool
	listed []roost.Listing
	e      roost.PoolEdits // shared with the edits before: what changes is replaced
	flag   string          // that commands need to find the pool
}

func (a *applier) apply(c roost.Change) (changed bool, err error) {
	switch c := c.(type) {
	case roost.AddNode:
		return a.addNode(c.Node)
	case roost.RemoveNode:
		return a.removeNode(c.Node)
	case roost.SetWeight:
		return a.setWeight(c.Node, c.Weight)
	case roost.SetHold:
		return a.setHold(c.Node, c.Hold, c.Force)
	case roost.LiftHold:
		return a.liftHold(c.Node)
	case roost.SetPin:
		return a.setPin(c.Pin)
	case roost.RemovePin:
		return a.removePin(c.Key)
	case roost.SetHomes:
		return a.setHomes(c.Homes)
	}
	return false, nil
}

func (a *applier) noNode(id roost.NodeID) error {
	return refuse(roost.CodeNoNode, "pool %s has no node %s; to see them: roost nodes ls%s", quoted(string(a.pool.ID)), quoted(string(id)), a.flag)
}

func (a *applier) addNode(n roost.Node) (bool, error) {
	n.Sources, n.Holds = nil, nil
	if why := flaw(&n, a.pool.Settings.AllowLinkLocal); why != "" {
		return false, refuse(roost.CodeBadChange, "node %s cannot be added: %s", quoted(string(n.ID)), why)
	}
	mine, found := find(a.e.Nodes, n.ID)
	switch {
	case found && same(&a.e.Nodes[mine], &n):
		return false, nil
	case found:
		return false, a.exists(&a.e.Nodes[mine], &n, "the API")
	}
	if have := a.node(n.ID); have != nil {
		if same(have, &n) {
			return false, nil // it stands as wished; listed twice, it would outlive a change of the configuration
		}
		return false, a.exists(have, &n, who(have))
	}
	if i := slices.IndexFunc(a.pool.Intent.Nodes, func(o roost.Node) bool { return o.Addr == n.Addr }); i >= 0 {
		return false, refuse(roost.CodeNodeExists, "%s is node %s of pool %s already; a node has one name", n.Addr,
			quoted(string(a.pool.Intent.Nodes[i].ID)), quoted(string(a.pool.ID)))
	}
	if len(a.pool.Intent.Nodes) >= roost.MaxNodes || len(a.e.Nodes) >= roost.MaxNodes {
		return false, refuse(roost.CodeBadChange, "pool %s has %d nodes, which is the limit; make another pool", quoted(string(a.pool.ID)), roost.MaxNodes)
	}
	a.e.Nodes = slices.Insert(slices.Clone(a.e.Nodes), mine, n)
	return true, nil
}

// same tells whether two nodes are the same wish.
func same(a, b *roost.Node) bool {
	return a.ID == b.ID && a.Addr == b.Addr && a.Weight == b.Weight && a.Zone == b.Zone && a.Host == b.Host && a.Sleeps == b.Sleeps
}

// exists says why a node cannot be added that is there with other properties.
func (a *applier) exists(have, wish *roost.Node, who string) error {
	id := quoted(string(have.ID))
	switch {
	case have.Addr != wish.Addr:
		return refuse(roost.CodeNodeExists, "node %s is there already, at %s, as %s lists it; give the new one another name, or take that one out first", id, have.Addr, who)
	case have.Weight != wish.Weight:
		return refuse(roost.CodeNodeExists, "node %s is there already, with another weight, as %s lists it; to change that: roost nodes weight%s %s WEIGHT", id, who, a.flag, have.ID)
	}
	return refuse(roost.CodeNodeExists, "node %s is there already, with other properties, as %s lists it; take that one out first", id, who)
}

// find finds a node, or where it belongs.
func find(nodes []roost.Node, id roost.NodeID) (int, bool) {
	return slices.BinarySearchFunc(nodes, id, func(n roost.Node, id roost.NodeID) int { return cmp.Compare(n.ID, id) })
}

func (a *applier) removeNode(id roost.NodeID) (bool, error) {
	mine, found := find(a.e.Nodes, id)
	if other := a.listedElsewhere(id); other != nil {
		return false, refuse(roost.CodeListedByFile, "node %s of pool %s is listed by %s; take it out there, or hold it: roost nodes down%s %s", quoted(string(id)),
			quoted(string(a.pool.ID)), who(other), a.flag, id)
	}
	if !found {
		return false, a.noNode(id)
	}
	if a.lastOpen(id) {
		return false, refuse(roost.CodeLastNode, "node %s is the last open one of pool %s: without it every request there fails; drain it first, which takes --force",
			quoted(string(id)), quoted(string(a.pool.ID)))
	}
	a.e.Nodes = slices.Delete(slices.Clone(a.e.Nodes), mine, mine+1)
	// A node that comes back under this name is a new one; a pin is about its key and waits.
	a.e.Weights, a.e.Holds = without(a.e.Weights, id), without(a.e.Holds, id)
	return true, nil
}

// listedElsewhere is the node as a source beside the API lists it, whether it is in force or not, or nil.
func (a *applier) listedElsewhere(id roost.NodeID) *roost.Node {
	others := offers(a.conf, roost.PoolEdits{}, slices.DeleteFunc(slices.Clone(a.listed), func(l roost.Listing) bool { return l.Pool != a.conf.ID }))
	if i := slices.IndexFunc(others, func(o offer) bool { return o.ID == id }); i >= 0 {
		return &others[i].Node
	}
	return nil
}

func (a *applier) setWeight(id roost.NodeID, weight uint32) (bool, error) {
	was, set := a.e.Weights[id]
	switch {
	case weight > roost.MaxWeight:
		return false, refuse(roost.CodeBadChange, "a weight is at most %d", roost.MaxWeight/roost.WeightOne)
	case a.node(id) == nil && (weight > 0 || !set):
		return false, a.noNode(id)
	case weight == was:
		return false, nil
	case weight == 0:
		a.e.Weights = without(a.e.Weights, id)
	default:
		a.e.Weights = with(a.e.Weights, id, weight)
	}
	return true, nil
}

func (a *applier) setHold(id roost.NodeID, h roost.Hold, force bool) (bool, error) {
	h.Cause = causeOperator
	was, held := a.e.Holds[id]
	switch {
	case h.Kind != roost.Draining && h.Kind != roost.Down:
		return false, refuse(roost.CodeBadChange, "a hold drains a node or takes it down, this does neither")
	case h.Kind == roost.Down && h.Deadline != 0:
		return false, refuse(roost.CodeBadChange, "a node that is taken down has no deadline: what is open there is ended at once; to let it finish until then: roost nodes drain%s %s", a.flag, id)
	case h.Deadline < 0 || h.Deadline > MaxDeadline:
		return false, refuse(roost.CodeBadChange, "a drain's deadline is above zero and at most a year; without one, what is open may stay for ever")
	case a.node(id) == nil:
		return false, a.noNode(id)
	case held && was.Kind == h.Kind && was.Deadline == h.Deadline:
		return false, nil // since then, or a deadline asked for twice would move
	case !force && a.lastOpen(id):
		return false, refuse(roost.CodeLastNode, "node %s is the last open one of pool %s: without it every request there fails; --force does it all the same",
			quoted(string(id)), quoted(string(a.pool.ID)))
	}
	a.e.Holds = with(a.e.Holds, id, h)
	return true, nil
}

// lastOpen tells whether a node takes new requests, as far as holds say, and no other of its pool does.
func (a *applier) lastOpen(id roost.NodeID) bool {
	open := func(n *roost.Node) bool { return roost.DutyOf(n.Holds) < roost.DutyDraining }
	for i := range a.pool.Intent.Nodes {
		if n := &a.pool.Intent.Nodes[i]; n.ID != id && open(n) {
			return false
		}
	}
	n := a.node(id)
	return n != nil && open(n)
}

func (a *applier) liftHold(id roost.NodeID) (bool, error) {
	if _, held := a.e.Holds[id]; !held {
		if a.node(id) == nil {
			return false, a.noNode(id)
		}
		return false, nil
	}
	a.e.Holds = without(a.e.Holds, id)
	return true, nil
}

func (a *applier) setPin(p roost.PinIntent) (bool, error) {
	if why := pinFlaw(&p); why != "" {
		return false, refuse(roost.CodeBadChange, "key %s cannot be pinned: %s", quoted(p.Key), why)
	}
	for _, id := range p.Nodes {
		if a.node(id) == nil {
			return false, a.noNode(id)
		}
	}
	i, found := a.findPin(p.Key)
	switch {
	case found && comparePins(a.e.Pins[i], p) == 0:
		return false, nil
	case !found && len(a.e.Pins) >= MaxPins:
		return false, refuse(roost.CodeBadChange, "pool %s has %d pins, which is the limit; what needs more is another pool", quoted(string(a.pool.ID)), MaxPins)
	}
	p.Nodes = slices.Clone(p.Nodes)
	pins := slices.Clone(a.e.Pins)
	if found {
		pins[i] = p
	} else {
		pins = slices.Insert(pins, i, p)
	}
	a.e.Pins = pins
	return true, nil
}

func (a *applier) findPin(key string) (int, bool) {
	return slices.BinarySearchFunc(a.e.Pins, key, func(p roost.PinIntent, key string) int { return cmp.Compare(p.Key, key) })
}

func (a *applier) removePin(key string) (bool, error) {
	i, found := a.findPin(key)
	if !found {
		if slices.ContainsFunc(a.conf.Intent.Pins, func(p roost.PinIntent) bool { return p.Key == key }) {
			return false, refuse(roost.CodeListedByFile, "the configuration pins key %s of pool %s; take the pin out there, or beat it with another: roost keys pin%s KEY NODE...",
				quoted(key), quoted(string(a.pool.ID)), a.flag)
		}
		return false, refuse(roost.CodeNoPin, "pool %s has no pin of key %s; to see them: roost keys ls%s", quoted(string(a.pool.ID)), quoted(key), a.flag)
	}
	a.e.Pins = slices.Delete(slices.Clone(a.e.Pins), i, i+1)
	return true, nil
}

func (a *applier) setHomes(homes uint8) (bool, error) {
	if homes > roost.MaxHomes {
		return false, refuse(roost.CodeBadChange, "a key has 1 to %d homes; one that needs more can be pinned: roost keys pin%s", roost.MaxHomes, a.flag)
	}
	changed := homes != a.e.Homes
	a.e.Homes = homes
	return changed, nil
}

// with is a copy of m in which k is v.
func with[V any](m map[roost.NodeID]V, k roost.NodeID, v V) map[roost.NodeID]V {
	next := make(map[roost.NodeID]V, len(m)+1)
	maps.Copy(next, m)
	next[k] = v
	return next
}

// without is a copy of m without k, nil when nothing is left.
func without[V any](m map[roost.NodeID]V, k roost.NodeID) map[roost.NodeID]V {
	next := maps.Clone(m)
	if delete(next, k); len(next) == 0 {
		return nil
	}
	return next
}
