package roost

// Snapshot is all that one request needs, behind one atomic pointer. It is immutable but for the live counters.
type Snapshot struct {
	Seq       uint64
	Config    Digest
	Listeners []ListenerView // by ListenerID; one that was never in use, or not any more, is zero
	Pools     []PoolView     // by PoolRef
}

// Listener is the listener id as requests see it; where the snapshot has none, the zero view.
func (s *Snapshot) Listener(id ListenerID) *ListenerView {
	if int(id) >= len(s.Listeners) {
		return &ListenerView{}
	}
	return &s.Listeners[id]
}

// ListenerView is a listener as requests see it.
type ListenerView struct {
	Name     string
	Address  string // as configured
	Settings ListenerSettings
	Routes   []*Route // in order; the first match wins
	Retired  bool     // out of the configuration: its connections finish what they have, and then close
	Want     []string // lower-case names of the fields that routes look at, by slot; at most MaxWant
	Hello    bool     // routes look at the name that a TLS client asks for: without terminating TLS, its ClientHello is waited for
}

// PoolView is a pool as requests see it.
type PoolView struct {
	ID       PoolID
	Table    *Table
	Liveness *Liveness // agreed deaths
	Nodes    []NodeView
	// Nodes is indexed by NodeRef and as long as Table.Roster.
	Weight   uint64 // sum of the weights of nodes that take new requests, in thousandths
	Takers   int    // how many nodes take new requests
	Live     *PoolLive
	Settings PoolSettings
}

// NodeView is a node as requests see it.
type NodeView struct {
	ID      NodeID
	Addr    string
	Weight  uint32 // effective, in thousandths: share, halved while ailing, ramped in slow start; 0 takes nothing new
	Verdict Verdict
	Duty    Duty
	Cut     bool // an operator took it down, or its drain's deadline passed: what is still open there is ended
	Live    *Live
}
