package proxyproto

import "encoding/binary"

// Types of TLVs (proxy-protocol.txt, 2.2). 0xE0 to 0xEF are everybody's own: AWS has its endpoint's name in 0xEA, Azure in
// 0xEE.
const (
	TypeALPN      = 0x01
	TypeAuthority = 0x02 // the host asked for: SNI
	TypeCRC32C    = 0x03
	TypeNoop      = 0x04
	TypeUniqueID  = 0x05
	TypeSSL       = 0x20 // holds others, behind five bytes
	TypeSSLCN     = 0x22 // inside TypeSSL
	TypeNetNS     = 0x30
	TypeAWS       = 0xEA
)

// SSLCommonName is the common name of the client's certificate, as [TLVs.Find] takes it: type 0x22 inside of 0x20.
const SSLCommonName = TypeSSL<<8 | TypeSSLCN

// sslHead is what stands in front of the TLVs inside of TypeSSL: a byte of flags, and four that are 0 when the certificate
// was verified.
const sslHead = 5

// TLV is one type, length and value; the length is that of Value.
type TLV struct {
	Type  uint8
	Value string
}

// TLVs are type-length-value vectors as on the wire. Parse checked their lengths.
type TLVs string

// Next takes the first off a list that is not empty. Where the list is cut short, nothing is left.
func (l TLVs) Next() (t TLV, rest TLVs) {
	if len(l) < 3 || len(l) < 3+be16(string(l[1:])) {
		return TLV{Type: TypeNoop}, ""
	}
	n := 3 + be16(string(l[1:]))
	return TLV{l[0], string(l[3:n])}, l[n:]
}

// Find returns the value of the first TLV of a type; ok is false without one. A type above 255 is of two bytes: the second
// inside the first, which is TypeSSL. The common name is found only when the sender verified the certificate.
func (l TLVs) Find(kind int) (value string, ok bool) {
	if kind > 0xff {
		outer, ok := l.Find(kind >> 8)
		if !ok || len(outer) < sslHead || outer[1:sslHead] != "\x00\x00\x00\x00" {
			return "", false
		}
		return TLVs(outer[sslHead:]).Find(kind & 0xff)
	}
	for l != "" {
		var t TLV
		if t, l = l.Next(); int(t.Type) == kind {
			return t.Value, true
		}
	}
	return "", false
}

// valid tells whether the lengths add up, those inside of TypeSSL included.
func (l TLVs) valid() bool {
	for l != "" {
		if len(l) < 3 || len(l) < 3+be16(string(l[1:])) {
			return false
		}
		var t TLV
		t, l = l.Next()
		switch t.Type {
		case TypeSSL:
			if len(t.Value) < sslHead || !TLVs(t.Value[sslHead:]).valid() {
				return false
			}
		case TypeCRC32C:
			if len(t.Value) != 4 {
				return false
			}
		}
	}
	return true
}

// checks tells whether the checksum is right, if there is one: it is that of the whole header with zeros in its place
// (CRC-32C, RFC 9260, appendix B).
func (l TLVs) checks(header string) bool {
	sum, ok := l.Find(TypeCRC32C)
	if !ok {
		return true
	}
	var at int // of the four bytes
	for rest := l; ; {
		at = len(header) - len(rest) + 3
		var t TLV
		if t, rest = rest.Next(); t.Type == TypeCRC32C {
			break
		}
	}
	crc := ^uint32(0)
	for i := range len(header) {
		c := header[i]
		if i >= at && i < at+4 {
			c = 0
		}
		crc ^= uint32(c)
		for range 8 { // by bits: few senders add one, and a table would have to be made or kept
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	return sum == string([]byte{byte(^crc >> 24), byte(^crc >> 16), byte(^crc >> 8), byte(^crc)})
}

// SSL says of a connection that came in by TLS, which ended here, whose certificate was verified; "": the client showed none.
func SSL(commonName string) TLV {
	const tls, certificate = 0x01, 0x04
	if commonName == "" {
		return TLV{TypeSSL, string([]byte{tls, 0, 0, 0, 1})}
	}
	commonName = commonName[:min(len(commonName), 255)]
	return TLV{TypeSSL, string([]byte{tls | certificate, 0, 0, 0, 0, TypeSSLCN, 0, byte(len(commonName))}) + commonName}
}

// passes tells whether a TLV that came in goes on to the next: all but those that are about that one header or that one
// host.
func (t TLV) passes() bool {
	return t.Type != TypeCRC32C && t.Type != TypeNoop && t.Type != TypeNetNS
}

// appendTLV appends one to the header that begins at at, if there is room.
func appendTLV(dst []byte, at int, t TLV) []byte {
	if len(dst)-at+3+len(t.Value) > MaxHeader {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(append(dst, t.Type), uint16(len(t.Value)))
	return append(dst, t.Value...)
}
