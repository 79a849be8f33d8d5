package std

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
	return rawNode(t, func(c net.Conn, _ int) {
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

func TestANodeThatDiesAtAnyByteNeverLooksComplete(t *testing.T) {
	for _, whole := range []string{
		crlf("HTTP/1.1 200 OK", "Content-Length: 10", "X: y") + "0123456789",
		crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "5\r\n01234\r\n5\r\n56789\r\n0\r\nSum: 1\r\n\r\n",
		crlf("HTTP/1.1 100 Continue") + crlf("HTTP/1.1 200 OK", "Content-Length: 10") + "0123456789",
	} {
		for cut := range len(whole) {
			n := replies(t, whole[:cut], true)
			p := start(t, nil, n)
			_, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 0"))
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
			if r := p.wait(1); r.Aborted != (cut >= headEnd) || r.Fault != roost.FaultReset || r.Cause == "" {
				t.Errorf("cut at %d: record %+v", cut, r)
			}
			p.stop()
		}
	}
}

func TestABrokenCloseDelimitedAnswerIsReset(t *testing.T) {
	n := rawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, crlf("HTTP/1.1 200 OK")+"partial")
		c.(*net.TCPConn).SetLinger(0) // a reset, not an end
	})
	for _, version := range []string{"HTTP/1.0", "HTTP/1.1"} {
		p := start(t, nil, n)
		_, br := p.send(crlf("GET / "+version, "Host: h"))
		res, err := http.ReadResponse(br, nil)
		if err == nil {
			_, err = io.ReadAll(res.Body)
		}
		if err == nil {
			t.Errorf("%s: a broken answer looked complete", version)
		}
	}
}

func TestACloseDelimitedAnswerStaysOne(t *testing.T) {
	n := replies(t, crlf("HTTP/1.0 200 OK", "X: y")+"all of it", true)
	p := start(t, nil, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, body := readAnswer(t, br, "GET")
	if body != "all of it" || !res.Close || len(res.TransferEncoding) > 0 || res.Header.Get("Via") != "1.0 roost" {
		t.Errorf("got %q, %+v", body, res)
	}
}

func TestAnswersOfNodesAreJudgedAsStrictlyAsRequests(t *testing.T) {
	for _, c := range []struct{ name, raw, code string }{
		{"no HTTP", "hello\r\n\r\n", "node_protocol"},
		{"HTTP/0.9", "<html>", "node_protocol"},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "node_protocol"},
		{"status of two digits", crlf("HTTP/1.1 20 OK", "Content-Length: 0"), "node_protocol"},
		{"status 999", crlf("HTTP/1.1 999 OK", "Content-Length: 0"), "node_protocol"},
		{"length and chunked", crlf("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", "node_protocol"},
		{"two lengths", crlf("HTTP/1.1 200 OK", "Content-Length: 0", "Content-Length: 1"), "node_protocol"},
		{"obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "node_protocol"},
		{"204 with a body", crlf("HTTP/1.1 204 No Content", "Content-Length: 5") + "hello", "node_protocol"},
		{"unasked upgrade", crlf("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"), "node_protocol"},
		{"a stream of 1xx", strings.Repeat(crlf("HTTP/1.1 102 Processing"), 17), "node_protocol"},
		{"head too large", crlf("HTTP/1.1 200 OK", "X: "+strings.Repeat("x", maxNodeHead)), "node_head_too_large"},
		{"nothing", "", "node_reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, nil, replies(t, c.raw, true))
			_, br := p.send(crlf("POST / HTTP/1.1", "Host: h"))
			res, body := readAnswer(t, br, "POST")
			for res.StatusCode < 200 {
				res, body = readAnswer(t, br, "POST")
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

func TestAnswersWithoutABody(t *testing.T) {
	for _, c := range []struct{ method, raw, length string }{
		{"HEAD", crlf("HTTP/1.1 200 OK", "Content-Length: 1000"), "1000"},
		{"HEAD", crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), ""},
		{"GET", crlf("HTTP/1.1 204 No Content"), ""},
		{"GET", crlf("HTTP/1.1 304 Not Modified", "Content-Length: 77", "ETag: x"), "77"},
		{"GET", crlf("HTTP/1.1 200 OK", "Content-Length: 0"), "0"},
	} {
		p := start(t, nil, replies(t, c.raw, false))
		req := crlf(c.method+" / HTTP/1.1", "Host: h")
		_, br := p.send(req + req) // the second shows that the first one's end was found
		for range 2 {
			res, body := readAnswer(t, br, c.method)
			if body != "" || res.Header.Get("Content-Length") != c.length || len(res.TransferEncoding) > 0 && c.method != "HEAD" {
				t.Errorf("%s %q: got %q %+v", c.method, c.raw, body, res)
			}
		}
		if r := p.wait(2); r.Tries != 1 {
			t.Errorf("record %+v", r)
		}
	}
}

func TestChunksAndTrailersGoBothWays(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Sum")
		w.Write(b)
		w.(http.Flusher).Flush()
		w.Header().Set("Sum", r.Trailer.Get("Sum")+" seen")
	})
	p := start(t, nil, n)
	_, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "TE: trailers", "Connection: TE", "Transfer-Encoding: chunked", "Trailer: Sum") +
		"5\r\nhello\r\n0\r\nSum: 42\r\n\r\n")
	res, body := readAnswer(t, br, "POST")
	if body != "hello" || res.Trailer.Get("Sum") != "42 seen" {
		t.Errorf("got %q, trailers %v", body, res.Trailer)
	}
}

func TestAnHTTP10ClientGetsBodiesWithoutChunks(t *testing.T) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello ")
		w.(http.Flusher).Flush()
		io.WriteString(w, r.Proto)
	})
	p := start(t, nil, n)
	_, br := p.send(crlf("GET / HTTP/1.0", "Host: h", "Connection: keep-alive"))
	res, body := readAnswer(t, br, "GET")
	if body != "hello HTTP/1.1" || len(res.TransferEncoding) > 0 || !res.Close {
		t.Errorf("got %q, %+v", body, res)
	}

	fixed := replies(t, crlf("HTTP/1.1 100 Continue")+crlf("HTTP/1.1 200 OK", "Content-Length: 2")+"ok", false)
	p = start(t, nil, fixed)
	req := crlf("GET / HTTP/1.0", "Host: h", "Connection: keep-alive")
	_, br = p.send(req + req)
	for range 2 {
		res, body := readAnswer(t, br, "GET")
		if res.StatusCode != 200 || body != "ok" || res.Header.Get("Connection") != "keep-alive" {
			t.Errorf("got %d %q %v", res.StatusCode, body, res.Header)
		}
	}
}

func TestInterimResponsesArePassedOn(t *testing.T) {
	n := replies(t, crlf("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload", "Connection: x", "X: y")+
		crlf("HTTP/1.1 200 OK", "Content-Length: 2")+"ok", false)
	p := start(t, nil, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, _ := readAnswer(t, br, "GET")
	if res.StatusCode != 103 || res.Header.Get("Link") == "" || res.Header.Get("X") != "" {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
	if res, body := readAnswer(t, br, "GET"); res.StatusCode != 200 || body != "ok" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestBytesBehindAnAnswerAreNeverTheNextAnswer(t *testing.T) {
	poison := crlf("HTTP/1.1 200 OK", "Content-Length: 6") + "poison"
	good := crlf("HTTP/1.1 200 OK", "Content-Length: 4") + "good"
	late := make(chan struct{})
	n := rawNode(t, func(c net.Conn, conn int) {
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
	p := start(t, nil, n)
	_, br := p.send(crlf("GET /1 HTTP/1.1", "Host: h") + crlf("GET /2 HTTP/1.1", "Host: h"))
	for range 2 {
		if _, body := readAnswer(t, br, "GET"); body != "good" {
			t.Fatalf("got %q", body)
		}
	}
	p.wait(2)
	late <- struct{}{}
	<-late
	_, br = p.send(crlf("GET /3 HTTP/1.1", "Host: h"))
	if _, body := readAnswer(t, br, "GET"); body != "good" {
		t.Errorf("got %q", body)
	}
}

func TestAStaleConnectionIsNoError(t *testing.T) {
	closed := make(chan struct{}, 10)
	n := rawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, crlf("HTTP/1.1 200 OK", "Content-Length: 2")+"ok")
		c.Close() // without having said so
		closed <- struct{}{}
	})
	p := start(t, nil, n)
	for i := range 20 {
		method := []string{"GET", "POST"}[i%2]
		_, br := p.send(crlf(method+" / HTTP/1.1", "Host: h", "Content-Length: 0"))
		if res, body := readAnswer(t, br, method); res.StatusCode != 200 || body != "ok" {
			t.Fatalf("%s: got %d %q", method, res.StatusCode, body)
		}
		p.wait(i + 1)
		<-closed
	}
}

func TestOnlyAnIdempotentRequestIsRepeatedWhenAReusedConnectionBreaks(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
	}{{"PUT", 200}, {"POST", 502}} {
		t.Run(c.method, func(t *testing.T) {
			n := rawNode(t, func(c net.Conn, conn int) {
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
			p := start(t, nil, n)
			for i, want := range []int{200, c.status} {
				_, br := p.send(crlf(c.method+" / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
				res, body := readAnswer(t, br, c.method)
				if res.StatusCode != want || want == 200 && body != "hello" {
					t.Errorf("request %d: got %d %q", i, res.StatusCode, body)
				}
				p.wait(i + 1) // and the connection is back
			}
		})
	}
}

func TestABusyNodeIsPassedOver(t *testing.T) {
	busy := replies(t, crlf("HTTP/1.1 503 Service Unavailable", "Retry-After: 3", "Content-Length: 4")+"busy", false)
	n := node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := start(t, func(s *setup) { s.p.RetryOn503 = true }, busy, n)
	_, br := p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
	if res, body := readAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	// Nowhere else to go: what the node said is what the client gets.
	p = start(t, func(s *setup) { s.p.RetryOn503 = true }, busy)
	_, br = p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 5") + "hello")
	if res, body := readAnswer(t, br, "POST"); res.StatusCode != 503 || body != "busy" || res.Header.Get("Retry-After") != "3" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestLoadReportsAreTakenAndNotPassedOn(t *testing.T) {
	n := replies(t, crlf("HTTP/1.1 200 OK", "Content-Length: 0", "endpoint-load-metrics: TEXT cpu_utilization=0.9", "XXX-FXLB-WAIT: 100ms",
		"endpoint-load-metrics-bin: CQ=="), false)
	p := start(t, func(s *setup) { s.l.DebugHeader = true }, n)
	_, br := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	res, _ := readAnswer(t, br, "GET")
	for name := range res.Header {
		if strings.Contains(strings.ToLower(name), "metrics") || strings.Contains(strings.ToLower(name), "fxlb") {
			t.Errorf("%s was passed on", name)
		}
	}
	if res.Header.Get("Roost-Node") != "n1" || res.Header.Get("Roost-Why") == "" {
		t.Errorf("got %v", res.Header)
	}
	p.wait(1)
	if load := p.snap.Load().Pools[0].Nodes[0].Live.Load.Load(); load>>48 == 0 {
		t.Error("the report was not kept")
	}
}
