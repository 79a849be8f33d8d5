package roost

import (
	"cmp"
	"slices"
	"time"
)

// Ownership says what may happen to a key of a pool when its home is full or out of reach.
type Ownership uint8

const (
	Shared    Ownership = iota // functions: walk and spill
	Available                  // one home; both sides of a split may own, healed after
	Strict                     // one home; routed only with a table confirmed within its TTL
)

// Policy travels in the table, so that two balancers with different files still route alike.
type Policy struct {
	Homes     uint8 // ordered homes per slot, 1 to MaxHomes
	Owner     Ownership
	HoldFor   time.Duration // park while a death is being agreed; 0 for shared pools
	WalkFloor uint32        // requests in flight always allowed on a node of weight one, before its limit
}

const (
	// RowLen is how many nodes a slot's row holds: its homes, then successors by rendezvous. Beyond it the walk
	// strides over the whole roster. Eight cover every crash short of eight at once with the slot's own order.
	RowLen = 8
	// MaxHomes bounds Policy.Homes so that a row always keeps successors behind its homes. A key that needs more
	// homes is an exception.
	MaxHomes = 4
	// DefaultHomes are used first to last as load grows; spreading over them would cost 2.6 times the cold starts.
	DefaultHomes = 3
	// DefaultWalkFloor keeps an idle pool from spilling: without a floor its limit is 1 and every second call spills.
	DefaultWalkFloor = 4

	// PageBits slots share a page; successive tables share the pages that did not change.
	PageBits  = 8
	PageSlots = 1 << PageBits
	// MinSlotBits gives at least 4,096 slots, so that a slot is never a large part of a small pool's load.
	MinSlotBits = 12
	// MaxSlotBits bounds a table at 2^22 slots (64 MiB of rows): 64 slots for each of MaxNodes nodes.
	MaxSlotBits = 22
)

// RosterNode is a node as the table knows it. The roster is part of the table: homes depend on nothing else.
type RosterNode struct {
	ID     NodeID
	Share  uint32 // planned weight in thousandths; 0 is a tombstone that keeps its NodeRef
	Closed bool   // draining or down: gets nothing new
	Zone   string
}

// Cause says why a key stands apart from its slot.
type Cause uint8

const (
	Pin Cause = iota + 1
	HotKey
	MovedGroup
	Quarantined
)

func (c Cause) String() string {
	switch c {
	case Pin:
		return "pin"
	case HotKey:
		return "hot"
	case MovedGroup:
		return "moved"
	case Quarantined:
		return "quarantined"
	}
	return "none"
}

// Exception places one key apart from its slot. Pins, hot keys, moved groups and quarantined keys are one type.
// Homes are in order; a key of a HotKey exception is spread over them by power of two choices.
type Exception struct {
	Key   KeyHash
	Cause Cause
	Homes []NodeRef
	Name  string // the key's text where an operator gave it
}

// Row is a slot's candidates in order: its homes, then its successors, then NoNode when the roster is shorter.
type Row [RowLen]NodeRef

// Page is 256 neighbouring slots and the exceptions whose keys fall into them.
type Page struct {
	Rows       [PageSlots]Row
	Exceptions []Exception // sorted by Key; SetExceptions writes it
	has        [4]uint64   // bits by the low 8 bits of the keys of Exceptions: most keys need not be searched for
}

// SetExceptions gives a page that is not yet in use its exceptions. It keeps and sorts the slice.
func (p *Page) SetExceptions(ex []Exception) {
	slices.SortFunc(ex, func(a, b Exception) int { return cmp.Compare(a.Key, b.Key) })
	p.Exceptions, p.has = ex, [4]uint64{}
	for i := range ex {
		k := ex[i].Key
		p.has[k>>6&3] |= 1 << (k & 63)
	}
}

// Table places every key of one pool. It is immutable once built. Homes(table, agreed dead, key) is pure and complete:
// roster, weights, policy and hash are inside, nothing else may enter.
type Table struct {
	Pool     PoolID
	Epoch    Epoch
	Hash     Hash
	Policy   Policy
	Voters   []MemberID // balancers in order of admission: succession and majority without clocks
	Roster   []RosterNode
	SlotBits uint8
	Pages    []*Page
	Digest   Digest // of all above but the epoch
	Stride   []uint32
	// Stride holds strides coprime to len(Roster), by which a walk beyond its row visits every node once. At most
	// MaxStrides are kept.
}

// MaxStrides is how many strides a table keeps: enough that the walks of two slots that start at one node part.
const MaxStrides = 16

// Slots is the number of slots: a power of two.
func (t *Table) Slots() int { return 1 << t.SlotBits }

// SlotOf maps a key's hash to its slot by the hash's upper bits, so that doubling the slots splits each in place.
func (t *Table) SlotOf(k KeyHash) uint32 { return uint32(uint64(k) >> (64 - t.SlotBits)) }

// Row returns a slot's candidates. It must not be changed.
func (t *Table) Row(slot uint32) *Row { return &t.Pages[slot>>PageBits].Rows[slot&(PageSlots-1)] }

// Exception returns the exception of a key, or nil.
func (t *Table) Exception(k KeyHash) *Exception {
	p := t.Pages[t.SlotOf(k)>>PageBits]
	if p.has[k>>6&3]&(1<<(k&63)) == 0 {
		return nil // the usual case
	}
	return p.find(k)
}

func (p *Page) find(k KeyHash) *Exception {
	i, ok := slices.BinarySearchFunc(p.Exceptions, k, func(e Exception, k KeyHash) int { return cmp.Compare(e.Key, k) })
	if !ok {
		return nil
	}
	return &p.Exceptions[i]
}

// Walk yields a key's candidates in order: the homes of its exception or slot, the rest of its slot's row, then every
// node of the roster once, from a start and by a coprime stride that depend on the slot. A node may come twice, never
// more than three times. The zero Walk is not usable; take one from Table.Walk. It is a value: no allocation.
type Walk struct {
	t     *Table
	row   *Row
	homes []NodeRef
	slot  uint32
	i     uint32 // candidates passed
	at    uint32 // the roster's turn: where it stands
	Homes int    // how many of the first candidates are homes
	Cause Cause  // of the key's exception; 0: it has none
}

// Walk starts at the key's first home.
func (t *Table) Walk(k KeyHash) Walk {
	slot := t.SlotOf(k)
	w := Walk{t: t, row: t.Row(slot), slot: slot}
	if ex := t.Exception(k); ex != nil && len(ex.Homes) > 0 {
		w.homes, w.Cause = ex.Homes, ex.Cause
	} else {
		w.homes = w.row[:t.Policy.Homes]
	}
	w.Homes = len(w.homes)
	return w
}

// Next returns the next candidate, or NoNode when every node was yielded. Places without a node (a roster shorter than
// the row) are passed over. Dead and closed nodes are yielded: who walks decides.
func (w *Walk) Next() (ref NodeRef, isHome bool) {
	for int(w.i) < len(w.homes) {
		r := w.homes[w.i]
		w.i++
		if r != NoNode {
			return r, true
		}
	}
	start := len(w.homes) // of the row; a slot's own homes are its first places and were yielded
	if w.Cause == 0 {
		start = 0
	}
	for int(w.i) < start+RowLen {
		r := w.row[int(w.i)-start]
		w.i++
		if r != NoNode {
			return r, false
		}
	}
	return w.turn(start + RowLen), false
}

// turn walks the whole roster. The stride is looked up by other digits of the slot than the start, so that slots that
// start at the same node part there.
func (w *Walk) turn(start int) NodeRef {
	n := uint32(len(w.t.Roster))
	if n == 0 || int(w.i) >= start+int(n) {
		return NoNode
	}
	if int(w.i) == start {
		w.at = w.slot % n
	} else {
		w.at += w.t.Stride[w.slot/n%uint32(len(w.t.Stride))]
		if w.at >= n {
			w.at -= n
		}
	}
	w.i++
	return NodeRef(w.at)
}

// Homes appends a key's homes to dst, best first, given the agreed deaths: a dead, closed or removed home is left out
// and its place is taken, at the end, by the first live successors, so that a key always has as many homes as its
// policy or exception asks for while that many nodes live. It is pure: same table and same deaths give the same homes
// on every balancer, and a death changes only the keys that had the dead node among their homes.
func (t *Table) Homes(dead *Liveness, k KeyHash, dst []NodeRef) []NodeRef {
	start := len(dst)
	homes := t.Row(t.SlotOf(k))[:t.Policy.Homes]
	if ex := t.Exception(k); ex != nil && len(ex.Homes) > 0 {
		homes = ex.Homes
	}
	for _, r := range homes {
		if r != NoNode && t.serves(dead, r) {
			dst = append(dst, r)
		}
	}
	if len(dst)-start == len(homes) {
		return dst // the usual case, without the cost of a walk
	}
	w := t.Walk(k)
	for len(dst)-start < len(homes) {
		r, home := w.Next()
		if r == NoNode {
			break
		}
		if !home && t.serves(dead, r) && !slices.Contains(dst[start:], r) {
			dst = append(dst, r)
		}
	}
	return dst
}

// serves tells whether a node can be a home, given the agreed deaths.
func (t *Table) serves(dead *Liveness, r NodeRef) bool {
	n := &t.Roster[r]
	return n.Share > 0 && !n.Closed && !dead.IsDead(r)
}

// Liveness is what is agreed about one table's nodes, as bits by NodeRef. Only agreed deaths move homes.
type Liveness struct {
	Rev    uint64
	Dead   []uint64
	Frozen bool // this process suspects itself, not the nodes
}

// IsDead is false for nodes beyond the bits and on a nil Liveness.
func (l *Liveness) IsDead(r NodeRef) bool {
	return l != nil && int(r>>6) < len(l.Dead) && l.Dead[r>>6]&(1<<(r&63)) != 0
}

// Intent is what people and sources want of one pool: its nodes, pins and policy. Control folds it into a table.
type Intent struct {
	Rev    uint64
	Nodes  []Node
	Pins   []PinIntent
	Policy Policy
}

// PinIntent is an operator's explicit homes for one key, or only their number.
type PinIntent struct {
	Key   string
	Nodes []NodeID // explicit homes, best first
	Homes uint8    // with no Nodes: how many homes along the key's own successor order
}
