// Package sniff tells a protocol by the first bytes of a connection.
//
// Guarantee: it says no at the first byte that cannot belong, so that a connection is never held for bytes that would not
// change the answer; and it consumes nothing.
//
// Trap: a client that waits for the server to speak first sends nothing to sniff at. Who calls must bound the wait.
package sniff

// preface is the HTTP/2 client connection preface (RFC 9113, 3.4). No HTTP/1.x request begins like it: its version is 2.0.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Preface tells whether b begins with the HTTP/2 client connection preface (match), or, being shorter, may still become
// that (more). Both false: it is something else.
func Preface(b []byte) (match, more bool) {
	n := min(len(b), len(preface))
	if string(b[:n]) != preface[:n] {
		return false, false
	}
	return n == len(preface), n < len(preface)
}

// TLSRecord tells whether b, as far as it goes, looks like a TLS record that holds a ClientHello (RFC 8446, 5.1 and 4): handshake
// (22), version 3.0 to 3.4, two bytes of length, client_hello (1). One byte suffices, since no HTTP request begins with a
// control character: it is there to explain why a connection to a clear-text port is refused, not to decide it.
func TLSRecord[T []byte | string](b T) bool {
	return len(b) > 0 && b[0] == 22 &&
		(len(b) < 2 || b[1] == 3) &&
		(len(b) < 3 || b[2] <= 4) &&
		(len(b) < 6 || b[5] == 1)
}
