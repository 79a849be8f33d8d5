package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestMalformedRequestsGoNowhere sends what must not reach a node. Each is answered with a status and a code, is
// logged, and harms nobody else.
func TestMalformedRequestsGoNowhere(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	node := newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good" {
			reached.Add(1)
		}
		io.Copy(io.Discard, r.Body)
	}))
	b := serve(t, "--nodes", node)
	const host = "Host: example.com\r\n"
	post := "POST / HTTP/1.1\r\n" + host
	for _, c := range []struct {
		name, send string
		status     []int
	}{
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		{"words", "hello there\r\n\r\n", []int{400}},
		{"HTTP/0.9", "GET /\r\n\r\n", []int{400, 505}},
		{"HTTP/2.0 without its preface", "GET / HTTP/2.0\r\n" + host + "\r\n", []int{505}},
		{"HTTP/3.7", "GET / HTTP/3.7\r\n" + host + "\r\n", []int{505}},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", []int{400}},
		{"two Hosts", "GET / HTTP/1.1\r\n" + host + "Host: b\r\n\r\n", []int{400}},
		{"Host and authority differ", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", []int{400}},
		{"bare LF", "GET / HTTP/1.1\n" + "Host: a\n\n", []int{400}},
		{"bare CR", "GET / HTTP/1.1\r\n" + host + "A: b\rc\r\n\r\n", []int{400}},
		{"NUL", "GET / HTTP/1.1\r\n" + host + "A: b\x00c\r\n\r\n", []int{400}},
		{"space in a name", "GET / HTTP/1.1\r\n" + host + "A b: c\r\n\r\n", []int{400}},
		{"space before the colon", "GET / HTTP/1.1\r\n" + host + "A : b\r\n\r\n", []int{400}},
		{"folded field", "GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n", []int{400}},
		{"length and chunks", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", []int{400}},
		{"signed length", post + "Content-Length: +3\r\n\r\nabc", []int{400}},
		{"overlong length", post + "Content-Length: 99999999999999999999999\r\n\r\nabc", []int{400, 413}},
		{"chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"unknown coding", post + "Transfer-Encoding: gzip\r\n\r\n", []int{400, 501}},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\n\r\n", []int{400, 405, 501}},
		{"method of unusual bytes", "G(T / HTTP/1.1\r\n" + host + "\r\n", []int{400}},
		{"a target with a space", "GET /a b HTTP/1.1\r\n" + host + "\r\n", []int{400}},
		{"a long target", "GET /" + strings.Repeat("a", 256<<10) + " HTTP/1.1\r\n" + host + "\r\n", []int{414, 431}},
		{"a long head", "GET / HTTP/1.1\r\n" + host + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 256) + "\r\n", []int{431}},
		{"many fields", "GET / HTTP/1.1\r\n" + host + strings.Repeat("A: b\r\n", 5000) + "\r\n", []int{431}},
		{"unknown expectation", post + "Expect: the-unexpected\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", []int{417}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, text := raw(t, b.addr, c.send)
			if resp == nil {
				t.Fatal("closed without an answer")
			}
			if !slices.Contains(c.status, resp.StatusCode) {
				t.Errorf("status %d, want %v\n%s", resp.StatusCode, c.status, text)
			}
			code(t, text)
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d reached the node", n)
	}
	get(t, newClient(t, false), b.url("/good"))
}

// TestMalformedBodiesBreakOff sends a good head and a bad body: the node may have seen the head, but never takes the
// body for a whole one.
func TestMalformedBodiesBreakOff(t *testing.T) {
	t.Parallel()
	var whole atomic.Int64
	b := serve(t, "--nodes", newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
		}
	})))
	const head = "POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, body := range map[string]string{
		"size is not a number":     "5\r\nhello\r\nzz\r\n",
		"size is too big a number": "5\r\nhello\r\nfffffffffffffffff\r\n",
		"size with a sign":         "5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n",
		"bare LF after a size":     "5\nhello\r\n0\r\n\r\n",
		"no end of a chunk":        "5\r\nhelloXX0\r\n\r\n",
		"size with an LF in it":    "5;a\nb\r\nhello\r\n0\r\n\r\n",
		"bad trailer":              "5\r\nhello\r\n0\r\nA b: c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			resp, text := raw(t, b.addr, head+body)
			if resp == nil {
				t.Fatal("closed without an answer")
			}
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("status %d, want 400\n%s", resp.StatusCode, text)
			}
			code(t, text)
		})
	}
	if n := whole.Load(); n != 0 {
		t.Errorf("the node took %d of them for whole", n)
	}
}

// raw sends bytes and returns the last answer that comes, nil if the connection closes without one. The connection must
// close, for what follows a malformed message has no meaning.
func raw(t *testing.T, addr, send string) (resp *http.Response, text string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	written := make(chan struct{})
	go func() { // ends with the connection
		defer close(written)
		io.WriteString(conn, send)
	}()
	defer func() { conn.Close(); <-written }()
	for in := bufio.NewReader(conn); ; {
		next, err := http.ReadResponse(in, nil)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the connection is still open")
			}
			return resp, text
		}
		body, err := io.ReadAll(next.Body)
		if err != nil {
			t.Fatalf("read the answer: %v", err)
		}
		resp, text = next, string(body)
	}
}

// code returns the code of an answer of Roost's own, as programs get it.
func code(t *testing.T, text string) string {
	t.Helper()
	var answer struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Error.Code == "" || answer.Error.Message == "" {
		t.Errorf("no code and message in %q (%v)", text, err)
	}
	return answer.Error.Code
}

// TestNodesThatFailAreToldApart has a node for every way to fail. The client learns which kind it was and the log says
// why; neither answer is empty.
func TestNodesThatFailAreToldApart(t *testing.T) {
	t.Parallel()
	says := func(text string) string {
		ln := listenOn(t, "127.0.0.1:0")
		done := make(chan struct{})
		t.Cleanup(func() { ln.Close(); <-done })
		go func() { // ends with the test
			defer close(done)
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, text)
				conn.Close()
			}
		}()
		return ln.Addr().String()
	}
	gone := freePort(t)
	for _, c := range []struct {
		name, node, code string
		status           int
	}{
		{"refuses", gone, "node_refused", 502},
		{"breaks off", says(""), "node_reset", 502},
		{"breaks off in its head", says("HTTP/1.1 200 OK\r\nContent-Le"), "node_reset", 502},
		{"speaks another language", says("220 mail.example ESMTP\r\n"), "node_protocol", 502},
		{"frames wrongly", says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "node_protocol", 502},
		{"has no name", "absent.invalid:80", "node_unresolved", 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "access.log")
			b := serve(t, "--nodes", c.node, "--health", "none", "--access-log", log)
			client := newClient(t, false)
			resp, text, err := do(client, http.MethodPost, b.url("/a"), []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if got := code(t, text); resp.StatusCode != c.status || got != c.code {
				t.Errorf("%s %s, want %d %s", resp.Status, got, c.status, c.code)
			}
			if strings.Contains(text, c.node) {
				t.Errorf("the answer names the node: %s", text)
			}
			b.term(t)
			line, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			var r map[string]any
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%v\n%s", err, line)
			}
			if cause := fmt.Sprint(r["cause"]); r["reason"] != c.code || len(cause) < 10 {
				t.Errorf("the log does not say why: %s", line)
			}
		})
	}
}
