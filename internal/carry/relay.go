package carry

import (
	"net/netip"

	"roost"
)

// Relay is what is kept of a connection whose bytes go both ways unread, which may be for weeks: a stream, or an exchange
// that switched protocols. It is at most 200 bytes, the words of its record in one string beside it.
//
// It counts in its node's Conns and no more among the requests in flight, so that idle connections do not fill their node.
type Relay struct {
	Live *roost.Live // of its node; nil: none, or it was finished

	route     *roost.Route
	words     string // key, host, method, target
	node      roost.NodeID
	proto     string
	client    netip.Addr
	start     int64
	nodeNanos int64
	queued    int64
	wait      int64
	ends      [3]uint32 // of the first three words
	listener  roost.ListenerID
	status    uint16
	why       roost.Why
	tries     uint8
	spilled   bool
	panic     bool
	upgraded  bool
}

// Settle makes a Relay of a stream that stands.
func (x *Stream) Settle(to *Relay) { x.relay(to) }

// Settle makes a Relay of an exchange that switched protocols, once the answer's head is appended.
func (x *Exchange) Settle(to *Relay) { x.relay(to) }

func (x *attempts) relay(to *Relay) {
	r := &x.Record
	*to = Relay{Live: x.Attempt.Live, route: r.Route, node: r.Node, proto: r.Proto, client: r.Client,
		start: r.Start, nodeNanos: r.NodeNanos, queued: r.Queued, wait: r.Wait,
		listener: r.Listener, status: r.Status, why: r.Why, tries: r.Tries, spilled: r.Spilled, panic: r.Panic, upgraded: r.Upgraded}
	to.words = string(r.Key) + r.Host + r.Method + r.Target
	n := 0
	for i, l := range [...]int{len(r.Key), len(r.Host), len(r.Method)} {
		n += l
		to.ends[i] = uint32(n)
	}
	to.Live.Conns.Add(1)
}

// Finish counts the connection out and makes its record: in and out are the bytes from the client and to it, now is in Unix
// nanoseconds. How it ended is for the engine to add: Aborted, and Cause.
func (r *Relay) Finish(rec *roost.Record, in, out, now int64) {
	*rec = roost.Record{Start: r.start, Listener: r.listener, Route: r.route, Pool: r.route.PoolID,
		Node: r.node, Why: r.why, Tries: r.tries, Spilled: r.spilled, Panic: r.panic, Upgraded: r.upgraded, Proto: r.proto,
		Host: r.words[r.ends[0]:r.ends[1]], Method: r.words[r.ends[1]:r.ends[2]], Target: r.words[r.ends[2]:],
		Client: r.client, Status: r.status, BytesIn: in, BytesOut: out, Nanos: now - r.start, NodeNanos: r.nodeNanos, Queued: r.queued, Wait: r.wait}
	if r.ends[0] > 0 {
		rec.Key = []byte(r.words[:r.ends[0]])
	}
	r.Live.Conns.Add(-1)
	*r = Relay{}
}
