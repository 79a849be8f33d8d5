package roost

import "net/netip"

// Forbidden reports whether Roost refuses to dial a: link-local addresses (RFC 3927, RFC 4291 2.5.6) and the metadata
// services that clouds put there, and the one that Amazon serves on a unique local address. Whoever can name a node
// must not thereby read the credentials of the machine that Roost runs on. Loopback and private addresses are fine:
// that is where nodes live.
//
// Trap: ask when dialling, of the resolved address. A name that was harmless when it was configured may resolve to
// anything later (DNS rebinding).
func Forbidden(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsLinkLocalUnicast() || a == metadataIPv6()
}

// metadataIPv6 is fd00:ec2::254, the instance metadata service over IPv6.
func metadataIPv6() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54})
}
