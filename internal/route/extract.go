package route

import (
	"strings"

	"roost"
	"roost/internal/proxyproto"
)

// Extract finds the key of a request that rt took: the first of rt.Keys that yields one. The key is appended to
// scratch[:0], which never grows when it has room for roost.MaxKey bytes. ok is false when the request has no key, an
// empty one included; then rt.OnMissing says what to do, but for client_ip, which is applied here. now is in Unix seconds.
func Extract(rt *roost.Route, r *roost.Request, scratch []byte, now int64) (key []byte, ok bool) {
	for i := range rt.Keys {
		if key, ok = run(&rt.Keys[i], r, scratch[:0], now); ok {
			return key, true
		}
	}
	if rt.OnMissing == roost.MissingClientIP {
		return clientIP(scratch[:0], r)
	}
	return nil, false
}

func run(p *roost.KeyProgram, r *roost.Request, dst []byte, now int64) (key []byte, ok bool) {
	for i := range p.Ops {
		if dst, ok = part(dst, &p.Ops[i], r, now); !ok {
			return nil, false
		}
	}
	if p.Regexp == nil {
		return dst, ok
	}
	loc := p.Regexp.FindSubmatchIndex(dst)
	if len(loc) >= 4 {
		loc = loc[2:]
	}
	if len(loc) < 2 || loc[0] < 0 || loc[0] == loc[1] {
		return nil, false
	}
	return append(dst[:0], dst[loc[0]:loc[1]]...), true
}

// part appends the value of one part; ok is false when it has none.
func part(dst []byte, op *roost.KeyOp, r *roost.Request, now int64) (_ []byte, ok bool) {
	switch op.From {
	case roost.FromLiteral:
		return put(dst, op.Name)
	case roost.FromPath:
		return put(dst, r.Path)
	case roost.FromCapture:
		return put(dst, r.Captures[op.Index])
	case roost.FromSegment:
		return put(dst, segment(r.Path, op.Index))
	case roost.FromHost:
		return putLower(dst, Hostname(r.Host))
	case roost.FromMethod:
		return put(dst, r.Method)
	case roost.FromQuery:
		return putDecoded(dst, query(r.Query, op.Name))
	case roost.FromField:
		return put(dst, field(r, op.Index))
	case roost.FromCookie:
		return put(dst, cookie(field(r, op.Index), op.Name))
	case roost.FromJWT:
		t := token(op, r)
		if op.Verify != nil && !op.Verify.Verify(t, now) {
			return dst, false
		}
		return putClaim(dst, t, op.Name)
	case roost.FromClientIP:
		return clientIP(dst, r)
	case roost.FromSNI:
		return putLower(dst, strings.TrimSuffix(r.SNI, "."))
	case roost.FromCert:
		return putCert(dst, r.Cert, op.Name)
	case roost.FromBytes:
		return putBytes(dst, r.First, op)
	case roost.FromProxyTLV:
		v, _ := proxyproto.TLVs(r.TLVs).Find(op.Index)
		return put(dst, v)
	}
	return dst, false
}

// put appends s, cut where the key would grow beyond roost.MaxKey. A value that is empty is none.
func put(dst []byte, s string) ([]byte, bool) {
	return append(dst, s[:min(len(s), roost.MaxKey-len(dst))]...), s != ""
}

func putByte(dst []byte, c byte) []byte {
	if len(dst) < roost.MaxKey {
		dst = append(dst, c)
	}
	return dst
}

func putLower(dst []byte, s string) ([]byte, bool) {
	n := len(dst)
	dst, ok := put(dst, s)
	for i := n; i < len(dst); i++ {
		dst[i] = lower(dst[i])
	}
	return dst, ok
}

// clientIP appends the client's address without zone, IPv4 as IPv4 even when it came over an IPv6 socket. Clients of
// unix sockets have none.
func clientIP(dst []byte, r *roost.Request) ([]byte, bool) {
	if !r.Client.IsValid() {
		return dst, false
	}
	var text [48]byte // the longest is 45: six groups of an IPv6 address and a dotted IPv4 address
	for _, c := range r.Client.Unmap().WithZone("").AppendTo(text[:0]) {
		dst = putByte(dst, c)
	}
	return dst, true
}

// putCert appends a name of the client's certificate; of several the first.
func putCert(dst []byte, c *roost.CertNames, name string) ([]byte, bool) {
	if c == nil {
		return dst, false
	}
	switch name {
	case "cn":
		return put(dst, c.CommonName)
	case "o":
		return put(dst, first(c.Orgs))
	case "ou":
		return put(dst, first(c.OrgUnits))
	case "dns":
		return putLower(dst, first(c.DNS))
	case "uri":
		return put(dst, first(c.URIs))
	case "email":
		return put(dst, first(c.Emails))
	case "spiffe":
		return put(dst, c.SPIFFE)
	}
	return dst, false
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func field(r *roost.Request, slot int) string {
	if r.Has&(1<<slot) == 0 {
		return ""
	}
	return r.Want[slot]
}

// query returns the raw value of the first parameter of that name in a form-encoded query (WHATWG URL, 5).
func query(raw, name string) string {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		n, value, _ := strings.Cut(pair, "=")
		if n == name || encodes(n, name) {
			return value
		}
	}
	return ""
}

// encodes reports whether raw, decoded, is text.
func encodes(raw, text string) bool {
	for raw != "" {
		var c byte
		if c, raw = decoded(raw); text == "" || text[0] != c {
			return false
		}
		text = text[1:]
	}
	return text == ""
}

func putDecoded(dst []byte, raw string) ([]byte, bool) {
	ok := raw != ""
	for raw != "" {
		var c byte
		c, raw = decoded(raw)
		dst = putByte(dst, c)
	}
	return dst, ok
}

// decoded takes one form-encoded octet off raw, which is not empty. A percent sign without two hex digits is itself.
func decoded(raw string) (c byte, rest string) {
	switch raw[0] {
	case '+':
		return ' ', raw[1:]
	case '%':
		if v, ok := octet(raw[1:]); ok {
			return v, raw[3:]
		}
	}
	return raw[0], raw[1:]
}

// cookie returns the value of the first cookie of that name, as leniently as servers read it (RFC 6265, 4.2 and 5.4):
// spaces around names and values do not count, nor do quotes around a value.
func cookie(raw, name string) string {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, ";")
		n, value, ok := strings.Cut(pair, "=")
		if !ok || strings.Trim(n, " \t") != name {
			continue
		}
		value = strings.Trim(value, " \t")
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			return value[1 : len(value)-1]
		}
		return value
	}
	return ""
}

// token returns the JWT of a request. Its characters are unreserved, so a query holds it as it is.
func token(op *roost.KeyOp, r *roost.Request) string {
	switch op.Token.From {
	case roost.FromCookie:
		return cookie(field(r, op.Index), op.Token.Name)
	case roost.FromQuery:
		return query(r.Query, op.Token.Name)
	}
	const scheme = "Bearer "
	t := field(r, op.Index)
	if len(t) > len(scheme) && equalFold(t[:len(scheme)], scheme) {
		t = strings.TrimLeft(t[len(scheme):], " ")
	}
	return t
}
