package enginetest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// RawNode is a node that speaks bytes: serve gets each connection, in its own goroutine, counted from 1.
func RawNode(t testing.TB, serve func(c net.Conn, n int)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				serve(c, n)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// recorder is a node that keeps the very bytes it was sent, and answers each request with answer.
type recorder struct {
	addr   string
	answer string

	mu   sync.Mutex
	took bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.took.Write(b)
}

// bytes returns what came since the last call.
func (r *recorder) bytes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.took.String()
	r.took.Reset()
	return s
}

func record(t testing.TB, answer string) *recorder {
	r := &recorder{answer: answer}
	r.addr = RawNode(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(io.TeeReader(c, r))
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err = io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			io.WriteString(c, r.answer)
		}
	})
	return r
}

// Dial connects to the proxy; the connection ends with the test, and no test waits on it for longer than 20 s.
func (p *Proxy) Dial() *net.TCPConn {
	p.T.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		p.T.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	p.T.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// Send writes raw bytes on a fresh connection and gives it with a reader of its answers.
func (p *Proxy) Send(raw string) (*net.TCPConn, *bufio.Reader) {
	p.T.Helper()
	c := p.Dial()
	if _, err := io.WriteString(c, raw); err != nil {
		p.T.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// ReadAnswer reads one answer; method is that of the request.
func ReadAnswer(t testing.TB, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer's body: %v (after %q)", err, b)
	}
	return res, string(b)
}

// Ended checks that the connection ends, without more bytes.
func Ended(t testing.TB, br *bufio.Reader) {
	t.Helper()
	if b, err := io.ReadAll(br); err != nil || len(b) > 0 {
		t.Errorf("the connection did not end cleanly: %q, %v", b, err)
	}
}

// CRLF is a head of lines.
func CRLF(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// Drip writes s in single bytes, one in each pause, until that fails.
func Drip(to io.Writer, s string, pause time.Duration) {
	for i := range len(s) {
		<-time.After(pause)
		if _, err := io.WriteString(to, s[i:i+1]); err != nil {
			return
		}
	}
}
