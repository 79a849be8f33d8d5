// Package proxyproto reads and writes the PROXY protocol, versions 1 and 2, by which a proxy tells the next one of its
// client (HAProxy's doc/proxy-protocol.txt).
//
// Guarantee: a header is taken whole or refused; the same bytes have the same answer however they came; reading allocates
// nothing, and no more than MaxHeader bytes need be held.
//
// Trap: whoever can connect can claim to be anybody. Who reads a header must know that its sender is one of his own.
package proxyproto

import "net/netip"

// Header says who is at the far end of a connection.
type Header struct {
	Version uint8
	Local   bool           // the proxy speaks for itself, as health checks do: who connected is who it is
	Src     netip.AddrPort // the client; not valid when the sender does not say, or it came by a unix socket
	Dst     netip.AddrPort // where the client connected to, likewise
	TLVs    TLVs           // only in version 2; a view of the text
	Size    int            // bytes of the text that it takes
}

// Reason says why a header is refused.
type Reason string

func (r Reason) Error() string { return string(r) }

const (
	ErrNone     Reason = "no PROXY header"
	ErrVersion  Reason = "a version of the PROXY header that does not exist"
	ErrMode     Reason = "a PROXY header with an unknown command, family or transport"
	ErrTooLong  Reason = "a PROXY header that is too long"
	ErrFormat   Reason = "a malformed PROXY header"
	ErrChecksum Reason = "a PROXY header with a wrong checksum"
)

const (
	// maxV1 is the longest line of version 1, with its end: the protocol's own limit.
	maxV1 = 107
	// MaxHeader bounds a header of version 2. The longest part that anyone sends is a certificate (HAProxy's 0x28), and
	// one of 4096 bits in RSA has half of this.
	MaxHeader = 4096

	signature = "\r\n\r\n\x00\r\nQUIT\n"
	fixed     = len(signature) + 4 // of version 2: what stands in front of the addresses
)

// Parse reads the header that b begins with; false asks for more bytes, all of them again. Errors are Reasons.
func Parse(b string, h *Header) (whole bool, err error) {
	*h = Header{}
	const word = "PROXY "
	switch {
	case begins(b, signature):
		return parseV2(b, h)
	case begins(b, word):
		return parseV1(b, h)
	}
	return false, ErrNone
}

// begins tells whether b, as far as it goes, begins with prefix.
func begins(b, prefix string) bool {
	n := min(len(b), len(prefix))
	return b[:n] == prefix[:n]
}
