package carry

import (
	"net/netip"
	"slices"

	"roost"
	"roost/internal/pick"
	"roost/internal/proxyproto"
	"roost/internal/route"
)

// Peer is what an engine knows of the client's end of a connection.
type Peer struct {
	Listener roost.ListenerID
	Addr     netip.Addr     // the client's, unmapped: of the socket, or what [Peer.Introduce] found; invalid for unix sockets
	Port     uint16         // likewise; only nodes that are sent PROXY headers hear of it
	To       netip.AddrPort // where the client connected to, by a PROXY header; not valid: to the socket
	TLS      bool
	HTTP2    bool // heads are translations of HTTP/2 ones
	SNI      string
	ALPN     string // the protocol agreed on, when TLS ended here
	Cert     *roost.CertNames
	TLVs     string // of the PROXY header
}

// attempts are what an exchange and a stream have in common: who asks, the key, its pool, and the tries at its nodes.
type attempts struct {
	Request roost.Request
	Key     roost.Key
	Pool    *roost.PoolView
	Attempt roost.Attempt
	Record  roost.Record

	Sent bool // by the engine: anything of the client's was sent to the node; Choose clears it

	lv      *roost.ListenerView
	peer    *Peer
	scratch []byte
	tried   roost.Tried
	fault   roost.Fault
	began   int64 // the attempt
	keyed   bool
}

// begin readies x, which is zero. The scratch is that of the one before, or nil.
func (x *attempts) begin(scratch []byte, s *roost.Snapshot, p *Peer, start int64) {
	if scratch == nil {
		scratch = make([]byte, 0, roost.MaxKey)
	}
	x.scratch, x.lv, x.peer = scratch, s.Listener(p.Listener), p
	x.Request.SNI, x.Request.Cert, x.Request.TLVs = p.SNI, p.Cert, p.TLVs
	x.Record.Start, x.Record.Listener, x.Record.Client = start, p.Listener, p.Addr
}

// match finds the route of the request; without ok reply says why there is none.
func (x *attempts) match() (reply Reply, ok bool) {
	rt := route.Match(x.lv, &x.Request)
	switch {
	case rt == nil && x.lv.Name == "":
		return Reply{503, "listener_retired", "this listener is no longer served"}, false
	case rt == nil:
		return Reply{404, "no_route", "no route matches this request"}, false
	}
	x.Record.Route, x.Record.Pool = rt, rt.PoolID
	return Reply{}, true
}

// place finds the key that the route asks for, and the pool; without ok reply says why there is none.
func (x *attempts) place(s *roost.Snapshot, now int64) (reply Reply, ok bool) {
	rt := x.Record.Route
	key, ok := route.Extract(rt, &x.Request, x.scratch, now/1e9)
	if ok {
		x.Key = roost.Key{Bytes: key}
		x.keyed = true
		x.Record.Key = key
	} else if rt.OnMissing == roost.MissingReject {
		return Reply{400, "key_missing", "the request has no key that its route asks for"}, false
	}
	x.Pool = &s.Pools[rt.Pool]
	return Reply{}, true
}

func (x *attempts) choose(rnd uint64, now int64) roost.Refusal {
	var k *roost.Key
	if x.keyed {
		k = &x.Key
	}
	a, refused := pick.Begin(x.Pool, k, &x.tried, rnd, now)
	if refused != roost.NotRefused {
		return refused
	}
	x.Attempt, x.Sent, x.began, x.fault = a, false, now, roost.NoFault
	r := &x.Record
	r.Node, r.Why, r.Tries = a.ID, a.Why, x.tried.N
	r.Spilled = r.Spilled || a.Why == roost.WhySpill || a.Why == roost.WhyLeast
	r.Panic = r.Panic || a.Why == roost.WhyPanic
	return roost.NotRefused
}

// Refresh goes over to a later snapshot, between Accept or an attempt's end and Choose. What is under way in a
// pool that is gone goes on with the pool that it has.
func (x *attempts) Refresh(s *roost.Snapshot) {
	for i := range s.Pools {
		if p := &s.Pools[i]; p.ID == x.Pool.ID {
			x.translate(p)
			x.Pool = p
			x.Key.Hash = 0 // the table may have another hash key
			return
		}
	}
}

// translate lets tried say of p's roster what it says of the present one. Nodes are known by their counters.
func (x *attempts) translate(p *roost.PoolView) {
	if p.Table == x.Pool.Table {
		return
	}
	for i, ref := range x.tried.Refs[:x.tried.N] {
		if ref == roost.NoNode {
			continue
		}
		x.tried.Refs[i] = roost.NodeRef(len(p.Nodes)) // nobody's: it is not in p, and perhaps was not in the last one
		if int(ref) >= len(x.Pool.Nodes) {
			continue
		}
		live := x.Pool.Nodes[ref].Live
		if at := slices.IndexFunc(p.Nodes, func(n roost.NodeView) bool { return n.Live == live }); at >= 0 {
			x.tried.Refs[i] = roost.NodeRef(at)
		}
	}
}

// Unable says why there is no attempt at all: this balancer is out of resources.
func (x *attempts) Unable() Reply {
	x.fault, x.Record.Fault = roost.FaultLocal, roost.FaultLocal
	return failure(x.fault)
}

// Abandon counts out an attempt whose engine failed; nothing is known of it.
func (x *attempts) Abandon() {
	if x.Attempt.Live != nil && !x.Attempt.Ended {
		pick.End(&x.Attempt)
	}
}

// AppendProxy appends the PROXY header that a connection to the chosen node begins with, if its pool wants one. local is
// where the client's socket is connected to. Such a connection speaks for this client, and for no other.
//
// Version 2 carries what is known of the client's TLS (authority, ALPN, the common name of its certificate), and the TLVs
// of the header that came in, but for those about that one header or host.
func (x *attempts) AppendProxy(dst []byte, local netip.AddrPort) []byte {
	version := x.Pool.Settings.SendProxy
	if version == 0 {
		return dst
	}
	p := x.peer
	h := proxyproto.Header{Dst: local, TLVs: proxyproto.TLVs(p.TLVs)}
	if p.Addr.IsValid() {
		h.Src = netip.AddrPortFrom(p.Addr, p.Port)
	}
	if p.To.IsValid() {
		h.Dst = p.To
	}
	if version == 1 {
		return proxyproto.AppendV1(dst, &h)
	}
	authority, alpn := proxyproto.TLV{Type: proxyproto.TypeAuthority, Value: x.Request.SNI}, proxyproto.TLV{Type: proxyproto.TypeALPN, Value: p.ALPN}
	if !p.TLS {
		return proxyproto.AppendV2(dst, &h, authority, alpn)
	}
	name := ""
	if p.Cert != nil {
		name = p.Cert.CommonName
	}
	return proxyproto.AppendV2(dst, &h, authority, alpn, proxyproto.SSL(name))
}

// refusal is the answer when no node may be tried.
func refusal(r roost.Refusal) Reply {
	switch r {
	case roost.RefusedFull:
		return Reply{503, "pool_full", "every node is at its limit of requests"}
	case roost.RefusedOwner:
		return Reply{503, "owner_unreachable", "the only node that may serve this key is out of reach"}
	}
	return Reply{503, "pool_empty", "no node can take this request"}
}

// failure is the answer when a node, or this balancer, was at fault.
func failure(f roost.Fault) Reply {
	switch f {
	case roost.FaultRefused:
		return Reply{502, "node_refused", "the node refused the connection"}
	case roost.FaultConnect:
		return Reply{502, "node_unreachable", "the node could not be reached"}
	case roost.FaultResolve:
		return Reply{502, "node_unresolved", "the node's name did not resolve"}
	case roost.FaultForbidden:
		return Reply{502, "node_forbidden", "the node's address is one that is never dialled"}
	case roost.FaultTLS:
		return Reply{502, "node_tls", "there is no TLS with the node"}
	case roost.FaultReset:
		return Reply{502, "node_reset", "the node broke the connection before it answered"}
	case roost.FaultTimeout:
		return Reply{504, "node_timeout", "the node did not answer in time"}
	case roost.FaultProtocol:
		return Reply{502, "node_protocol", "the node's answer is not valid HTTP"}
	case roost.FaultTooLarge:
		return Reply{502, "node_head_too_large", "the head of the node's answer is over the limit"}
	case roost.FaultLocal:
		return Reply{503, "out_of_resources", "this balancer is out of resources"}
	}
	return Reply{}
}
