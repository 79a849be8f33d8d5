package h1

import "bytes"

// mean takes in what a field with an identity says of the message.
func (p *Parser) mean(b []byte, f Field, h *Head) (r Reason) {
	value := b[f.Value.Off:f.Value.End]
	switch f.ID {
	case Connection:
		return p.connection(b, f.Value, h)
	case ContentLength:
		if h.Length >= 0 {
			return ErrLengthDuplicate // even an equal one: who sends it has merged two messages' heads
		}
		h.Length, r = length(value)
		return r
	case TransferEncoding:
		switch {
		case h.Minor == 0:
			return ErrTransferEncodingIn10 // its framing is faulty by definition (RFC 9112, 6.1)
		case h.Chunked:
			return ErrTransferEncodingDuplicate
		}
		h.Chunked = true
		return transferCoding(b, f.Value)
	case Upgrade:
		p.upgrades++
		p.protocols = f.Value
	}
	if h.Kind == Response {
		return 0
	}
	switch f.ID {
	case Host:
		if h.HasHost {
			return ErrHostDuplicate
		}
		h.HasHost, h.Host = true, f.Value
		if _, _, ok := hostPort(value); !ok && len(value) > 0 {
			return ErrHostInvalid
		}
	case Expect:
		if h.Minor == 0 {
			return 0 // RFC 9110, 10.1.1
		}
		if !equalFold(value, "100-continue") {
			return ErrExpectUnknown
		}
		h.Expect100 = true
	case TE:
		for rest, more := f.Value, true; more; {
			var el Span
			el, rest, more = cut(b, rest)
			h.TETrailers = h.TETrailers || equalFold(b[el.Off:el.End], "trailers")
		}
	}
	return 0
}

// finish judges what only the whole head can tell.
func (p *Parser) finish(b []byte, h *Head) Reason {
	if h.Kind == Request {
		if r := host(b, h); r != 0 {
			return r
		}
	}
	if h.Chunked && h.Length >= 0 {
		return ErrLengthAndChunked
	}
	if contentForbidden(h) && (h.Chunked || h.Length > 0) {
		return ErrContentForbidden
	}
	return p.settle(b, h)
}

// settle judges the protocols that Upgrade names, which count only if Connection lists upgrade, and not in HTTP/1.0
// (RFC 9110, 7.8). Outside of a 101 a server only advertises: then nothing hangs on them, and a mistake makes them void.
func (p *Parser) settle(b []byte, h *Head) (r Reason) {
	if !p.upgrade || p.upgrades == 0 || h.Minor == 0 {
		return 0
	}
	if p.upgrades > 1 {
		r = ErrUpgradeDuplicate // a list may come in two fields, but nobody who means to switch sends it so
	} else {
		r = protocols(b, p.protocols)
	}
	switch {
	case r == 0:
		h.Upgrade = p.protocols
	case h.Kind == Response && h.Status != 101:
		return 0
	}
	return r
}

// host judges the Host field beside the request target (RFC 9112, 3.2).
func host(b []byte, h *Head) Reason {
	switch {
	case !h.HasHost && h.Minor == 0:
		return 0
	case !h.HasHost:
		return ErrHostMissing
	case h.Host.Len() == 0:
		// An empty Host says that the target has no authority. An http URI cannot be without one (RFC 9110, 4.2.1), so only
		// a question to the server as a whole may do so.
		if h.Form == AsteriskForm {
			return 0
		}
		return ErrHostEmpty
	case h.Authority.Len() == 0:
		return 0
	}
	name, port, _ := hostPort(b[h.Host.Off:h.Host.End])
	target, targetPort, _ := hostPort(b[h.Authority.Off:h.Authority.End])
	var usual int // the port that need not be written
	switch {
	case h.Form == AuthorityForm:
		usual = targetPort // RFC 9110, 9.3.6 itself shows a Host without the port
	case h.Scheme.Len() == len("https"):
		usual = 443
	default:
		usual = 80
	}
	if port < 0 {
		port = usual
	}
	if targetPort < 0 {
		targetPort = usual
	}
	if port != targetPort || !bytes.EqualFold(name, target) {
		return ErrHostMismatch // whoever routes by the one and whoever routes by the other would disagree
	}
	return 0
}

// contentForbidden tells the messages that cannot have content. For these two readers of a declared length would
// disagree about where the next message begins: RFC 9112, 6.3 ends a 1xx or 204 at its head whatever its fields say,
// while a node that wrongly declared content probably also sends it. A length of 0 means the same to both, and is common.
func contentForbidden(h *Head) bool {
	if h.Kind == Response {
		return h.Status < 200 || h.Status == 204 // RFC 9110, 8.6 and RFC 9112, 6.1
	}
	return h.Method == TRACE || h.Method == CONNECT // RFC 9110, 9.3.8 and 9.3.6
}

// length reads a Content-Length: at most 18 digits, which always fit 63 bits; no sign, no list.
func length(v []byte) (int64, Reason) {
	if len(v) == 0 || len(v) > 18 {
		return -1, ErrLengthInvalid
	}
	n := int64(0)
	for _, c := range v {
		if class[c]&isDigit == 0 {
			return -1, ErrLengthInvalid
		}
		n = n*10 + int64(c-'0')
	}
	return n, 0
}

// transferCoding accepts chunked and nothing else; for the rest it tells what is unknown from what is wrong.
func transferCoding(b []byte, value Span) Reason {
	if equalFold(b[value.Off:value.End], "chunked") {
		return 0
	}
	for rest, more := value, true; more; {
		var el Span
		el, rest, more = cut(b, rest)
		coding := b[el.Off:el.End]
		n := span(coding, isToken)
		parameters := bytes.TrimLeft(coding[n:], " \t")
		if n == 0 || len(parameters) > 0 && parameters[0] != ';' {
			return ErrTransferEncodingInvalid
		}
		if equalFold(coding[:n], "chunked") && (more || len(parameters) > 0) {
			return ErrTransferEncodingInvalid
		}
	}
	return ErrTransferCodingUnknown
}

// connection reads the options of one Connection field (RFC 9110, 7.6.1). Several fields add up.
func (p *Parser) connection(b []byte, value Span, h *Head) Reason {
	for rest, more := value, true; more; {
		var el Span
		el, rest, more = cut(b, rest)
		option := b[el.Off:el.End]
		if len(option) == 0 {
			continue // empty elements are to be ignored (RFC 9110, 5.6.1.2)
		}
		if span(option, isToken) < len(option) {
			return ErrConnectionInvalid
		}
		switch {
		case equalFold(option, "close"):
			h.Close = true
		case equalFold(option, "keep-alive"):
			h.KeepAlive = true
		case equalFold(option, "upgrade"):
			p.upgrade = true
		case protected(idOf(option)):
			return ErrConnectionProtected
		case h.NOptions == MaxConnOptions:
			return ErrConnectionTooMany
		default:
			h.ConnOptions[h.NOptions] = el
			h.NOptions++
		}
	}
	return 0
}

// protected tells the fields that Connection must not name: those by which messages are framed and routed, and those in
// which proxies before us say what they know. To have them dropped on the way is an attack, not a wish. Fields of one hop
// may be named; they go no further anyway.
func protected(id FieldID) bool {
	switch id {
	case Other, Connection, HTTP2Settings, KeepAlive, ProxyAuthenticate, ProxyAuthorization, ProxyConnection, TE, Trailer, Upgrade:
		return false
	}
	return true
}

// protocols judges the value of Upgrade: a list of names, each with an optional version (RFC 9110, 7.8).
func protocols(b []byte, value Span) Reason {
	for rest, more := value, true; more; {
		var el Span
		el, rest, more = cut(b, rest)
		name, version, versioned := bytes.Cut(b[el.Off:el.End], []byte("/"))
		if span(name, isToken) < len(name) || span(version, isToken) < len(version) || versioned && (len(name) == 0 || len(version) == 0) {
			return ErrUpgradeInvalid
		}
	}
	return 0
}

// cut takes the first element from a comma-separated list, without the white space around it. It may be empty.
func cut(b []byte, list Span) (element, rest Span, more bool) {
	element, rest = list, Span{list.End, list.End}
	if n := bytes.IndexByte(b[list.Off:list.End], ','); n >= 0 {
		more = true
		element.End = list.Off + uint32(n)
		rest.Off = element.End + 1
	}
	for element.Off < element.End && (b[element.Off] == ' ' || b[element.Off] == '\t') {
		element.Off++
	}
	for element.End > element.Off && (b[element.End-1] == ' ' || b[element.End-1] == '\t') {
		element.End--
	}
	return element, rest, more
}

// hostPort takes uri-host [ ":" port ] apart (RFC 9110, 4.2.1); port is -1 when there is none. Of what the grammar allows
// it refuses what readers take for different hosts: percent-encoding; a comma, which is what two Host fields look like when
// merged; and an empty port.
func hostPort(b []byte) (host []byte, port int, ok bool) {
	n := span(b, isHost)
	if len(b) > 0 && b[0] == '[' {
		n = 1 + span(b[1:], isIPv6)
		if n == len(b) || b[n] != ']' || bytes.Count(b[:n], []byte(":")) < 2 {
			return nil, 0, false
		}
		n++
	}
	host, b = b[:n], b[n:]
	switch {
	case n == 0:
		return nil, 0, false
	case len(b) == 0:
		return host, -1, true
	case b[0] != ':' || len(b) < 2 || len(b) > 6:
		return nil, 0, false
	}
	for _, c := range b[1:] {
		if class[c]&isDigit == 0 {
			return nil, 0, false
		}
		port = port*10 + int(c-'0')
	}
	return host, port, port <= 65535
}

// Persistent tells whether the connection may carry another message after this one, as far as the head says
// (RFC 9112, 9.3). After a body that only the end of the connection ends ([ByClose]) it may not, whatever the head says.
func (h *Head) Persistent() bool {
	return !h.Close && (h.Minor > 0 || h.KeepAlive)
}
