package sniff

import "strings"

// Hello is what a ClientHello says of where it wants to go (RFC 8446, 4.1.2). Its strings are views of the text it was read
// from; those of a message that came in several records are views of a copy.
type Hello struct {
	SNI  string // the host asked for (RFC 6066, 3), as sent; "": none. With ECH it is the outer one: all that can be seen
	ALPN string // the protocols offered (RFC 7301, 3.1), as on the wire: each behind its length
}

// Offers tells whether the client offers a protocol.
func (h *Hello) Offers(protocol string) bool {
	for list := (text{h.ALPN, true}); list.b != ""; {
		if list.vector8() == protocol {
			return true
		}
	}
	return false
}

// Verdict says what the first bytes of a connection are.
type Verdict uint8

const (
	More      Verdict = iota // a ClientHello as far as it goes: ask again with more
	Whole                    // a ClientHello
	Other                    // no TLS
	Malformed                // TLS, but not a ClientHello that a server would take
)

const (
	// maxMessage bounds a ClientHello. Those of browsers with post-quantum key shares and ECH have 2 KiB; tickets and
	// client-chosen extensions may add some more.
	maxMessage = 16 << 10
	// maxRecords bounds how many records one is spread over: clients that cut it up to get past middleboxes make two or
	// three. Each byte that arrives costs a walk over all of them.
	maxRecords = 32
	recordHead = 5
	// maxRecord is a record's largest plaintext (RFC 8446, 5.1).
	maxRecord = 1 << 14

	// MaxHello is how many bytes have to be held at most until ClientHello has its answer.
	MaxHello = maxMessage + maxRecords*recordHead
)

// ClientHello reads the ClientHello that b begins with. It consumes nothing: after [More] it is called with all bytes
// again. The answer depends on the bytes alone, not on how they came; no more than MaxHello of them are needed for one.
// Only a message in several records allocates.
func ClientHello(b string, h *Hello) Verdict {
	*h = Hello{}
	if b == "" {
		return More
	}
	if !TLSRecord(b[:min(len(b), recordHead)]) {
		return Other
	}
	message, v := gather(b)
	if v != Whole {
		return v
	}
	if !h.read(message[4:]) {
		*h = Hello{}
		return Malformed
	}
	return Whole
}

// gather finds the handshake message, its four bytes of type and length included, in the records of b.
func gather(b string) (message string, v Verdict) {
	var head [4]byte
	have, need := 0, len(head) // of the message
	rest := b
	for n := 1; ; n++ {
		if len(rest) > 0 && rest[0] != 22 || len(rest) > 1 && rest[1] != 3 || n > maxRecords {
			return "", Malformed
		}
		if len(rest) < recordHead {
			return "", More
		}
		length := int(rest[3])<<8 | int(rest[4])
		if length == 0 || length > maxRecord { // RFC 8446, 5.1: no empty fragments of handshakes
			return "", Malformed
		}
		part := rest[recordHead:min(recordHead+length, len(rest))]
		if have < len(head) {
			copy(head[have:], part)
		}
		if have += len(part); have >= len(head) {
			need = len(head) + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
		}
		switch {
		case have > 0 && head[0] != 1, need > maxMessage: // 1: client_hello
			return "", Malformed
		case have >= need && have >= len(head) && n == 1:
			return part[:need], Whole
		case have >= need && have >= len(head):
			return join(b, have)[:need], Whole
		case len(part) < length:
			return "", More
		}
		rest = rest[recordHead+length:]
	}
}

// join copies n bytes out of the records of b.
func join(b string, n int) string {
	message := make([]byte, 0, n)
	for len(message) < n {
		length := int(b[3])<<8 | int(b[4])
		message = append(message, b[recordHead:min(recordHead+length, len(b))]...)
		b = b[min(recordHead+length, len(b)):]
	}
	return string(message)
}

// read takes the message's body apart.
func (h *Hello) read(body string) bool {
	t := text{body, true}
	t.take(2 + 32) // legacy_version, random
	if len(t.vector8()) > 32 || len(t.vector16()) < 2 || t.vector8() == "" || !t.ok {
		return false // legacy_session_id, cipher_suites, legacy_compression_methods
	}
	if t.b == "" {
		return true // before TLS 1.3 a client need not have extensions
	}
	extensions := text{t.vector16(), t.ok}
	if t.b != "" {
		return false
	}
	const serverName, alpn = 0, 16
	var named, offered bool
	for extensions.ok && extensions.b != "" {
		kind, data := extensions.uint16(), text{extensions.vector16(), true}
		switch {
		case !extensions.ok:
		case kind == serverName:
			if named || !h.readName(data) {
				return false
			}
			named = true
		case kind == alpn:
			if offered || !h.readALPN(data) {
				return false
			}
			offered = true
		}
	}
	return extensions.ok
}

// readName reads the extension server_name. An empty name is none: OpenSSL takes it so, and so do the servers behind.
func (h *Hello) readName(t text) bool {
	list := text{t.vector16(), t.ok}
	if t.b != "" || list.b == "" {
		return false
	}
	seen := false
	for list.ok && list.b != "" {
		const hostName = "\x00"
		kind, name := list.take(1), list.vector16()
		if kind != hostName {
			continue
		}
		if seen || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return false // RFC 6066, 3: one name of a type, in ASCII
		}
		h.SNI, seen = name, true
	}
	return list.ok
}

// readALPN reads the extension application_layer_protocol_negotiation.
func (h *Hello) readALPN(t text) bool {
	h.ALPN = t.vector16()
	if !t.ok || t.b != "" || h.ALPN == "" {
		return false
	}
	for list := (text{h.ALPN, true}); list.b != ""; {
		if list.vector8() == "" {
			return false
		}
	}
	return true
}

// text is what is left to be read; ok until something was missing, and then b is empty.
type text struct {
	b  string
	ok bool
}

func (t *text) take(n int) string {
	if n > len(t.b) {
		*t = text{}
		return ""
	}
	s := t.b[:n]
	t.b = t.b[n:]
	return s
}

func (t *text) uint16() int {
	if s := t.take(2); s != "" {
		return int(s[0])<<8 | int(s[1])
	}
	return 0
}

// vector8 and vector16 read what stands behind its length (RFC 8446, 3.4).
func (t *text) vector8() string {
	if s := t.take(1); s != "" {
		return t.take(int(s[0]))
	}
	return ""
}

func (t *text) vector16() string { return t.take(t.uint16()) }
