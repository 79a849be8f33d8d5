package roost

// Edits are what operators made through the API, beside the configuration: a store keeps them, control folds them into
// what the configuration says. They are immutable once handed over.
type Edits struct {
	Rev   uint64 // rises by one with each change; 0: nothing was ever changed
	Pools map[PoolID]PoolEdits
}

// PoolEdits are the edits of one pool. A pool that leaves the configuration keeps its own, for the day it returns.
type PoolEdits struct {
	Nodes   []Node            // added by the API, sorted by id; without Sources and Holds
	Weights map[NodeID]uint32 // in thousandths, in place of what the node's source says
	Holds   map[NodeID]Hold   // the operator's hold; a node has at most one of them
	Pins    []PinIntent       // sorted by key; each beats a pin of the configuration for the same key
	Homes   uint8             // in place of the configuration's; 0: not set
}

// Change is one wish of an operator: [AddNode], [RemoveNode], [SetWeight], [SetHold], [LiftHold], [SetPin], [RemovePin]
// or [SetHomes].
type Change interface {
	On() PoolID // the pool that it is about
}

// AddNode lists a node in a pool. Adding one again as it stands changes nothing.
type AddNode struct {
	Pool PoolID
	Node Node
}

// RemoveNode takes back an AddNode. A node that other sources list cannot be removed, only held.
type RemoveNode struct {
	Pool PoolID
	Node NodeID
}

// SetWeight weighs a node, whoever lists it. 0 takes the wish back.
type SetWeight struct {
	Pool   PoolID
	Node   NodeID
	Weight uint32 // thousandths
}

// SetHold drains a node or takes it down. Force allows it for the last open node of a pool.
type SetHold struct {
	Pool  PoolID
	Node  NodeID
	Hold  Hold
	Force bool
}

// LiftHold takes the operator's hold back; holds of other causes stay.
type LiftHold struct {
	Pool PoolID
	Node NodeID
}

// SetPin places a key by hand.
type SetPin struct {
	Pool PoolID
	Pin  PinIntent
}

// RemovePin takes back a SetPin.
type RemovePin struct {
	Pool PoolID
	Key  string
}

// SetHomes changes how many homes a key of the pool has. 0 takes the wish back.
type SetHomes struct {
	Pool  PoolID
	Homes uint8
}

func (c AddNode) On() PoolID    { return c.Pool }
func (c RemoveNode) On() PoolID { return c.Pool }
func (c SetWeight) On() PoolID  { return c.Pool }
func (c SetHold) On() PoolID    { return c.Pool }
func (c LiftHold) On() PoolID   { return c.Pool }
func (c SetPin) On() PoolID     { return c.Pool }
func (c RemovePin) On() PoolID  { return c.Pool }
func (c SetHomes) On() PoolID   { return c.Pool }

// ChangeError says why a change was not made. Everything stands as before.
type ChangeError struct {
	Code string // one of the codes below: stable, for scripts
	Text string // for people; says what to do
}

func (e *ChangeError) Error() string { return e.Text }

// Codes of a ChangeError.
const (
	CodeNoPool       = "no_such_pool"
	CodeNoNode       = "no_such_node"
	CodeNoPin        = "no_such_pin"
	CodeListedByFile = "listed_elsewhere" // the node is not the API's to remove
	CodeLastNode     = "last_node"        // of its pool; Force allows it
	CodeNodeExists   = "node_exists"      // with other properties, or the address under another name
	CodeBadChange    = "invalid"          // what it says cannot be: an address, a name, a weight
	CodeRevMoved     = "revision_moved"   // somebody else made a change since the caller looked
	CodeStoreAway    = "store_unavailable"
	CodeEnding       = "ending" // the process drains, or another takes over: ask again in a moment
)

// Listing is what a source beside configuration and API lists in one pool now, such as fnlb's table of nodes. A source
// that fails keeps its last listing.
type Listing struct {
	Source Source
	Pool   PoolID
	Nodes  []Node
}
