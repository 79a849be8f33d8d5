package std

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"roost/internal/enginetest"
)

func TestAKeepAliveRequestAllocatesNothing(t *testing.T) {
	if n := allocations(t, enginetest.Lean(t, open, false)); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What net/http allocates for a stream whose handler does nothing but read the body is not ours.
func TestAStreamAllocatesLittle(t *testing.T) {
	for _, c := range []struct {
		name   string
		secure bool
		body   int
		most   float64
	}{{"GET", false, 0, 18}, {"GET over TLS", true, 0, 18}, {"POST", false, 1000, 23}} {
		floor := allocations(t, emptyHandler(t, c.secure, c.body))
		n := allocations(t, enginetest.LeanHTTP2(t, open, c.secure, c.body))
		if n-floor > c.most {
			t.Errorf("%s: %v allocations over the %v of an empty handler", c.name, n-floor, floor)
		}
	}
}

// allocations is how many a request needs that comes after others.
func allocations(t *testing.T, ask func()) float64 {
	if enginetest.Raced {
		t.Skip("the race detector makes pools forget")
	}
	for range 100 {
		ask()
	}
	least := 1000.0
	for range 3 { // a collection in the midst empties the pools
		least = min(least, testing.AllocsPerRun(200, ask))
	}
	return least
}

// emptyHandler asks net/http alone, set up as for a session.
func emptyHandler(t testing.TB, secure bool, body int) (ask func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if secure {
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{enginetest.Cert(t)}, NextProtos: []string{"h2"}})
	}
	set, _ := enginetest.Settings()
	s := newServer(&set, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	done := make(chan struct{})
	go func() { s.Serve(ln); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return enginetest.AskHTTP2(t, addr, secure, body)
}

func BenchmarkKeepAliveRequest(b *testing.B) { measure(b, enginetest.Lean(b, open, false)) }

// BenchmarkStream is a request over HTTP/2: through us, and answered by an empty handler of net/http's.
func BenchmarkStream(b *testing.B) {
	for _, c := range []struct {
		name   string
		secure bool
		body   int
	}{{"GET", false, 0}, {"GET over TLS", true, 0}, {"POST of 1000 bytes", false, 1000}} {
		b.Run(c.name, func(b *testing.B) { measure(b, enginetest.LeanHTTP2(b, open, c.secure, c.body)) })
		b.Run(c.name+", empty handler", func(b *testing.B) { measure(b, emptyHandler(b, c.secure, c.body)) })
	}
}

func measure(b *testing.B, ask func()) {
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
