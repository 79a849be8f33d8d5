package roost

import "net/netip"

// ProtoTCP is Record.Proto of a raw connection. It has no method, target or status.
const ProtoTCP = "TCP"

// Record is one finished exchange, or raw connection, for the access log, metrics and events. Its strings and bytes are
// views that die with the call that hands it over.
type Record struct {
	Start     int64 // Unix nanoseconds
	Listener  ListenerID
	Route     *Route // nil: none matched
	Pool      PoolID
	Key       []byte // nil: none
	Node      NodeID // of the last attempt
	Why       Why
	Tries     uint8 // attempts made
	Spilled   bool
	Panic     bool
	Upgraded  bool
	Aborted   bool // the answer was broken off
	Proto     string
	Method    string
	Host      string
	Target    string
	Client    netip.Addr
	Status    uint16
	Reason    string // code of an answer of ours, "" when the node answered
	Cause     string // for operators: what went wrong, in words; "" when nothing did
	Fault     Fault  // of the last attempt
	BytesIn   int64  // body bytes from the client
	BytesOut  int64  // body bytes to the client
	Nanos     int64  // from the head's first byte to the answer's last
	NodeNanos int64  // the last attempt, until its response head
	Queued    int64  // nanoseconds spent waiting for room
	Wait      int64  // nanoseconds that the call waited inside the node, as it reported (XXX-FXLB-WAIT); 0: it did not
}
