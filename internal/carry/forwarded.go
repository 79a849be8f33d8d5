package carry

import (
	"net/netip"
	"strings"

	"roost"
	"roost/internal/h1"
)

// The fields that say where a request came from. From a network that is not trusted they are claims, and are dropped;
// from a trusted one they are kept, and the peer is appended, so that the last element is always what this balancer
// saw itself.

func (x *Exchange) writesX() bool {
	s := x.lv.Settings.Forwarded
	return s == roost.ForwardX || s == roost.ForwardBoth
}

func (x *Exchange) writesForwarded() bool {
	s := x.lv.Settings.Forwarded
	return s == roost.ForwardRFC || s == roost.ForwardBoth
}

// unbelieved are the forwarding fields that do not go on as they came: claims of a peer that is not trusted, and those
// that appendForwarding continues. X-Forwarded-Proto and -Host of a trusted peer stand: it saw the client, we did not.
func (x *Exchange) unbelieved() (set h1.FieldSet) {
	if !x.flags.trusted {
		return 1<<h1.XForwardedFor | 1<<h1.XForwardedProto | 1<<h1.XForwardedHost | 1<<h1.Forwarded
	}
	if x.writesX() {
		set = 1 << h1.XForwardedFor
	}
	if x.writesForwarded() {
		set |= 1 << h1.Forwarded
	}
	return set
}

// claimsOrigin tells whether a field that carry has no meaning for belongs to the same family: nodes believe
// X-Real-IP and X-Forwarded-Port as they believe X-Forwarded-For. An underscore is a dash here: behind CGI and WSGI the two
// are the same name.
func claimsOrigin(name string) bool {
	const real, family = "x-real-ip", "x-forwarded-"
	if len(name) < len(real) || name[0]|0x20 != 'x' {
		return false
	}
	return dashFold(name, real) || len(name) >= len(family) && dashFold(name[:len(family)], family)
}

// dashFold is equalFold with underscores taken as dashes.
func dashFold(a, lower string) bool {
	if len(a) != len(lower) {
		return false
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		switch {
		case c-'A' < 26:
			c |= 0x20
		case c == '_':
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// client finds the client's address, and whether the peer's forwarding fields are believed: from the peer backwards,
// the first address that is not trusted. When all are trusted it is the farthest one.
func (x *Exchange) client() netip.Addr {
	peer := x.peer.Addr
	x.flags.trusted = x.trusts(peer)
	if !x.flags.trusted {
		return peer
	}
	id := h1.XForwardedFor
	if s := x.lv.Settings.Forwarded; s == roost.ForwardRFC || s == roost.ForwardBoth && x.head.Seen.Has(h1.Forwarded) {
		id = h1.Forwarded
	}
	best := peer
	for i := len(x.head.Fields) - 1; i >= 0; i-- {
		f := &x.head.Fields[i]
		if f.ID != id {
			continue
		}
		list, hop := f.Value.In(x.text), ""
		for list != "" {
			list, hop = cutLast(list)
			a, ok := address(hop, id == h1.Forwarded)
			if !ok {
				return best // unknown or nonsense: who said so is the last one known
			}
			best = a
			if !x.trusts(a) {
				return best
			}
		}
	}
	return best
}

func (x *Exchange) trusts(a netip.Addr) bool { return trusts(&x.lv.Settings, a) }

// address reads one element of X-Forwarded-For, or with rfc the for parameter of one of Forwarded (RFC 7239, 4), with
// or without a port.
func address(s string, rfc bool) (netip.Addr, bool) {
	if rfc {
		if s = forParam(s); s == "" {
			return netip.Addr{}, false
		}
	}
	if len(s) > 0 && s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		s = s[1:end]
	} else if i := strings.IndexByte(s, ':'); i >= 0 && strings.IndexByte(s[i+1:], ':') < 0 {
		s = s[:i] // IPv4 and a port; two colons are IPv6
	}
	if len(s) > maxAddress || strings.IndexByte(s, '%') >= 0 {
		return netip.Addr{}, false // a zone means nothing outside its host
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}

// maxAddress is the length of the longest IPv6 address in text, an IPv4 tail included.
const maxAddress = 45

// forParam returns the for parameter of a Forwarded element, unquoted.
func forParam(s string) string {
	for s != "" {
		var pair string
		pair, s, _ = strings.Cut(s, ";")
		name, v, ok := strings.Cut(trim(pair), "=")
		if !ok || !equalFold(name, "for") {
			continue
		}
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = v[1 : len(v)-1]
		}
		return v
	}
	return ""
}

// appendForwarding appends the fields that say where the request came from.
func (x *Exchange) appendForwarding(dst []byte) []byte {
	if x.writesX() {
		dst = x.appendInherited(append(dst, "X-Forwarded-For: "...), h1.XForwardedFor)
		dst = append(appendAddr(dst, x.peer.Addr), "\r\n"...)
		if !x.flags.trusted || !x.head.Seen.Has(h1.XForwardedProto) {
			dst = h1.AppendField(dst, "X-Forwarded-Proto", x.Request.Scheme)
		}
		if x.Request.Host != "" && (!x.flags.trusted || !x.head.Seen.Has(h1.XForwardedHost)) {
			dst = h1.AppendField(dst, "X-Forwarded-Host", x.Request.Host)
		}
	}
	if x.writesForwarded() {
		dst = x.appendInherited(append(dst, "Forwarded: "...), h1.Forwarded)
		dst = append(dst, "for="...)
		if a := x.peer.Addr; a.Is6() {
			dst = append(appendAddr(append(dst, `"[`...), a), `]"`...)
		} else {
			dst = appendAddr(dst, a)
		}
		if x.Request.Host != "" {
			dst = append(append(append(dst, `;host="`...), x.Request.Host...), '"')
		}
		dst = append(append(append(dst, ";proto="...), x.Request.Scheme...), "\r\n"...)
	}
	return dst
}

// appendInherited appends all elements that a trusted peer sent, each followed by a comma: one field line, because
// many nodes read only the first.
func (x *Exchange) appendInherited(dst []byte, id h1.FieldID) []byte {
	if !x.flags.trusted || !x.head.Seen.Has(id) {
		return dst
	}
	for i := range x.head.Fields {
		f := &x.head.Fields[i]
		if v := f.Value.In(x.text); f.ID == id && v != "" && !listed(x.head, x.text, f) {
			dst = append(append(dst, v...), ", "...)
		}
	}
	return dst
}

func appendAddr(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(dst, "unknown"...) // RFC 7239, 6.2
	}
	return a.AppendTo(dst)
}
