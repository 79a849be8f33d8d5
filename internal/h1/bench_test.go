package h1

import (
	"strings"
	"testing"
)

// typical is a request of 214 bytes and eight fields, such as a client in a data center sends.
const typical = "GET /api/v1/functions/hello?name=world HTTP/1.1\r\n" +
	"Host: api.example.com\r\n" +
	"User-Agent: curl/8.5.0\r\n" +
	"Accept: */*\r\n" +
	"Accept-Encoding: gzip\r\n" +
	"X-Request-Id: 7f3c9a\r\n" +
	"Content-Type: text/plain\r\n" +
	"Connection: close\r\n" +
	"Via: 1.1 lb\r\n" +
	"\r\n"

const answer = "HTTP/1.1 200 OK\r\n" +
	"Date: Tue, 02 Jan 2024 03:04:05 GMT\r\n" +
	"Content-Type: application/json\r\n" +
	"Transfer-Encoding: chunked\r\n" +
	"\r\n"

func BenchmarkRequest(b *testing.B)  { benchmarkHead(b, Request, typical) }
func BenchmarkResponse(b *testing.B) { benchmarkHead(b, Response, answer) }

func benchmarkHead(b *testing.B, k Kind, head string) {
	var p Parser
	var h Head
	in := []byte(head)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		p.Reset(k)
		if done, err := p.Parse(in, &h); !done || err != nil {
			b.Fatal(done, err)
		}
	}
}

// The cost of a head that comes byte by byte, which a search from its beginning would square.
func BenchmarkDrippedRequest(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 13} {
		b.Run(map[int]string{1 << 10: "1KiB", 1 << 13: "8KiB"}[size], func(b *testing.B) {
			in := []byte(strings.Replace(typical, "*/*", strings.Repeat("*", size-len(typical)+3), 1))
			b.SetBytes(int64(len(in)))
			var p Parser
			var h Head
			for b.Loop() {
				p.Reset(Request)
				for n := range in {
					if _, err := p.Parse(in[:n+1], &h); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkChunks(b *testing.B) {
	for _, c := range []struct {
		name string
		in   string
	}{
		{"16of1KiB", strings.Repeat("400\r\n"+strings.Repeat("a", 1024)+"\r\n", 16) + "0\r\n\r\n"},
		{"1000of1B", strings.Repeat("1\r\na\r\n", 1000) + "0\r\n\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				consume(b, Body{Framing: ByChunks}, in)
			}
		})
	}
}

func consume(t testing.TB, body Body, in []byte) {
	for {
		ev, used, _, err := body.Next(in)
		if in = in[used:]; ev == End {
			return
		}
		if err != nil || ev == NeedMore {
			t.Fatal(ev, err)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var p Parser
	h := Head{Fields: make([]Field, 0, 16)}
	parse := func(k Kind, in []byte) func() {
		return func() {
			p.Reset(k)
			for n := range in {
				if _, err := p.Parse(in[:n+1], &h); err != nil {
					return
				}
			}
		}
	}
	body := []byte("5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n")
	buf := make([]byte, 0, 100)
	for name, f := range map[string]func(){
		"request":             parse(Request, []byte(typical)),
		"response":            parse(Response, []byte(answer)),
		"absolute target":     parse(Request, []byte("GET http://[::1]:80/ HTTP/1.1\r\nHost: [::1]\r\nConnection: upgrade, a, b\r\nUpgrade: a/1, b\r\nTE: trailers\r\n\r\n")),
		"refused request":     parse(Request, []byte("GET / HTTP/1.1\r\nHost: [a]\r\n\r\n")),
		"refused coding":      parse(Request, []byte("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")),
		"body":                func() { consume(t, Body{Framing: ByChunks}, body) },
		"chunk":               func() { buf = AppendField(AppendLastChunk(AppendChunk(buf[:0], 1<<20)), "A", "b") },
		"trailer not allowed": func() { _ = TrailerAllowed("If-Match", Other) || TrailerAllowed("Www-Authenticate", Other) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A head that comes byte by byte must not be read from its beginning again each time: here the lines that are complete
// have been overwritten before the parser is called again.
func TestCompleteLinesAreNotReadAgain(t *testing.T) {
	b := []byte("GET / HTTP/1.0\r\n" + strings.Repeat("X: y\r\n", 50) + "\r\n")
	var p Parser
	var h Head
	for n, c := range b {
		if done, err := p.Parse(b[:n+1], &h); err != nil || done != (n == len(b)-1) {
			t.Fatalf("%d bytes: %v, %v", n+1, done, err)
		}
		if c == '\n' {
			clear(b[:n+1])
		}
	}
}
