package carry

import (
	"strconv"

	"roost"
	"roost/internal/h1"
)

// AppendRequest appends the request's head as the chosen node gets it: fields in their order and case, without those
// that were meant for us alone; framing, Host and forwarding fields written anew.
//
// An expectation is passed on rather than answered here, as RFC 9110, 10.1.1 demands: the node alone knows whether it
// wants the body, and its 100 (Continue) comes back through Respond.
func (x *Exchange) AppendRequest(dst []byte) []byte {
	h, t := x.head, x.text
	dst = append(dst, x.Request.Method...)
	dst = append(dst, ' ')
	dst = x.appendTarget(dst)
	dst = append(dst, " HTTP/1.1\r\n"...)
	if !h.HasHost {
		// HTTP/1.0, or HTTP/1.1 would have been refused. A node's own name is what a client would say who knew
		// nothing else.
		dst = h1.AppendField(dst, "Host", hostOf(x.Request.Host, x.Attempt.Addr))
	}
	lines, stays := h1.Lines{Text: t}, x.stays()
	for i := range h.Fields {
		switch f := &h.Fields[i]; {
		case stays.Has(f.ID):
		case f.ID == h1.Host && h.Authority.Len() > 0:
			dst = h1.AppendField(lines.Flush(dst), f.Name.In(t), x.Request.Host)
		case f.ID == h1.MaxForwards && (h.Method == h1.OPTIONS || h.Method == h1.TRACE):
			dst = appendHops(lines.Flush(dst), f.Name.In(t), f.Value.In(t))
		case f.ID == h1.Other && !x.flags.trusted && claimsOrigin(f.Name.In(t)), listed(h, t, f):
		default:
			dst = lines.Append(dst, f)
		}
	}
	dst = lines.Flush(dst)
	if via := x.lv.Settings.Via; via != "" {
		dst = x.appendVia(dst, via, x.proto()[len("HTTP/"):])
	}
	dst = x.appendForwarding(dst)
	return x.appendControl(dst)
}

// appendTarget appends the request target in origin form, or "*" (RFC 9112, 3.2.1 and 3.2.4).
func (x *Exchange) appendTarget(dst []byte) []byte {
	h, origin := x.head, x.head.Origin.In(x.text)
	switch {
	case h.Form == h1.AsteriskForm, h.Form == h1.AbsoluteForm && origin == "" && h.Method == h1.OPTIONS:
		return append(dst, '*')
	case origin == "" || origin[0] != '/':
		dst = append(dst, '/')
	}
	return append(dst, origin...)
}

// hostOf is the authority to name where the client named none.
func hostOf(asked, addr string) string {
	switch {
	case asked != "":
		return asked
	case len(addr) > 5 && addr[:5] == "unix:":
		return "localhost"
	}
	return addr
}

// ofHop are the fields that concern one connection alone, and those that are written anew; a node gets none of them as
// it came.
const ofHop h1.FieldSet = 1<<h1.Connection | 1<<h1.KeepAlive | 1<<h1.ProxyConnection | 1<<h1.TE | 1<<h1.TransferEncoding |
	1<<h1.ContentLength | 1<<h1.Upgrade | 1<<h1.HTTP2Settings | 1<<h1.RoostRelay

// stays are the fields of this request that go no further.
func (x *Exchange) stays() h1.FieldSet {
	set := ofHop | 1<<h1.Expect | 1<<h1.ProxyAuthorization
	if !x.In.Chunked {
		set |= 1 << h1.Trailer
	}
	return set | x.unbelieved()
}

// listed tells whether Connection names the field, which makes it hop-by-hop (RFC 9110, 7.6.1).
func listed(h *h1.Head, text string, f *h1.Field) bool {
	for _, o := range h.ConnOptions[:h.NOptions] {
		if sameFold(f.Name.In(text), o.In(text)) {
			return true
		}
	}
	return false
}

func appendHops(dst []byte, name, value string) []byte {
	n, ok := number(value)
	if !ok {
		return h1.AppendField(dst, name, value) // not a number: nothing to count down, and not ours to refuse
	}
	dst = append(append(dst, name...), ": "...)
	return append(strconv.AppendInt(dst, max(n-1, 0), 10), "\r\n"...)
}

// appendVia appends who passed the message on, and in which version it came (RFC 9110, 7.6.3).
func (x *Exchange) appendVia(dst []byte, via, version string) []byte {
	dst = append(append(dst, "Via: "...), version...)
	return append(append(append(dst, ' '), via...), "\r\n"...)
}

// appendControl appends framing, expectations, connection options and the empty line.
func (x *Exchange) appendControl(dst []byte) []byte {
	h := x.head
	switch {
	case x.In.Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case h.Length >= 0:
		dst = appendLength(dst, h.Length)
	}
	if x.flags.expect && !x.flags.continued {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	switch {
	case h.TETrailers && x.flags.upgrade:
		dst = append(dst, "TE: trailers\r\nConnection: TE, Upgrade\r\n"...)
	case h.TETrailers:
		dst = append(dst, "TE: trailers\r\nConnection: TE\r\n"...) // RFC 9110, 10.1.4
	case x.flags.upgrade:
		dst = append(dst, "Connection: Upgrade\r\n"...)
	}
	if x.flags.upgrade {
		dst = x.appendUpgrade(dst)
	}
	return append(dst, "\r\n"...)
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	return append(strconv.AppendInt(dst, n, 10), "\r\n"...)
}

// appendUpgrade appends the protocols that the client asked for and may have.
func (x *Exchange) appendUpgrade(dst []byte) []byte {
	dst = append(dst, "Upgrade: "...)
	list, sep := x.head.Upgrade.In(x.text), ""
	for list != "" {
		var token string
		token, list = cutList(list)
		if x.mayUpgrade(token) {
			dst = append(append(dst, sep...), token...)
			sep = ", "
		}
	}
	return append(dst, "\r\n"...)
}

// replay says whether the request may be sent again.
func (x *Exchange) replay() roost.Replay {
	return roost.Replay{Idempotent: x.Idempotent(), Replayable: x.Held, EarlyData: x.flags.earlyData}
}
