package enginetest

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
)

// Lean is a node and a client that allocate nothing themselves, with an engine between them whose records nobody asks for.
// Each call of ask is a request on the same connection, over TLS if it is to be secure, and its answer.
func Lean(t testing.TB, open Open, secure bool) (ask func()) {
	answer := []byte("HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: 5\r\n\r\nhello")
	n := RawNode(t, func(c net.Conn, _ int) {
		b := make([]byte, 4096)
		for have := 0; ; {
			m, err := c.Read(b[have:])
			if have += m; err != nil {
				return
			}
			if bytes.HasSuffix(b[:have], []byte("\r\n\r\n")) {
				have = 0
				c.Write(answer)
			}
		}
	})
	p := Start(t, func(t testing.TB, o Options) Engine { o.Record = nil; return open(t, o) }, func(s *Setup) {
		if secure {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{Cert(t)}}
		}
	}, n)
	c := net.Conn(p.Dial())
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
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
