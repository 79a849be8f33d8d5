package carry

import (
	"strings"

	"roost"
	"roost/internal/h1"
)

// Exchange is one request and its answer. An engine keeps one for as long as it has use for it: Accept makes it new.
//
// The order of calls is Accept, then for each attempt Choose, AppendRequest, Respond for each head that comes,
// AppendInterim or AppendResponse, and End; at last Finish. Where Accept, Choose or End says that there will be no
// answer of a node, AppendReply writes one of ours.
type Exchange struct {
	attempts

	In  Flow // the request's body
	Out Flow // the response's body

	// What the engine knows better; Choose clears the first two, and Sent.
	Reused   bool   // the node's connection had served before
	Reset    uint16 // the status that a node meant which reset this request's stream, and kept the connection; 0: it did not
	Answered bool   // anything of a final answer was sent to the client
	Held     bool   // all of the request's body so far can be sent again
	Sending  bool   // the request's body is not yet complete

	// Close says that the client's connection ends with this exchange. Engines may set it before the response head.
	Close bool

	head     *h1.Head
	text     string
	report   report
	pool     roost.PoolView // what Pool points to once the answer passes
	step     roost.Step     // what followed the attempt that ended
	reason   h1.Reason      // with FaultClientFrames
	headAt   int64          // the attempt's response head; 0: none yet
	status   uint16         // the node's
	interims uint8
	flags    flags
}

// flags are what Accept found out about a request, for the steps that follow.
type flags struct {
	trusted   bool // the peer's forwarding headers are believed
	upgrade   bool // an allowed protocol was asked for
	earlyData bool
	continued bool // 100 (Continue) was passed on
	expect    bool // Expect: 100-continue goes to the node
	busy      bool // the node answered 503 with Retry-After: it did not start
	slow      bool // with FaultClientSlow: by its Pace
	bare      bool // what was refused is a HEAD, which has no content for an answer (RFC 9110, 9.3.2)
}

// MaxInterim is how many 1xx responses one exchange may have: progress reports are rare, and a node that sends a stream
// of them keeps every timeout from ending the exchange.
const MaxInterim = 16

// Accept begins an exchange with a parsed request head; text holds the bytes it was parsed from. now and start (the
// head's first byte) are Unix nanoseconds. With ok the exchange has a pool and a key; else reply is the answer.
func (x *Exchange) Accept(s *roost.Snapshot, p *Peer, h *h1.Head, text string, start, now int64) (reply Reply, ok bool) {
	x.reset(s, p, start)
	x.head, x.text = h, text
	x.In.Body = h1.RequestBody(h)
	x.In.Chunked = h.Chunked
	x.In.Limit = x.lv.Settings.MaxBody
	x.Close = x.Close || !h.Persistent() || x.lv.Retired

	r, rec := &x.Request, &x.Record
	r.Method = h.MethodName.In(text)
	r.Scheme = "http"
	if p.TLS {
		r.Scheme = "https"
	}
	r.Host = h.Host.In(text)
	if h.Form == h1.AbsoluteForm || h.Form == h1.AuthorityForm {
		r.Host = h.Authority.In(text) // wins over Host (RFC 9112, 3.2.2)
	}
	r.Target = h.Origin.In(text)
	if h.Form == h1.AsteriskForm || h.Form == h1.AuthorityForm {
		r.Target = h.Target.In(text)
	} else if r.Target == "" {
		r.Target = "/"
	}
	rec.Method, rec.Host, rec.Target, rec.Proto = r.Method, r.Host, h.Target.In(text), x.proto()

	hops, limited := x.scan()
	r.Client = x.client()
	rec.Client = r.Client
	switch {
	case h.Method == h1.CONNECT:
		x.Close = true // what comes next may be meant for the tunnel
		return Reply{501, "method_connect", "CONNECT is not supported: this is not a forward proxy"}, false
	case limited && hops == 0 && h.Method == h1.TRACE:
		return Reply{405, "method_trace", "TRACE is not answered here"}, false
	case limited && hops == 0:
		return Reply{200, "", ""}, false // OPTIONS, for the last recipient: us
	case x.In.Limit > 0 && h.Length > x.In.Limit:
		return Reply{413, "body_too_large", "request body is over the limit"}, false
	}

	x.flags.upgrade = h.Upgrade.Len() > 0 && h.Minor > 0 && !p.HTTP2 && x.In.Body.Done() && x.offersUpgrade()
	x.flags.expect = h.Expect100 && h.Minor > 0 && x.In.Body.Framing != h1.NoBody

	if reply, ok = x.match(); !ok {
		x.Close = x.Close || x.lv.Name == "" // nobody serves it any more
		return reply, false
	}
	return x.place(s, now)
}

// Refuse begins and fails an exchange whose head could not be parsed, for why. h is as much of it as was understood; nil:
// nothing.
func (x *Exchange) Refuse(s *roost.Snapshot, p *Peer, h *h1.Head, why h1.Reason, start int64) Reply {
	x.reset(s, p, start)
	x.Close = true
	x.flags.bare = h != nil && h.Method == h1.HEAD
	return Reply{uint16(why.Status()), why.Code(), why.Error()}
}

// Encrypted begins and fails an exchange on a clear-text listener to which the client speaks TLS. It will not read the
// answer as HTTP, but whoever looks at its bytes, or at the log, sees what is wrong.
func (x *Exchange) Encrypted(s *roost.Snapshot, p *Peer, start int64) Reply {
	x.reset(s, p, start)
	x.Close = true
	return Reply{400, "tls_on_clear_text", "this listener takes clear text, and the client speaks TLS"}
}

// Late begins and fails an exchange whose head did not come whole in time.
func (x *Exchange) Late(s *roost.Snapshot, p *Peer, start int64) Reply {
	x.reset(s, p, start)
	x.Close = true
	return Reply{408, "head_timeout", "the request head did not come in time"}
}

// Shed begins and fails an exchange on a connection that is one too many.
func (x *Exchange) Shed(s *roost.Snapshot, p *Peer, start int64) Reply {
	x.reset(s, p, start)
	x.Close = true
	return shed()
}

func shed() Reply {
	return Reply{503, "too_many_connections", "the listener is at its limit of connections"}
}

func (x *Exchange) reset(s *roost.Snapshot, p *Peer, start int64) {
	scratch := x.scratch
	*x = Exchange{Held: true} // views of earlier bytes as well, so that nothing outlives its exchange
	x.begin(scratch, s, p, start)
}

// proto is the protocol that the client spoke, as logs have it.
func (x *Exchange) proto() string {
	switch {
	case x.peer.HTTP2:
		return "HTTP/2.0"
	case x.head.Minor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// scan goes over the request's fields once: it fills the slots that routes look at and finds Max-Forwards (limited:
// it is there and binds, RFC 9110, 7.6.2) and Early-Data.
func (x *Exchange) scan() (hops int64, limited bool) {
	h, t, want := x.head, x.text, x.lv.Want
	if len(want) == 0 && h.Seen&(1<<h1.MaxForwards|1<<h1.EarlyData) == 0 {
		return 0, false
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.ID {
		case h1.MaxForwards:
			if h.Method == h1.OPTIONS || h.Method == h1.TRACE {
				if n, ok := number(f.Value.In(t)); ok {
					hops, limited = n, true
				}
			}
		case h1.EarlyData:
			x.flags.earlyData = x.flags.earlyData || f.Value.In(t) == "1"
		}
		name := f.Name.In(t)
		for slot, w := range want {
			if len(w) == len(name) && x.Request.Has&(1<<slot) == 0 && equalFold(name, w) {
				x.Request.Want[slot] = f.Value.In(t)
				x.Request.Has |= 1 << slot
			}
		}
	}
	return hops, limited
}

// offersUpgrade tells whether the client asked for a protocol that the listener allows.
func (x *Exchange) offersUpgrade() bool {
	list := x.head.Upgrade.In(x.text)
	for list != "" {
		var token string
		token, list = cutList(list)
		if x.mayUpgrade(token) {
			return true
		}
	}
	return false
}

// mayUpgrade tells whether the listener allows a protocol. HTTP/2 in clear text by Upgrade never is: it would carry
// requests past every rule here, and RFC 9113 has dropped it.
func (x *Exchange) mayUpgrade(token string) bool {
	if token == "" || equalFold(token, "h2c") {
		return false
	}
	for _, u := range x.lv.Settings.Upgrades {
		if equalFold(token, u) {
			return true
		}
	}
	return false
}

// Choose makes the next attempt, or says why there is none: then nothing was counted. now is in Unix nanoseconds; rnd
// is any random number.
func (x *Exchange) Choose(rnd uint64, now int64) roost.Refusal {
	refused := x.choose(rnd, now)
	if refused == roost.NotRefused {
		x.Reused, x.Reset, x.flags.busy = false, 0, false
		x.headAt, x.status, x.report = 0, 0, report{}
	}
	return refused
}

// Refused is the answer when Choose makes no attempt: what went wrong before, if something did.
func (x *Exchange) Refused(r roost.Refusal) Reply {
	if x.fault != roost.NoFault {
		return x.Failed()
	}
	return refusal(r)
}

// Idempotent tells whether the request's method may be repeated (RFC 9110, 9.2.2).
func (x *Exchange) Idempotent() bool {
	switch x.head.Method {
	case h1.GET, h1.HEAD, h1.OPTIONS, h1.TRACE, h1.PUT, h1.DELETE:
		return true
	}
	return false
}

// HTTP2 tells whether the node is to be spoken to in HTTP/2.
func (x *Exchange) HTTP2() bool {
	switch set := &x.Pool.Settings; {
	case set.SendProxy != 0:
		return false // a connection with a PROXY header speaks for one client; HTTP/2 ones are shared
	case set.Protocol == roost.ProtocolH2C:
		return true
	case set.Protocol == roost.ProtocolHTTP1:
		return false
	}
	if !x.head.TETrailers || !x.head.Seen.Has(h1.ContentType) {
		return false // gRPC has both
	}
	for i := range x.head.Fields {
		if f := &x.head.Fields[i]; f.ID == h1.ContentType {
			v := f.Value.In(x.text)
			return len(v) >= len(grpc) && equalFold(v[:len(grpc)], grpc) &&
				(len(v) == len(grpc) || strings.IndexByte("+; ", v[len(grpc)]) >= 0)
		}
	}
	return false
}

const grpc = "application/grpc"
