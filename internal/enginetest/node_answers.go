package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"roost"
)

// replies is a node that answers every request head with the same bytes, and closes if told to.
func replies(t testing.TB, raw string, hangUp bool) string {
	return RawNode(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, raw)
			if hangUp {
				return
			}
		}
	})
}

func (engine subject) TestANodeThatDiesAtAnyByteNeverLooksComplete(t *testing.T) {
	for _, whole := range []string{
		CRLF("HTTP/1.1 200 OK", "Content-Length: 10", "X: y") + "0123456789",
		CRLF("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "5\r\n01234\r\n5\r\n56789\r\n0\r\nSum: 1\r\n\r\n",
		CRLF("HTTP/1.1 100 Continue") + CRLF("HTTP/1.1 200 OK", "Content-Length: 10") + "0123456789",
	} {
		for cut := range len(whole) {
			n := replies(t, whole[:cut], true)
			p := engine.start(t, nil, n)
			_, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 0"))
			res, err := http.ReadResponse(br, nil)
			for err == nil && res.StatusCode == 100 {
				res, err = http.ReadResponse(br, nil)
			}
			if err != nil {
				t.Fatalf("cut at %d: no answer: %v", cut, err)
			}
			body, err := io.ReadAll(res.Body)
			headEnd := strings.LastIndex(whole, "HTTP/1.1")
			headEnd += strings.Index(whole[headEnd:], "\r\n\r\n") + 4
			switch {
			case cut < headEnd && (res.StatusCode != 502 || !strings.Contains(string(body), "node_reset")):
				t.Errorf("cut at %d: got %d %q", cut, res.StatusCode, body)
			case cut >= headEnd && (res.StatusCode != 200 || err == nil):
				t.Errorf("cut at %d: got %d %q, %v: a part that looks whole", cut, res.StatusCode, body, err)
			}
			if r := p.Wait(1); r.Aborted != (cut >= headEnd) || r.Fault != roost.FaultReset || r.Cause == "" {
				t.Errorf("cut at %d: record %+v", cut, r)
			}
			p.Close()
		}
	}
}

func (engine subject) TestABrokenCloseDelimitedAnswerIsReset(t *testing.T) {
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, CRLF("HTTP/1.1 200 OK")+"partial")
		c.(*net.TCPConn).SetLinger(0) // a reset, not an end
	})
	for _, version := range []string{"HTTP/1.0", "HTTP/1.1"} {
		p := engine.start(t, nil, n)
		_, br := p.Send(CRLF("GET / "+version, "Host: h"))
		res, err := http.ReadResponse(br, nil)
		if err == nil {
			_, err = io.ReadAll(res.Body)
		}
		if err == nil {
			t.Errorf("%s: a broken answer looked complete", version)
		}
	}
}

func (engine subject) TestACloseDelimitedAnswerStaysOne(t *testing.T) {
	n := replies(t, CRLF("HTTP/1.0 200 OK", "X: y")+"all of it", true)
	p := engine.start(t, nil, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	res, body := ReadAnswer(t, br, "GET")
	if body != "all of it" || !res.Close || len(res.TransferEncoding) > 0 || res.Header.Get("Via") != "1.0 roost" {
		t.Errorf("got %q, %+v", body, res)
	}
}

func (engine subject) TestAnswersOfNodesAreJudgedAsStrictlyAsRequests(t *testing.T) {
	for _, c := range []struct{ name, raw, code string }{
		{"no HTTP", "hello\r\n\r\n", "node_protocol"},
		{"HTTP/0.9", "<html>", "node_protocol"},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "node_protocol"},
		{"status of two digits", CRLF("HTTP/1.1 20 OK", "Content-Length: 0"), "node_protocol"},
		{"status 999", CRLF("HTTP/1.1 999 OK", "Content-Length: 0"), "node_protocol"},
		{"length and chunked", CRLF("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", "node_protocol"},
		{"two lengths", CRLF("HTTP/1.1 200 OK", "Content-Length: 0", "Content-Length: 1"), "node_protocol"},
		{"obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "node_protocol"},
		{"204 with a body", CRLF("HTTP/1.1 204 No Content", "Content-Length: 5") + "hello", "node_protocol"},
		{"unasked upgrade", CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"), "node_protocol"},
		{"a stream of 1xx", strings.Repeat(CRLF("HTTP/1.1 102 Processing"), 17), "node_protocol"},
		{"head too large", CRLF("HTTP/1.1 200 OK", "X: "+strings.Repeat("x", 64<<10)), "node_head_too_large"},
		{"nothing", "", "node_reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := engine.start(t, nil, replies(t, c.raw, true))
			_, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h"))
			res, body := ReadAnswer(t, br, "POST")
			for res.StatusCode < 200 {
				res, body = ReadAnswer(t, br, "POST")
			}
			if res.StatusCode != 502 || !strings.Contains(body, c.code) {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
			if res.Close {
				t.Error("the client's connection was closed for a fault of the node")
			}
		})
	}
}

func (engine subject) TestAnswersWithoutABody(t *testing.T) {
	for _, c := range []struct{ method, raw, length string }{
		{"HEAD", CRLF("HTTP/1.1 200 OK", "Content-Length: 1000"), "1000"},
		{"HEAD", CRLF("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), ""},
		{"GET", CRLF("HTTP/1.1 204 No Content"), ""},
		{"GET", CRLF("HTTP/1.1 304 Not Modified", "Content-Length: 77", "ETag: x"), "77"},
		{"GET", CRLF("HTTP/1.1 200 OK", "Content-Length: 0"), "0"},
	} {
		p := engine.start(t, nil, replies(t, c.raw, false))
		req := CRLF(c.method+" / HTTP/1.1", "Host: h")
		_, br := p.Send(req + req) // the second shows that the first one's end was found
		for range 2 {
			res, body := ReadAnswer(t, br, c.method)
			if body != "" || res.Header.Get("Content-Length") != c.length || len(res.TransferEncoding) > 0 && c.method != "HEAD" {
				t.Errorf("%s %q: got %q %+v", c.method, c.raw, body, res)
			}
		}
		if r := p.Wait(2); r.Tries != 1 {
			t.Errorf("record %+v", r)
		}
	}
}

func (engine subject) TestChunksAndTrailersGoBothWays(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Sum")
		w.Write(b)
		w.(http.Flusher).Flush()
		w.Header().Set("Sum", r.Trailer.Get("Sum")+" seen")
	})
	p := engine.start(t, nil, n)
	_, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "TE: trailers", "Connection: TE", "Transfer-Encoding: chunked", "Trailer: Sum") +
		"5\r\nhello\r\n0\r\nSum: 42\r\n\r\n")
	res, body := ReadAnswer(t, br, "POST")
	if body != "hello" || res.Trailer.Get("Sum") != "42 seen" {
		t.Errorf("got %q, trailers %v", body, res.Trailer)
	}
}

func (engine subject) TestAnHTTP10ClientGetsBodiesWithoutChunks(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello ")
		w.(http.Flusher).Flush()
		io.WriteString(w, r.Proto)
	})
	p := engine.start(t, nil, n)
	_, br := p.Send(CRLF("GET / HTTP/1.0", "Host: h", "Connection: keep-alive"))
	res, body := ReadAnswer(t, br, "GET")
	if body != "hello HTTP/1.1" || len(res.TransferEncoding) > 0 || !res.Close {
		t.Errorf("got %q, %+v", body, res)
	}

	fixed := replies(t, CRLF("HTTP/1.1 100 Continue")+CRLF("HTTP/1.1 200 OK", "Content-Length: 2")+"ok", false)
	p = engine.start(t, nil, fixed)
	req := CRLF("GET / HTTP/1.0", "Host: h", "Connection: keep-alive")
	_, br = p.Send(req + req)
	for range 2 {
		res, body := ReadAnswer(t, br, "GET")
		if res.StatusCode != 200 || body != "ok" || res.Header.Get("Connection") != "keep-alive" {
			t.Errorf("got %d %q %v", res.StatusCode, body, res.Header)
		}
	}
}

func (engine subject) TestInterimResponsesArePassedOn(t *testing.T) {
	n := replies(t, CRLF("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload", "Connection: x", "X: y")+
		CRLF("HTTP/1.1 200 OK", "Content-Length: 2")+"ok", false)
	p := engine.start(t, nil, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	res, _ := ReadAnswer(t, br, "GET")
	if res.StatusCode != 103 || res.Header.Get("Link") == "" || res.Header.Get("X") != "" {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
	if res, body := ReadAnswer(t, br, "GET"); res.StatusCode != 200 || body != "ok" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func (engine subject) TestBytesBehindAnAnswerAreNeverTheNextAnswer(t *testing.T) {
	poison := CRLF("HTTP/1.1 200 OK", "Content-Length: 6") + "poison"
	good := CRLF("HTTP/1.1 200 OK", "Content-Length: 4") + "good"
	late := make(chan struct{})
	n := RawNode(t, func(c net.Conn, conn int) {
		br := bufio.NewReader(c)
		for i := 0; ; i++ {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			switch {
			case conn == 1: // together with the answer
				io.WriteString(c, good+poison)
			case conn == 2: // behind it
				io.WriteString(c, good)
				<-late
				io.WriteString(c, poison)
				late <- struct{}{}
			default:
				io.WriteString(c, good)
			}
		}
	})
	p := engine.start(t, nil, n)
	_, br := p.Send(CRLF("GET /1 HTTP/1.1", "Host: h") + CRLF("GET /2 HTTP/1.1", "Host: h"))
	for range 2 {
		if _, body := ReadAnswer(t, br, "GET"); body != "good" {
			t.Fatalf("got %q", body)
		}
	}
	p.Wait(2)
	late <- struct{}{}
	<-late
	_, br = p.Send(CRLF("GET /3 HTTP/1.1", "Host: h"))
	if _, body := ReadAnswer(t, br, "GET"); body != "good" {
		t.Errorf("got %q", body)
	}
}

func (engine subject) TestAStaleConnectionIsNoError(t *testing.T) {
	closed := make(chan struct{}, 10)
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, CRLF("HTTP/1.1 200 OK", "Content-Length: 2")+"ok")
		c.Close() // without having said so
		closed <- struct{}{}
	})
	p := engine.start(t, nil, n)
	for i := range 20 {
		method := []string{"GET", "POST"}[i%2]
		_, br := p.Send(CRLF(method+" / HTTP/1.1", "Host: h", "Content-Length: 0"))
		if res, body := ReadAnswer(t, br, method); res.StatusCode != 200 || body != "ok" {
			t.Fatalf("%s: got %d %q", method, res.StatusCode, body)
		}
		p.Wait(i + 1)
		<-closed
	}
}

func (engine subject) TestOnlyAnIdempotentRequestIsRepeatedWhenAReusedConnectionBreaks(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
	}{{"PUT", 200}, {"POST", 502}} {
		t.Run(c.method, func(t *testing.T) {
			n := RawNode(t, func(c net.Conn, conn int) {
				br := bufio.NewReader(c)
				for i := 0; ; i++ {
					req, err := http.ReadRequest(br)
					if err != nil || conn == 1 && i == 1 {
						return // took the second request, and died of it
					}
					b, _ := io.ReadAll(req.Body)
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
				}
			})
			p := engine.start(t, nil, n)
			for i, want := range []int{200, c.status} {
				_, br := p.Send(CRLF(c.method+" / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
				res, body := ReadAnswer(t, br, c.method)
				if res.StatusCode != want || want == 200 && body != "hello" {
					t.Errorf("request %d: got %d %q", i, res.StatusCode, body)
				}
				p.Wait(i + 1) // and the connection is back
			}
		})
	}
}

func (engine subject) TestABusyNodeIsPassedOver(t *testing.T) {
	busy := replies(t, CRLF("HTTP/1.1 503 Service Unavailable", "Retry-After: 3", "Content-Length: 4")+"busy", false)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := engine.start(t, func(s *Setup) { s.Pool.RetryOn503 = true }, busy, n)
	_, br := p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
	if res, body := ReadAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	// Nowhere else to go: what the node said is what the client gets.
	p = engine.start(t, func(s *Setup) { s.Pool.RetryOn503 = true }, busy)
	_, br = p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
	if res, body := ReadAnswer(t, br, "POST"); res.StatusCode != 503 || body != "busy" || res.Header.Get("Retry-After") != "3" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func (engine subject) TestLoadReportsAreTakenAndNotPassedOn(t *testing.T) {
	n := replies(t, CRLF("HTTP/1.1 200 OK", "Content-Length: 0", "endpoint-load-metrics: TEXT cpu_utilization=0.9", "XXX-FXLB-WAIT: 100ms",
		"endpoint-load-metrics-bin: CQ=="), false)
	p := engine.start(t, func(s *Setup) { s.Listener.DebugHeader = true }, n)
	_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	res, _ := ReadAnswer(t, br, "GET")
	for name := range res.Header {
		if strings.Contains(strings.ToLower(name), "metrics") || strings.Contains(strings.ToLower(name), "fxlb") {
			t.Errorf("%s was passed on", name)
		}
	}
	if res.Header.Get("Roost-Node") != "n1" || res.Header.Get("Roost-Why") == "" {
		t.Errorf("got %v", res.Header)
	}
	p.Wait(1)
	if load := p.Snap.Load().Pools[0].Nodes[0].Live.Load.Load(); load>>48 == 0 {
		t.Error("the report was not kept")
	}
}
