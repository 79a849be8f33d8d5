package std

import (
	"bytes"
	"net"
	"testing"

	"roost"
)

// lean is a node and a client that allocate nothing themselves.
func lean(t testing.TB) (ask func()) {
	answer := []byte("HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: 5\r\n\r\nhello")
	n := rawNode(t, func(c net.Conn, _ int) {
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
	p := start(t, nil, n)
	p.e.o.Record = func(*roost.Record) {}
	c := p.dial()
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

func TestAKeepAliveRequestAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector makes pools forget")
	}
	ask := lean(t)
	for range 100 {
		ask()
	}
	least := 100.0
	for range 3 { // a collection in the midst empties the pools
		least = min(least, testing.AllocsPerRun(200, ask))
	}
	if least > 0 {
		t.Errorf("%v allocations", least)
	}
}

func BenchmarkKeepAliveRequest(b *testing.B) {
	ask := lean(b)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
