package carry

import (
	"math"
	"net/netip"

	"roost"
)

// Relay is what is kept of a connection whose bytes go both ways unread, which may be for weeks: a stream, or an exchange
// that switched protocols. It is at most 104 bytes, the words of its record in one string beside it.
//
// It counts in its node's Conns and no more among the requests in flight, so that idle connections do not fill their node.
type Relay struct {
	Live *roost.Live // of its node; nil: none, or it was finished

	route     *roost.Route
	words     string // key, host, method, target
	node      roost.NodeID
	start     int64
	client    [16]byte // as netip.Addr.As16, which takes a third less
	hostEnd   uint32   // of the words
	methodEnd uint32
	nodeTime  micros
	queued    micros
	wait      micros
	keyEnd    uint16 // MaxKey at most
	listener  roost.ListenerID
	status    uint16
	why       roost.Why
	tries     uint8
	spilled   bool
	panic     bool
	upgraded  bool
	addressed bool // client is one
}

// micros is a time in microseconds, at most 71 minutes.
type micros uint32

func microsOf(nanos int64) micros { return micros(min(max(nanos/1e3, 0), math.MaxUint32)) }

func (m micros) nanos() int64 { return int64(m) * 1e3 }

// Settle makes a Relay of a stream that stands.
func (x *Stream) Settle(to *Relay) { x.relay(to) }

// Settle makes a Relay of an exchange that switched protocols, once the answer's head is appended.
func (x *Exchange) Settle(to *Relay) { x.relay(to) }

func (x *attempts) relay(to *Relay) {
	r := &x.Record
	*to = Relay{Live: x.Attempt.Live, route: r.Route, node: r.Node, addressed: r.Client.IsValid(),
		start: r.Start, nodeTime: microsOf(r.NodeNanos), queued: microsOf(r.Queued), wait: microsOf(r.Wait),
		listener: r.Listener, status: r.Status, why: r.Why, tries: r.Tries, spilled: r.Spilled, panic: r.Panic, upgraded: r.Upgraded}
	if to.addressed {
		to.client = r.Client.As16()
	}
	to.words = string(r.Key) + r.Host + r.Method + r.Target
	to.keyEnd = uint16(len(r.Key))
	to.hostEnd = uint32(len(r.Key) + len(r.Host))
	to.methodEnd = to.hostEnd + uint32(len(r.Method))
	to.Live.Conns.Add(1)
}

// Finish counts the connection out and makes its record: in and out are the bytes from the client and to it, now is in Unix
// nanoseconds. How it ended is for the engine to add: Aborted, and Cause.
func (r *Relay) Finish(rec *roost.Record, in, out, now int64) {
	*rec = roost.Record{Start: r.start, Listener: r.listener, Route: r.route, Pool: r.route.PoolID,
		Node: r.node, Why: r.why, Tries: r.tries, Spilled: r.spilled, Panic: r.panic, Upgraded: r.upgraded,
		Host: r.words[r.keyEnd:r.hostEnd], Method: r.words[r.hostEnd:r.methodEnd], Target: r.words[r.methodEnd:],
		Status: r.status, BytesIn: in, BytesOut: out, Nanos: now - r.start, NodeNanos: r.nodeTime.nanos(), Queued: r.queued.nanos(), Wait: r.wait.nanos()}
	rec.Proto = roost.ProtoTCP
	if r.upgraded {
		rec.Proto = "HTTP/1.1" // the only one with an Upgrade
	}
	if r.addressed {
		rec.Client = netip.AddrFrom16(r.client).Unmap()
	}
	if r.keyEnd > 0 {
		rec.Key = []byte(r.words[:r.keyEnd])
	}
	r.Live.Conns.Add(-1)
	*r = Relay{}
}
