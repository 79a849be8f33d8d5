package std

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"roost"
)

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	})
	p := start(t, nil, n)
	var all strings.Builder
	for i := range 200 {
		body := strings.Repeat("x", i*7)
		if i%3 == 0 {
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s-\r\n0\r\n\r\n", i, len(body)+1, body)
		} else {
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s-", i, len(body)+1, body)
		}
	}
	c := p.dial()
	go io.WriteString(c, all.String())
	br := bufio.NewReader(c)
	for i := range 200 {
		want := fmt.Sprintf("/%d %s-", i, strings.Repeat("x", i*7))
		if _, body := readAnswer(t, br, "POST"); body != want {
			t.Fatalf("answer %d: got %q", i, body)
		}
	}
}

func TestARequestInSinglesBytesIsTheSameRequest(t *testing.T) {
	n := record(t, crlf("HTTP/1.1 200 OK", "Content-Length: 2")+"ok")
	p := start(t, func(s *setup) { s.l.Via = ""; s.l.Forwarded = roost.ForwardOff }, n.addr)
	c := p.dial()
	raw := crlf("POST /a HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "3;e=1\r\nabc\r\n0\r\nSum: 1\r\n\r\n"
	for i := range len(raw) {
		io.WriteString(c, raw[i:i+1])
	}
	if _, body := readAnswer(t, bufio.NewReader(c), "POST"); body != "ok" {
		t.Errorf("got %q", body)
	}
	head, chunks, _ := strings.Cut(n.bytes(), "\r\n\r\n")
	if head != "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked" || !strings.HasSuffix(chunks, "0\r\nSum: 1\r\n\r\n") {
		t.Errorf("the node got %q, %q", head, chunks)
	}
}

func TestAClientThatEndedItsSideStillGetsItsAnswer(t *testing.T) {
	asked, go_ := make(chan bool, 1), make(chan bool)
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked <- true
		<-go_
		w.Write(b)
	})
	p := start(t, nil, n)
	c, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
	c.CloseWrite()
	<-asked
	close(go_)
	if res, body := readAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	ended(t, br)
}

func TestATruncatedRequestNeverLooksCompleteToItsNode(t *testing.T) {
	for _, raw := range []string{
		crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 10") + "01234",
		crlf("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n01234\r\n",
		crlf("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n01234\r\n0\r\n",
		crlf("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n01234\r\nzz\r\n",
		crlf("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n0123401234\r\n0\r\n\r\n",
	} {
		seen := make(chan error, 4)
		began := make(chan bool, 4)
		n := node(t, func(w http.ResponseWriter, r *http.Request) {
			began <- true
			_, err := io.ReadAll(r.Body)
			seen <- err
		})
		p := start(t, nil, n)
		head, rest, _ := strings.Cut(raw, "01234")
		c, br := p.send(head) // so that the node has the head before the body goes wrong
		<-began
		io.WriteString(c, "01234"+rest)
		c.CloseWrite()
		res, body := readAnswer(t, br, "PUT")
		if res.StatusCode != 400 || !res.Close {
			t.Errorf("%q: got %d %q", raw, res.StatusCode, body)
		}
		if err := <-seen; err == nil {
			t.Errorf("%q: the node took it for complete", raw)
		}
		if r := p.wait(1); r.Fault != roost.FaultClientFrames || r.Tries != 1 {
			t.Errorf("%q: record %+v", raw, r)
		}
		if l := p.snap.Load().Pools[0].Nodes[0].Live; l.Broken.Load() != 0 {
			t.Errorf("%q: the node was blamed", raw)
		}
	}
}

func TestAnExpectationIsTheNodesToAnswer(t *testing.T) {
	read := func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }
	refuse := func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }
	for name, h := range map[string]http.HandlerFunc{"reads": read, "refuses": refuse} {
		p := start(t, nil, node(t, h))
		c, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 5"))
		res, _ := readAnswer(t, br, "POST")
		if name == "refuses" {
			if res.StatusCode != 403 || !res.Close {
				t.Errorf("%s: got %d, close %v", name, res.StatusCode, res.Close)
			}
			continue
		}
		if res.StatusCode != 100 {
			t.Fatalf("%s: got %d", name, res.StatusCode)
		}
		io.WriteString(c, "hello")
		if res, body := readAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
			t.Errorf("%s: got %d %q", name, res.StatusCode, body)
		}
	}
}

func TestAnEarlyAnswerReachesAClientThatStillSends(t *testing.T) {
	n := rawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, crlf("HTTP/1.1 413 Content Too Large", "Content-Length: 3", "Connection: close")+"big")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, io.LimitReader(c, 1000))
	})
	p := start(t, nil, n)
	c, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 100000000"))
	var up sync.WaitGroup
	up.Go(func() {
		piece := make([]byte, 64<<10)
		for range 1000 {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	})
	res, body := readAnswer(t, br, "POST")
	if res.StatusCode != 413 || body != "big" || !res.Close {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	c.Close()
	up.Wait()
}

func TestBothDirectionsStreamAtOnce(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		b := make([]byte, 1)
		for {
			if _, err := r.Body.Read(b); err != nil {
				return
			}
			w.Write(b)
			rc.Flush()
		}
	})
	p := start(t, nil, n)
	c, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	for i := range 20 {
		fmt.Fprintf(c, "1\r\n%c\r\n", 'a'+i)
		if _, err := res.Body.Read(b); err != nil || b[0] != byte('a'+i) {
			t.Fatalf("byte %d: %q, %v", i, b, err)
		}
	}
	io.WriteString(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestEventsAreNotHeldBack(t *testing.T) {
	next := make(chan string)
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for e := range next {
			fmt.Fprintf(w, "data: %s\n\n", e)
			w.(http.Flusher).Flush()
		}
	})
	p := start(t, nil, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for i := range 10 {
		next <- fmt.Sprint(i)
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q, %v", i, line, err)
		}
		lines.ReadString('\n')
	}
	close(next)
}

func TestASlowReaderSlowsTheNodeDown(t *testing.T) {
	var sent sync.WaitGroup
	const size = 64 << 20
	var wrote int64
	blocked := make(chan struct{})
	n := rawNode(t, func(c net.Conn, _ int) {
		defer sent.Done()
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		b := make([]byte, 64<<10)
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for wrote < size {
			m, err := c.Write(b)
			wrote += int64(m)
			if err != nil {
				close(blocked)
				return
			}
		}
	})
	p := start(t, nil, n)
	sent.Add(1)
	c := p.dial()
	c.SetReadBuffer(64 << 10)
	io.WriteString(c, crlf("GET / HTTP/1.1", "Host: h"))
	<-blocked // the client reads nothing: the node's writes must come to a halt
	sent.Wait()
	if wrote > size/2 {
		t.Errorf("%d bytes were taken from the node for a client that reads none", wrote)
	}
}

func TestLimitsAnswerPrecisely(t *testing.T) {
	echo := node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	stuck := rawNode(t, func(c net.Conn, _ int) { io.Copy(io.Discard, c) })
	short := 30 * time.Millisecond
	for _, c := range []struct {
		name   string
		change func(*setup)
		node   string
		send   string
		status int
		code   string
	}{
		{"a head that does not come", func(s *setup) { s.l.HeadTimeout = short }, echo, "GET / HTTP/1.1\r\nHos", 408, "head_timeout"},
		{"TLS on a clear-text listener", nil, echo, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls_on_clear_text"},
		{"a body that does not come", func(s *setup) { s.l.BodyTimeout = short }, echo, crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 3") + "a", 408, "body_timeout"},
		{"a body over the limit", func(s *setup) { s.l.MaxBody = 10 }, echo, crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 11") + "01234567890", 413, "body_too_large"},
		{"chunks over the limit", func(s *setup) { s.l.MaxBody = 10 }, echo, crlf("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "b\r\n01234567890\r\n0\r\n\r\n", 413, "body_too_large"},
		{"a node that does not answer", func(s *setup) { s.p.HeadTimeout = short; s.p.MaxTries = 1 }, stuck, crlf("GET / HTTP/1.1", "Host: h"), 504, "node_timeout"},
		{"a node that refuses", nil, "127.0.0.1:1", crlf("GET / HTTP/1.1", "Host: h"), 502, "node_refused"},
		{"a node that does not exist", nil, "unix:/nonexistent/socket", crlf("GET / HTTP/1.1", "Host: h"), 502, "node_refused"},
		{"a forbidden node", nil, "169.254.169.254:80", crlf("GET / HTTP/1.1", "Host: h"), 502, "node_forbidden"},
		{"a name that does not resolve", nil, "no.such.host.invalid:80", crlf("GET / HTTP/1.1", "Host: h"), 502, "node_unresolved"},
		{"half a head, then the end", nil, echo, "GET / HTTP/1.1\r\nHos\x00END", 400, "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, c.change, c.node)
			send, end := strings.CutSuffix(c.send, "\x00END")
			conn, br := p.send(send)
			if end {
				conn.CloseWrite()
			}
			res, body := readAnswer(t, br, "GET")
			if res.StatusCode != c.status || !strings.Contains(body, `"`+c.code+`"`) {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
			r := p.wait(1)
			if r.Reason != c.code || c.status >= 502 && r.Cause == "" {
				t.Errorf("record %+v", r)
			}
			if host, _, _ := net.SplitHostPort(c.node); strings.Contains(body, c.node) || host != "" && strings.Contains(body, host) {
				t.Errorf("the answer names the node: %q", body)
			}
		})
	}
}

func TestAStalledNodeInMidBodyBreaksTheAnswerOff(t *testing.T) {
	n := rawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, crlf("HTTP/1.1 200 OK", "Content-Length: 10")+"01234")
		io.Copy(io.Discard, c)
	})
	p := start(t, func(s *setup) { s.p.BodyTimeout = 30 * time.Millisecond }, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err == nil || string(b) != "01234" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.wait(1); r.Fault != roost.FaultTimeout || !r.Aborted {
		t.Errorf("record %+v", r)
	}
}

func TestAClientThatStopsReadingIsCutOff(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 1<<20)
		for range 200 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	p := start(t, func(s *setup) { s.l.SendTimeout = 50 * time.Millisecond }, n)
	c := p.dial()
	c.SetReadBuffer(4 << 10)
	io.WriteString(c, crlf("GET / HTTP/1.1", "Host: h"))
	if r := p.wait(1); r.Fault != roost.FaultClientSlow || !r.Aborted {
		t.Errorf("record %+v", r)
	}
}

func TestAnIdleConnectionIsClosedWithoutAWord(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {})
	p := start(t, func(s *setup) { s.l.IdleTimeout = 20 * time.Millisecond }, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	readAnswer(t, br, "GET")
	ended(t, br)
	_, br = p.send("") // and one that never asks
	ended(t, br)
}

// Whoever wakes a reader for a reason that has passed costs it nothing: a drain wakes connections that were idle a moment
// before.
func TestAReaderThatIsWokenInVainGoesOn(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := start(t, nil, n)
	c, br := p.send("POST / HTTP/1.1\r\nHo")
	wake := func() {
		for i := 0; i < 100; i++ { // whatever it waits for just now
			p.e.mu.Lock()
			for c := range p.e.conns {
				c.nc.SetReadDeadline(unknown)
			}
			p.e.mu.Unlock()
			runtime.Gosched()
		}
	}
	wake()
	io.WriteString(c, "st: h\r\nContent-Length: 5\r\n\r\nhe")
	wake()
	io.WriteString(c, "llo")
	if res, body := readAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestAConnectionTooManyIsToldSo(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {})
	p := start(t, func(s *setup) { s.l.MaxConns = 1 }, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	readAnswer(t, br, "GET")
	_, br2 := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, body := readAnswer(t, br2, "GET")
	if res.StatusCode != 503 || !strings.Contains(body, "too_many_connections") || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	ended(t, br2)
}

func TestALongBodyGoesBothWaysIntact(t *testing.T) {
	const size = 16 << 20
	pattern := make([]byte, 1<<20)
	for i := range pattern {
		pattern[i] = byte(i*7 + i>>8)
	}
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, len(pattern))
		got := 0
		for {
			m, err := io.ReadFull(r.Body, buf)
			got += m
			if !bytes.Equal(buf[:m], pattern[:m]) {
				http.Error(w, "garbled", 400)
				return
			}
			if err != nil {
				break
			}
		}
		if r.URL.RawQuery == "length" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		if got != size {
			http.Error(w, "short", 400)
			return
		}
		for range size / len(pattern) {
			w.Write(pattern)
		}
	})
	p := start(t, nil, n)
	for _, c := range []struct{ path, framing string }{{"/?length", "length"}, {"/?chunks", "chunks"}} {
		var body io.Reader = bytes.NewReader(bytes.Repeat(pattern, size/len(pattern)))
		if c.framing == "chunks" {
			body = io.MultiReader(body)
		}
		res, err := client(t).Post("http://"+p.addr+c.path, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(pattern))
		for i := range size / len(pattern) {
			if _, err := io.ReadFull(res.Body, buf); err != nil || !bytes.Equal(buf, pattern) {
				t.Fatalf("%s: part %d: %v, status %d", c.framing, i, err, res.StatusCode)
			}
		}
		if n, err := res.Body.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("%s: more at the end: %d, %v", c.framing, n, err)
		}
		res.Body.Close()
	}
	if r := p.wait(2); r.BytesIn != size || r.BytesOut != size {
		t.Errorf("record %+v", r)
	}
}

// A node that breaks while a body is on its way is no loss, as long as all of the body is still held: the rest goes to
// another node, and no byte of the client is lost in between.
func TestARequestGoesOnElsewhereInMidBody(t *testing.T) {
	cert := testCert(t)
	for _, secure := range []bool{false, true} {
		for _, chunked := range []bool{false, true} {
			dies := rawNode(t, func(c net.Conn, _ int) {
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				io.ReadFull(req.Body, make([]byte, 5))
				c.(*net.TCPConn).SetLinger(0) // a reset
			})
			good := node(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Write(b)
			})
			p := start(t, func(s *setup) {
				if secure {
					s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
				}
			}, dies, good)
			var c net.Conn = p.dial()
			if secure {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			if chunked {
				io.WriteString(c, crlf("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked")+"5\r\nhello\r\n")
			} else {
				io.WriteString(c, crlf("PUT / HTTP/1.1", "Host: h", "Content-Length: 11")+"hello")
			}
			for p.snap.Load().Pools[0].Live.Retries.Load() == 0 { // until the upload to the first node was called off
				runtime.Gosched()
			}
			if chunked {
				io.WriteString(c, "6\r\n world\r\n0\r\n\r\n")
			} else {
				io.WriteString(c, " world")
			}
			res, body := readAnswer(t, bufio.NewReader(c), "PUT")
			if res.StatusCode != 200 || body != "hello world" {
				t.Errorf("TLS %v, chunked %v: got %d %q", secure, chunked, res.StatusCode, body)
			}
			if r := p.wait(1); r.Tries != 2 || r.BytesIn != 11 {
				t.Errorf("record %+v", r)
			}
		}
	}
}

// While both sides stream, the silence of one is no fault, nor is the slowness of the request; only the silence of both
// is. The clock is the bubble's, the connections are in memory.
func TestSilenceOfOneSideOfAStreamIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = grace
		c := newTalk(t, func(s *setup) { s.p.BodyTimeout = limit }, crlf("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
		br := c.head(c.node)
		io.WriteString(c.node, crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
		from := c.head(c.client)
		chunk := []byte("1\r\n.\r\n")
		pass := func(to io.Writer, from io.Reader) {
			t.Helper()
			go to.Write(chunk)
			got := make([]byte, len(chunk))
			if _, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, chunk) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		for range 10 { // for five times the limit, only the node
			<-time.After(limit / 2)
			pass(c.node, from)
		}
		for range 10 { // and then only the client
			<-time.After(limit / 2)
			pass(c.client, br)
		}
		quiet := time.Now()
		<-c.ended
		if waited := time.Since(quiet); c.fault == roost.NoFault || waited < limit || waited > 2*limit {
			t.Errorf("%v after %v", c.fault, waited)
		}
		c.close()
	})
}
