package h1

// maxMethod is longer than every registered method (UPDATEREDIRECTREF, 17) with room for others.
const maxMethod = 32

// method reads the method and the space behind it.
func (p *Parser) method(b []byte, h *Head) (ok bool, _ Reason) {
	// One empty line before a request is forgiven: old clients send one behind a body (RFC 9112, 2.2).
	if p.line == 0 && len(b) > 0 && b[0] == '\r' {
		if len(b) == 1 {
			return false, 0
		}
		if b[1] != '\n' {
			return false, ErrBareCR
		}
		p.line, p.scan = 2, 2
	}
	p.scan += span(b[p.scan:], isToken)
	if p.scan-p.line > maxMethod {
		return false, ErrMethodTooLong
	}
	if p.scan == len(b) {
		return false, 0
	}
	switch c := b[p.scan]; {
	case c == ' ' && p.scan > p.line:
	case c == '\n':
		return false, ErrBareLF
	case c == '\r' && p.scan == p.line:
		return false, ErrEmptyLines
	default:
		return false, ErrMethodInvalid
	}
	h.MethodName = Span{uint32(p.line), uint32(p.scan)}
	h.Method = methodOf(b[p.line:p.scan])
	p.scan++
	return true, 0
}

// methodOf tells the methods apart, which are case-sensitive (RFC 9110, 9.1).
func methodOf(b []byte) Method {
	switch string(b) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "OPTIONS":
		return OPTIONS
	case "TRACE":
		return TRACE
	case "PATCH":
		return PATCH
	case "CONNECT":
		return CONNECT
	}
	return MethodOther
}

// target reads the request target and the space behind it.
func (p *Parser) target(b []byte, h *Head) (ok bool, _ Reason) {
	p.scan += target(b[p.scan:])
	if p.scan == len(b) {
		return false, 0
	}
	h.Target = Span{h.MethodName.End + 1, uint32(p.scan)}
	if h.Target.Len() == 0 {
		return false, ErrTargetInvalid
	}
	if b[p.scan] != ' ' {
		n, r := lineEnd(b[p.scan:], ErrTargetInvalid)
		if n > 0 || r == ErrBareLF {
			r = ErrHTTP09
		}
		return false, r
	}
	p.scan++
	return true, form(b, h)
}

// version reads the version and the end of the request line.
func (p *Parser) version(b []byte, h *Head) (ok bool, _ Reason) {
	const line = "HTTP/#.#\r\n"
	v := b[p.scan:]
	n := match(v, line)
	if r := major(v[:n]); r != 0 {
		return false, r
	}
	if n < len(line) {
		switch {
		case n == len(v):
			return false, 0
		case n == len("HTTP/#.#") && v[n] == '\n':
			return false, ErrBareLF
		case n == len("HTTP/#.#\r"):
			return false, ErrBareCR
		}
		return false, ErrVersionInvalid
	}
	h.Minor = minor(v)
	p.line = p.scan + n
	return true, 0
}

// status reads the version and the code of a status line: HTTP-version SP status-code (RFC 9112, 4). Codes outside of 100
// to 599 are refused: their first digit says how the message is framed (1xx has no body), and there they have no class
// (RFC 9110, 15).
func (p *Parser) status(b []byte, h *Head) (ok bool, _ Reason) {
	const line = "HTTP/#.# ###"
	n := match(b, line)
	if r := major(b[:n]); r != 0 {
		return false, r
	}
	if n < len(line) {
		switch {
		case n == len(b):
			return false, 0
		case n < len("HTTP/#.# "):
			return false, ErrVersionInvalid
		}
		return false, ErrStatusInvalid
	}
	for _, c := range b[n-3 : n] {
		h.Status = h.Status*10 + uint16(c-'0')
	}
	if h.Status < 100 || h.Status > 599 {
		return false, ErrStatusInvalid
	}
	h.Minor = minor(b)
	p.scan = n
	return true, 0
}

// phrase reads [ SP reason-phrase ] and the end of the status line. The space is due even without a phrase, but many
// servers leave it out and no other reading is possible.
func (p *Parser) phrase(b []byte, h *Head) (ok bool, _ Reason) {
	const from = uint32(len("HTTP/#.# ###"))
	p.scan += text(b[p.scan:])
	if p.scan > int(from) {
		if b[from] != ' ' {
			return false, ErrStatusInvalid
		}
		h.Reason = Span{from + 1, uint32(p.scan)}
	}
	n, r := lineEnd(b[p.scan:], ErrReasonInvalid)
	p.line = p.scan + n
	return n > 0, r
}

// match counts how many bytes at the beginning of b fit the pattern, in which '#' stands for a digit.
func match(b []byte, pattern string) int {
	n := min(len(b), len(pattern))
	for i, c := range b[:n] {
		fits := c == pattern[i]
		if pattern[i] == '#' {
			fits = class[c]&isDigit != 0
		}
		if !fits {
			return i
		}
	}
	return n
}

// major judges the major version of what is, as far as it goes, "HTTP/#.#".
func major(v []byte) Reason {
	if len(v) > len("HTTP/") && v[len("HTTP/")] != '1' {
		return ErrVersionUnsupported
	}
	return 0
}

// minor is the minor version of "HTTP/#.#". One above 1 counts as 1: it is the highest we speak (RFC 9110, 2.5).
func minor(v []byte) uint8 { return min(v[len("HTTP/#.")]-'0', 1) }

// form tells the form of the request target and takes it apart (RFC 9112, 3.2).
func form(b []byte, h *Head) Reason {
	t := b[h.Target.Off:h.Target.End]
	switch {
	case h.Method == CONNECT:
		_, port, ok := hostPort(t)
		if !ok || port < 0 { // the port has no default here (RFC 9110, 9.3.6)
			return ErrTargetForm
		}
		h.Form, h.Authority = AuthorityForm, h.Target
		return 0
	case t[0] == '/':
		h.Form, h.Origin = OriginForm, h.Target
		return 0
	case len(t) == 1 && t[0] == '*':
		if h.Method != OPTIONS {
			return ErrTargetForm
		}
		h.Form, h.Origin = AsteriskForm, h.Target
		return 0
	}
	return absolute(b, t, h)
}

// absolute takes an absolute-form target apart. Only http and https have a meaning here.
func absolute(b, t []byte, h *Head) Reason {
	n := len("http")
	if len(t) > n && t[n]|0x20 == 's' {
		n++
	}
	if len(t) < n+3 || !equalFold(t[:n], "https"[:n]) || string(t[n:n+3]) != "://" {
		return ErrTargetInvalid
	}
	from := n + 3
	to := from
	for to < len(t) && t[to] != '/' && t[to] != '?' {
		if t[to] == '@' {
			return ErrTargetUserinfo // it disguises hosts (RFC 9110, 4.2.4)
		}
		to++
	}
	if _, _, ok := hostPort(t[from:to]); !ok {
		return ErrTargetInvalid
	}
	off := h.Target.Off
	h.Form = AbsoluteForm
	h.Scheme = Span{off, off + uint32(n)}
	h.Authority = Span{off + uint32(from), off + uint32(to)}
	h.Origin = Span{h.Authority.End, h.Target.End}
	return 0
}
