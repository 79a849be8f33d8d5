package enginetest

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"testing"
	"time"
)

// Lean is a node and a client that allocate nothing themselves, with an engine between them whose records nobody asks for.
// Each call of ask is a request on the same connection, over TLS if it is to be secure, and its answer.
func Lean(t testing.TB, open Open, secure bool) (ask func()) {
	c := leanClient(t, leanProxy(t, open, secure, "http/1.1"), secure, "http/1.1")
	req := []byte("GET /r/shop/cart HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: lean\r\nAccept: */*\r\n\r\n")
	b := make([]byte, 4096)
	return func() {
		c.Write(req)
		for have := 0; !bytes.HasSuffix(b[:have], []byte("hello")); {
			m, err := c.Read(b[have:])
			if err != nil {
				t.Fatal(err)
			}
			have += m
		}
	}
}

// LeanHTTP2 is Lean with a client that speaks HTTP/2, with prior knowledge if it is not secure. Each request has a body of
// so many bytes.
func LeanHTTP2(t testing.TB, open Open, secure bool, body int) (ask func()) {
	return AskHTTP2(t, leanProxy(t, open, secure, "h2"), secure, body)
}

// AskHTTP2 is the client of LeanHTTP2, of any server.
func AskHTTP2(t testing.TB, addr string, secure bool, body int) (ask func()) {
	const ( // RFC 9113, 6
		data, headers, reset, settings, goAway, window = 0, 1, 3, 4, 7, 8
		endStream, endHeaders, ack                     = 1, 4, 1
	)
	c := leanClient(t, addr, secure, "h2")
	frame := func(dst []byte, kind, flags byte, payload []byte) []byte {
		n := len(payload)
		dst = append(dst, byte(n>>16), byte(n>>8), byte(n), kind, flags, 0, 0, 0, 0)
		return append(dst, payload...)
	}
	hello := frame([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings, 0, nil)
	c.Write(frame(hello, window, 0, []byte{0x7f, 0, 0, 0})) // enough for all that will be asked

	block := "\x82\x86" // GET, http (RFC 7541, appendix A)
	if body > 0 {
		block = "\x83\x86"
	}
	if secure {
		block = block[:1] + "\x87"
	}
	for _, f := range []struct{ name, value string }{ // fields by the numbers of their names, none to be remembered
		{"\x04", "/r/shop/cart"}, {"\x01", "shop.example"}, {"\x0f\x2b", "lean"}, {"\x0f\x04", "*/*"},
	} {
		block += f.name + string(rune(len(f.value))) + f.value
	}
	req := frame(nil, headers, endHeaders|endStream, []byte(block))
	second := len(req)
	if body > 0 {
		req[4] = endHeaders
		req = frame(req, data, endStream, make([]byte, body))
	}
	confirm := frame(nil, settings, ack, nil)
	b := make([]byte, 4096)
	have, stream := 0, uint32(1)
	return func() {
		binary.BigEndian.PutUint32(req[5:], stream)
		if body > 0 {
			binary.BigEndian.PutUint32(req[second+5:], stream)
		}
		c.Write(req)
		for done := false; !done; {
			m, err := c.Read(b[have:])
			if have += m; err != nil {
				t.Fatal(err)
			}
			at := 0
			for have-at >= 9 {
				f := b[at:have]
				size := 9 + int(f[0])<<16 + int(f[1])<<8 + int(f[2])
				if len(f) < size {
					break
				}
				at += size
				switch kind, flags := f[3], f[4]; {
				case kind == reset, kind == goAway:
					t.Fatalf("frame %d: %x", kind, f[9:size])
				case kind == settings && flags&ack == 0:
					c.Write(confirm)
				case kind <= headers && flags&endStream != 0:
					done = binary.BigEndian.Uint32(f[5:]) == stream
				}
			}
			have = copy(b, b[at:have])
		}
		stream += 2
	}
}

// leanProxy is an engine in front of a node that allocates nothing. It gives the engine's address.
func leanProxy(t testing.TB, open Open, secure bool, protocol string) string {
	answer := []byte("HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: 5\r\n\r\nhello")
	n := RawNode(t, func(c net.Conn, _ int) {
		b := make([]byte, 4096)
		for have := 0; ; {
			m, err := c.Read(b[have:])
			if have += m; err != nil {
				return
			}
			if asked(b[:have]) {
				have = 0
				c.Write(answer)
			}
		}
	})
	p := Start(t, func(t testing.TB, o Options) Engine { o.Record = nil; return open(t, o) }, func(s *Setup) {
		if secure {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{Cert(t)}, NextProtos: []string{protocol}}
		}
	}, n)
	return p.Addr
}

// asked tells whether b is a request with all of its body, which has no empty line in it.
func asked(b []byte) bool {
	end := []byte("\r\n\r\n")
	if bytes.Contains(b, []byte("\r\nTransfer-Encoding: chunked\r\n")) {
		end = []byte("\r\n0\r\n\r\n")
	}
	return bytes.HasSuffix(b, end)
}

func leanClient(t testing.TB, addr string, secure bool, protocol string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { c.Close() })
	if secure {
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	}
	return c
}
