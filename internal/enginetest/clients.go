package enginetest

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
	"time"

	"roost"
)

func (engine subject) TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	})
	p := engine.start(t, nil, n)
	var all strings.Builder
	for i := range 200 {
		body := strings.Repeat("x", i*7)
		if i%3 == 0 {
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s-\r\n0\r\n\r\n", i, len(body)+1, body)
		} else {
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s-", i, len(body)+1, body)
		}
	}
	c := p.Dial()
	go io.WriteString(c, all.String())
	br := bufio.NewReader(c)
	for i := range 200 {
		want := fmt.Sprintf("/%d %s-", i, strings.Repeat("x", i*7))
		if _, body := ReadAnswer(t, br, "POST"); body != want {
			t.Fatalf("answer %d: got %q", i, body)
		}
	}
}

func (engine subject) TestARequestInSinglesBytesIsTheSameRequest(t *testing.T) {
	n := record(t, CRLF("HTTP/1.1 200 OK", "Content-Length: 2")+"ok")
	p := engine.start(t, func(s *Setup) { s.Listener.Via = ""; s.Listener.Forwarded = roost.ForwardOff }, n.addr)
	c := p.Dial()
	raw := CRLF("POST /a HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "3;e=1\r\nabc\r\n0\r\nSum: 1\r\n\r\n"
	for i := range len(raw) {
		io.WriteString(c, raw[i:i+1])
	}
	if _, body := ReadAnswer(t, bufio.NewReader(c), "POST"); body != "ok" {
		t.Errorf("got %q", body)
	}
	head, chunks, _ := strings.Cut(n.bytes(), "\r\n\r\n")
	if head != "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked" || !strings.HasSuffix(chunks, "0\r\nSum: 1\r\n\r\n") {
		t.Errorf("the node got %q, %q", head, chunks)
	}
}

func (engine subject) TestAClientThatEndedItsSideStillGetsItsAnswer(t *testing.T) {
	asked, go_ := make(chan bool, 1), make(chan bool)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked <- true
		<-go_
		w.Write(b)
	})
	p := engine.start(t, nil, n)
	c, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
	c.CloseWrite()
	<-asked
	close(go_)
	if res, body := ReadAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	Ended(t, br)
}

func (engine subject) TestATruncatedRequestNeverLooksCompleteToItsNode(t *testing.T) {
	for _, raw := range []string{
		CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 10") + "01234",
		CRLF("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n01234\r\n",
		CRLF("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n01234\r\n0\r\n",
		CRLF("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n01234\r\nzz\r\n",
		CRLF("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\n0123401234\r\n0\r\n\r\n",
	} {
		seen := make(chan error, 4)
		began := make(chan bool, 4)
		n := Node(t, func(w http.ResponseWriter, r *http.Request) {
			began <- true
			_, err := io.ReadAll(r.Body)
			seen <- err
		})
		p := engine.start(t, nil, n)
		head, rest, _ := strings.Cut(raw, "01234")
		c, br := p.Send(head) // so that the node has the head before the body goes wrong
		<-began
		io.WriteString(c, "01234"+rest)
		c.CloseWrite()
		res, body := ReadAnswer(t, br, "PUT")
		if res.StatusCode != 400 || !res.Close {
			t.Errorf("%q: got %d %q", raw, res.StatusCode, body)
		}
		if err := <-seen; err == nil {
			t.Errorf("%q: the node took it for complete", raw)
		}
		if r := p.Wait(1); r.Fault != roost.FaultClientFrames || r.Tries != 1 {
			t.Errorf("%q: record %+v", raw, r)
		}
		if l := p.Snap.Load().Pools[0].Nodes[0].Live; l.Broken.Load() != 0 {
			t.Errorf("%q: the node was blamed", raw)
		}
	}
}

func (engine subject) TestAnExpectationIsTheNodesToAnswer(t *testing.T) {
	read := func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }
	refuse := func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }
	for name, h := range map[string]http.HandlerFunc{"reads": read, "refuses": refuse} {
		p := engine.start(t, nil, Node(t, h))
		c, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 5"))
		res, _ := ReadAnswer(t, br, "POST")
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
		if res, body := ReadAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
			t.Errorf("%s: got %d %q", name, res.StatusCode, body)
		}
	}
}

func (engine subject) TestAnEarlyAnswerReachesAClientThatStillSends(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, CRLF("HTTP/1.1 413 Content Too Large", "Content-Length: 3", "Connection: close")+"big")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, io.LimitReader(c, 1000))
	})
	p := engine.start(t, nil, n)
	c, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 100000000"))
	var up sync.WaitGroup
	up.Go(func() {
		piece := make([]byte, 64<<10)
		for range 1000 {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	})
	res, body := ReadAnswer(t, br, "POST")
	if res.StatusCode != 413 || body != "big" || !res.Close {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	c.Close()
	up.Wait()
}

func (engine subject) TestBothDirectionsStreamAtOnce(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
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
	p := engine.start(t, nil, n)
	c, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
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

func (engine subject) TestEventsAreNotHeldBack(t *testing.T) {
	next := make(chan string)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for e := range next {
			fmt.Fprintf(w, "data: %s\n\n", e)
			w.(http.Flusher).Flush()
		}
	})
	p := engine.start(t, nil, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
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

func (engine subject) TestASlowReaderSlowsTheNodeDown(t *testing.T) {
	var sent sync.WaitGroup
	const size = 64 << 20
	var wrote int64
	blocked := make(chan struct{})
	n := RawNode(t, func(c net.Conn, _ int) {
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
	p := engine.start(t, nil, n)
	sent.Add(1)
	c := p.Dial()
	c.SetReadBuffer(64 << 10)
	io.WriteString(c, CRLF("GET / HTTP/1.1", "Host: h"))
	<-blocked // the client reads nothing: the node's writes must come to a halt
	sent.Wait()
	if wrote > size/2 {
		t.Errorf("%d bytes were taken from the node for a client that reads none", wrote)
	}
}

func (engine subject) TestLimitsAnswerPrecisely(t *testing.T) {
	echo := Node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	stuck := RawNode(t, func(c net.Conn, _ int) { io.Copy(io.Discard, c) })
	short := 30 * time.Millisecond
	for _, c := range []struct {
		name   string
		change func(*Setup)
		node   string
		send   string
		status int
		code   string
	}{
		{"a head that does not come", func(s *Setup) { s.Listener.HeadTimeout = short }, echo, "GET / HTTP/1.1\r\nHos", 408, "head_timeout"},
		{"TLS on a clear-text listener", nil, echo, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls_on_clear_text"},
		{"a body that does not come", func(s *Setup) { s.Listener.BodyTimeout = short }, echo, CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 3") + "a", 408, "body_timeout"},
		{"a body over the limit", func(s *Setup) { s.Listener.MaxBody = 10 }, echo, CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 11") + "01234567890", 413, "body_too_large"},
		{"chunks over the limit", func(s *Setup) { s.Listener.MaxBody = 10 }, echo, CRLF("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "b\r\n01234567890\r\n0\r\n\r\n", 413, "body_too_large"},
		{"a node that does not answer", func(s *Setup) { s.Pool.HeadTimeout = short; s.Pool.MaxTries = 1 }, stuck, CRLF("GET / HTTP/1.1", "Host: h"), 504, "node_timeout"},
		{"a node that refuses", nil, "127.0.0.1:1", CRLF("GET / HTTP/1.1", "Host: h"), 502, "node_refused"},
		{"a node that does not exist", nil, "unix:/nonexistent/socket", CRLF("GET / HTTP/1.1", "Host: h"), 502, "node_refused"},
		{"a forbidden node", nil, "169.254.169.254:80", CRLF("GET / HTTP/1.1", "Host: h"), 502, "node_forbidden"},
		{"a name that does not resolve", nil, "no.such.host.invalid:80", CRLF("GET / HTTP/1.1", "Host: h"), 502, "node_unresolved"},
		{"half a head, then the end", nil, echo, "GET / HTTP/1.1\r\nHos\x00END", 400, "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := engine.start(t, c.change, c.node)
			send, end := strings.CutSuffix(c.send, "\x00END")
			conn, br := p.Send(send)
			if end {
				conn.CloseWrite()
			}
			res, body := ReadAnswer(t, br, "GET")
			if res.StatusCode != c.status || !strings.Contains(body, `"`+c.code+`"`) {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
			r := p.Wait(1)
			if r.Reason != c.code || c.status >= 502 && r.Cause == "" {
				t.Errorf("record %+v", r)
			}
			if host, _, _ := net.SplitHostPort(c.node); strings.Contains(body, c.node) || host != "" && strings.Contains(body, host) {
				t.Errorf("the answer names the node: %q", body)
			}
		})
	}
}

func (engine subject) TestAStalledNodeInMidBodyBreaksTheAnswerOff(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, CRLF("HTTP/1.1 200 OK", "Content-Length: 10")+"01234")
		io.Copy(io.Discard, c)
	})
	p := engine.start(t, func(s *Setup) { s.Pool.BodyTimeout = 30 * time.Millisecond }, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err == nil || string(b) != "01234" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.Wait(1); r.Fault != roost.FaultTimeout || !r.Aborted {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestAClientThatStopsReadingIsCutOff(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 1<<20)
		for range 200 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	p := engine.start(t, func(s *Setup) { s.Listener.SendTimeout = 50 * time.Millisecond }, n)
	c := p.Dial()
	c.SetReadBuffer(4 << 10)
	io.WriteString(c, CRLF("GET / HTTP/1.1", "Host: h"))
	if r := p.Wait(1); r.Fault != roost.FaultClientSlow || !r.Aborted {
		t.Errorf("record %+v", r)
	}
}

func (engine subject) TestAnIdleConnectionIsClosedWithoutAWord(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {})
	p := engine.start(t, func(s *Setup) { s.Listener.IdleTimeout = 20 * time.Millisecond }, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	ReadAnswer(t, br, "GET")
	Ended(t, br)
	_, br = p.Send("") // and one that never asks
	Ended(t, br)
}

func (engine subject) TestAConnectionTooManyIsToldSo(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {})
	p := engine.start(t, func(s *Setup) { s.Listener.MaxConns = 1 }, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	ReadAnswer(t, br, "GET")
	_, br2 := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	res, body := ReadAnswer(t, br2, "GET")
	if res.StatusCode != 503 || !strings.Contains(body, "too_many_connections") || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	Ended(t, br2)
}

func (engine subject) TestALongBodyGoesBothWaysIntact(t *testing.T) {
	const size = 16 << 20
	pattern := make([]byte, 1<<20)
	for i := range pattern {
		pattern[i] = byte(i*7 + i>>8)
	}
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
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
	p := engine.start(t, nil, n)
	for _, c := range []struct{ path, framing string }{{"/?length", "length"}, {"/?chunks", "chunks"}} {
		var body io.Reader = bytes.NewReader(bytes.Repeat(pattern, size/len(pattern)))
		if c.framing == "chunks" {
			body = io.MultiReader(body)
		}
		res, err := Client(t).Post("http://"+p.Addr+c.path, "text/plain", body)
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
	if r := p.Wait(2); r.BytesIn != size || r.BytesOut != size {
		t.Errorf("record %+v", r)
	}
}

// A node that breaks while a body is on its way is no loss, as long as all of the body is still held: the rest goes to
// another node, and no byte of the client is lost in between.
func (engine subject) TestARequestGoesOnElsewhereInMidBody(t *testing.T) {
	cert := Cert(t)
	bothWays(t, func(t *testing.T, secure bool) {
		for _, chunked := range []bool{false, true} {
			dies := RawNode(t, func(c net.Conn, _ int) {
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				io.ReadFull(req.Body, make([]byte, 5))
				c.(*net.TCPConn).SetLinger(0) // a reset
			})
			good := Node(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Write(b)
			})
			p := engine.start(t, func(s *Setup) {
				if secure {
					s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
				}
			}, dies, good)
			var c net.Conn = p.Dial()
			if secure {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			if chunked {
				io.WriteString(c, CRLF("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked")+"5\r\nhello\r\n")
			} else {
				io.WriteString(c, CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 11")+"hello")
			}
			for p.Snap.Load().Pools[0].Live.Retries.Load() == 0 { // until the upload to the first node was called off
				runtime.Gosched()
			}
			if chunked {
				io.WriteString(c, "6\r\n world\r\n0\r\n\r\n")
			} else {
				io.WriteString(c, " world")
			}
			res, body := ReadAnswer(t, bufio.NewReader(c), "PUT")
			if res.StatusCode != 200 || body != "hello world" {
				t.Errorf("TLS %v, chunked %v: got %d %q", secure, chunked, res.StatusCode, body)
			}
			if r := p.Wait(1); r.Tries != 2 || r.BytesIn != 11 {
				t.Errorf("record %+v", r)
			}
		}
	})
}

func (engine subject) TestABodyThatIsTooSlowIsAnsweredPrecisely(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	p := engine.start(t, func(s *Setup) { s.Listener.MinBodyRate, s.Listener.BodyTimeout = 1<<20, 100*time.Millisecond }, n)
	conn, br := p.Send(CRLF("PUT / HTTP/1.1", "Host: h", "Content-Length: 100000"))
	go Drip(conn, strings.Repeat(".", 1000), 20*time.Millisecond)
	res, body := ReadAnswer(t, br, "PUT")
	if r := p.Wait(1); res.StatusCode != 408 || !strings.Contains(body, "body_too_slow") || r.Fault != roost.FaultClientSlow || r.Reason != "body_too_slow" {
		t.Errorf("%d %q, %+v", res.StatusCode, body, r)
	}
}

func (engine subject) TestAClientThatResetsWhileTheNodeIsSilentIsGone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere it is seen when something is written to the client")
	}
	asked := make(chan struct{})
	stuck := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		close(asked)
		io.Copy(io.Discard, c)
	})
	p := engine.start(t, nil, stuck)
	conn, _ := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	<-asked
	conn.SetLinger(0)
	conn.Close()
	if r := p.Wait(1); r.Fault != roost.FaultClientGone || r.Reason != "client_gone" || r.Nanos > int64(5*time.Second) {
		t.Errorf("record %+v", r)
	}
}

// All of it comes while the first connection to the node is dialled.
func (engine subject) TestBodiesThatWaitTogetherForTheirNodeStayApart(t *testing.T) {
	p := engine.start(t, func(s *Setup) { s.Pool.IdleConns = 0 }, Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	}))
	for _, size := range []int{10_000, 60_000, 64 << 10, 100_000} {
		c := p.Dial()
		var all strings.Builder
		for i := range 4 {
			all.WriteString(CRLF("PUT / HTTP/1.1", "Host: h", fmt.Sprint("Content-Length: ", size)) + strings.Repeat(fmt.Sprint(i), size))
		}
		go io.WriteString(c, all.String())
		br := bufio.NewReader(c)
		for i := range 4 {
			if res, body := ReadAnswer(t, br, "PUT"); res.StatusCode != 200 || body != strings.Repeat(fmt.Sprint(i), size) {
				t.Fatalf("%d bytes: answer %d: %d, %d bytes of %.20q", size, i, res.StatusCode, len(body), body)
			}
		}
		c.Close()
	}
}
