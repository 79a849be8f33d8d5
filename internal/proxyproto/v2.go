package proxyproto

import (
	"encoding/binary"
	"net/netip"
)

const (
	versionCommand = len(signature) // the byte that holds both
	familyByte     = versionCommand + 1
	lengthAt       = versionCommand + 2
)

func parseV2(b string, h *Header) (whole bool, err error) {
	if len(b) > versionCommand {
		switch c := b[versionCommand]; {
		case c>>4 != 2:
			return false, ErrVersion
		case c&15 > 1: // LOCAL, PROXY
			return false, ErrMode
		}
	}
	if len(b) > familyByte {
		if f := b[familyByte]; f>>4 > 3 || f&15 > 2 { // UNSPEC, INET, INET6, UNIX; UNSPEC, STREAM, DGRAM
			return false, ErrMode
		}
	}
	if len(b) < fixed {
		return false, nil
	}
	size := fixed + be16(b[lengthAt:])
	switch {
	case size > MaxHeader:
		return false, ErrTooLong
	case len(b) < size:
		return false, nil
	}
	body := b[fixed:size]
	*h = Header{Version: 2, Size: size, Local: b[versionCommand]&15 == 0}
	family := b[familyByte] >> 4
	n := [...]int{0, 12, 36, 216}[family]
	switch {
	case h.Local && n > len(body):
		return true, nil // its addresses are to be skipped, and some send none
	case n > len(body):
		*h = Header{}
		return false, ErrFormat
	}
	if h.TLVs = TLVs(body[n:]); !h.TLVs.valid() {
		*h = Header{}
		return false, ErrFormat
	}
	if !h.TLVs.checks(b[:size]) {
		*h = Header{}
		return false, ErrChecksum
	}
	switch {
	case h.Local:
	case family == 1:
		h.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte([]byte(body[:4]))), uint16(be16(body[8:])))
		h.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte([]byte(body[4:8]))), uint16(be16(body[10:])))
	case family == 2:
		h.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte([]byte(body[:16]))).Unmap(), uint16(be16(body[32:])))
		h.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte([]byte(body[16:32]))).Unmap(), uint16(be16(body[34:])))
	}
	return true, nil
}

func be16(s string) int { return int(s[0])<<8 | int(s[1]) }

// AppendV2 appends a header of version 2 and the TLVs that fit into MaxHeader. Where it has no addresses its family is
// UNSPEC; Local makes it LOCAL. h.TLVs are those of a header that came in: of them go on all but those about that one header or host, unless
// own has one of that type. own stands first.
func AppendV2(dst []byte, h *Header, own ...TLV) []byte {
	at := len(dst)
	dst = append(dst, signature...)
	src, to, ok := sameFamily(h)
	command := byte(0x21)
	if h.Local {
		command = 0x20
	}
	switch {
	case !ok:
		dst = append(dst, command, 0, 0, 0)
	case src.Addr().Is4():
		a, b := src.Addr().As4(), to.Addr().As4()
		dst = append(append(append(dst, command, 0x11, 0, 0), a[:]...), b[:]...)
	default:
		a, b := src.Addr().As16(), to.Addr().As16()
		dst = append(append(append(dst, command, 0x21, 0, 0), a[:]...), b[:]...)
	}
	if ok {
		dst = binary.BigEndian.AppendUint16(dst, src.Port())
		dst = binary.BigEndian.AppendUint16(dst, to.Port())
	}
	for _, t := range own {
		if t.Value != "" {
			dst = appendTLV(dst, at, t)
		}
	}
	for list := h.TLVs; list != ""; {
		var t TLV
		t, list = list.Next()
		if t.passes() && !has(own, t.Type) {
			dst = appendTLV(dst, at, t)
		}
	}
	binary.BigEndian.PutUint16(dst[at+lengthAt:], uint16(len(dst)-at-fixed))
	return dst
}

func has(own []TLV, kind uint8) bool {
	for _, t := range own {
		if t.Type == kind && t.Value != "" {
			return true
		}
	}
	return false
}
