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
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID == h1.Host {
			dst = h1.AppendField(dst, f.Name.In(t), x.Request.Host)
		} else if f.ID == h1.MaxForwards && (h.Method == h1.OPTIONS || h.Method == h1.TRACE) {
			dst = appendHops(dst, f.Name.In(t), f.Value.In(t))
		} else if x.passes(f) {
			dst = h1.AppendField(dst, f.Name.In(t), f.Value.In(t))
		}
	}
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

// passes tells whether a request field goes on to the node as it stands.
func (x *Exchange) passes(f *h1.Field) bool {
	switch f.ID {
	case h1.Connection, h1.KeepAlive, h1.ProxyConnection, h1.TE, h1.TransferEncoding, h1.ContentLength, h1.Upgrade,
		h1.HTTP2Settings, h1.Expect, h1.ProxyAuthorization, h1.RoostRelay:
		return false
	case h1.Trailer:
		return x.In.Chunked
	case h1.XForwardedFor, h1.XForwardedProto, h1.XForwardedHost:
		return x.flags.trusted && !x.writtenAnew(f.ID)
	case h1.Forwarded:
		return x.flags.trusted && !x.writesForwarded()
	case h1.Other:
		if !x.flags.trusted && claimsOrigin(f.Name.In(x.text)) {
			return false
		}
	}
	return !x.listed(f.Name.In(x.text))
}

// listed tells whether Connection names the field, which makes it hop-by-hop (RFC 9110, 7.6.1).
func (x *Exchange) listed(name string) bool { return listed(x.head, x.text, name) }

func listed(h *h1.Head, text, name string) bool {
	for _, o := range h.ConnOptions[:h.NOptions] {
		if sameFold(name, o.In(text)) {
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
