package proxyproto

import (
	"net/netip"
	"strings"
)

// parseV1 reads "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", or TCP6, or "PROXY UNKNOWN" with anything
// behind it.
func parseV1(b string, h *Header) (whole bool, err error) {
	end := strings.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) >= maxV1, end >= maxV1:
		return false, ErrTooLong
	case end < 0:
		return false, nil
	case end == 0 || b[end-1] != '\r':
		return false, ErrFormat
	}
	line := b[len("PROXY ") : end-1]
	h.Version, h.Size = 1, end+1
	family, rest, more := strings.Cut(line, " ")
	if family == "UNKNOWN" {
		return true, nil
	}
	src, rest, ok1 := strings.Cut(rest, " ")
	dst, rest, ok2 := strings.Cut(rest, " ")
	sport, dport, ok3 := strings.Cut(rest, " ")
	var ok4, ok5 bool
	h.Src, ok4 = addrPort(family, src, sport)
	h.Dst, ok5 = addrPort(family, dst, dport)
	if !more || !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		*h = Header{}
		return false, ErrFormat
	}
	return true, nil
}

func addrPort(family, addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	p, ok := parsePort(port)
	ok = ok && err == nil && a.Zone() == "" && (family == "TCP4" && a.Is4() || family == "TCP6" && a.Is6())
	return netip.AddrPortFrom(a.Unmap(), p), ok
}

// parsePort reads a decimal number without leading zeros, up to 65535.
func parsePort(s string) (uint16, bool) {
	n := 0
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' || i > 0 && n == 0 || n > 65535 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), s != "" && n <= 65535
}

// AppendV1 appends a header of version 1. Where it has no addresses, or of two families that cannot be made one, it is
// UNKNOWN. TLVs have no place in it.
func AppendV1(dst []byte, h *Header) []byte {
	src, to, ok := sameFamily(h)
	if !ok {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	dst = append(dst, "PROXY TCP4 "...)
	if src.Addr().Is6() {
		dst[len(dst)-2] = '6'
	}
	dst = append(src.Addr().AppendTo(dst), ' ')
	dst = append(to.Addr().AppendTo(dst), ' ')
	dst = append(appendPort(dst, src.Port()), ' ')
	return append(appendPort(dst, to.Port()), "\r\n"...)
}

func appendPort(dst []byte, p uint16) []byte {
	var digits [5]byte
	i := len(digits)
	for ok := true; ok; ok = p > 0 {
		i--
		digits[i] = byte('0' + p%10)
		p /= 10
	}
	return append(dst, digits[i:]...)
}

// sameFamily makes both ends IPv6 when one of them is, as IPv4-mapped addresses, as HAProxy does.
func sameFamily(h *Header) (src, dst netip.AddrPort, ok bool) {
	src, dst = h.Src, h.Dst
	if h.Local || !src.IsValid() || !dst.IsValid() {
		return src, dst, false
	}
	a, b := src.Addr().Unmap().WithZone(""), dst.Addr().Unmap().WithZone("")
	if a.Is4() != b.Is4() {
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	return netip.AddrPortFrom(a, src.Port()), netip.AddrPortFrom(b, dst.Port()), true
}
