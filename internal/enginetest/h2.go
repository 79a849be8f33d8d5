package enginetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"roost"
)

// h2client speaks HTTP/2 with prior knowledge.
func h2client(t testing.TB) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// h2node serves h over HTTP/2 with prior knowledge only.
func h2node(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &protocols}
	done := make(chan struct{})
	go func() { s.Serve(ln); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

// Every combination of what the client and the node speak carries the same exchange.
func (engine subject) TestBothVersionsOnBothSides(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "Sum")
		w.Header().Set("Saw", fmt.Sprintf("%s %s host=%s length=%d fn=%s", r.Method, r.RequestURI, r.Host, r.ContentLength, r.Header.Get("Fn_call_id")))
		w.WriteHeader(201)
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("Sum", fmt.Sprintf("%d-%s", n, r.Trailer.Get("Client-Sum")))
	}
	for _, front := range []string{"h1", "h2"} {
		for _, back := range []string{"h1", "h2"} {
			t.Run(front+" to "+back, func(t *testing.T) {
				addr := Node(t, echo)
				if back == "h2" {
					addr = h2node(t, echo)
				}
				p := engine.start(t, func(s *Setup) {
					if back == "h2" {
						s.Pool.Protocol = roost.ProtocolH2C
					}
				}, addr)
				c := Client(t)
				if front == "h2" {
					c = h2client(t)
				}
				for i, size := range []int{0, 1, 20_000, 1 << 20, -1, -20_000, -1 << 20} {
					want := bytes.Repeat([]byte("0123456789abcdef"), max(size, -size)/16+1)[:max(size, -size)]
					req, _ := http.NewRequest("POST", "http://"+p.Addr+"/a%2Fb//c?d=e%20f", bytes.NewReader(want))
					length := fmt.Sprint(size)
					if size < 0 {
						req.Body, req.ContentLength, length = io.NopCloser(bytes.NewReader(want)), -1, "-1"
						req.Trailer = http.Header{"Client-Sum": {"77"}}
					}
					req.Header.Set("Fn_call_id", "x1")
					req.Host = "shop.example"
					res, err := c.Do(req)
					if err != nil {
						t.Fatalf("%d bytes: %v", size, err)
					}
					got, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil || res.StatusCode != 201 || !bytes.Equal(got, want) {
						t.Fatalf("%d bytes: %d, got %d bytes, %v", size, res.StatusCode, len(got), err)
					}
					if saw := "POST /a%2Fb//c?d=e%20f host=shop.example length=" + length + " fn=x1"; res.Header.Get("Saw") != saw {
						t.Errorf("%d bytes: the node saw %q, want %q", size, res.Header.Get("Saw"), saw)
					}
					sum := fmt.Sprint(len(want), "-")
					if size < 0 {
						sum += "77"
					}
					if res.Trailer.Get("Sum") != sum {
						t.Errorf("%d bytes: trailers %v, want %q", size, res.Trailer, sum)
					}
					if r := p.Wait(i + 1); r.Status != 201 || r.BytesIn != int64(len(want)) || r.BytesOut != int64(len(want)) || front == "h2" != (r.Proto == "HTTP/2.0") {
						t.Errorf("record %+v", r)
					}
				}
			})
		}
	}
}

func (engine subject) TestHTTP2OverTLS(t *testing.T) {
	cert := Cert(t)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Via"))
	})
	p := engine.start(t, func(s *Setup) {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	}, n)
	for _, h2 := range []bool{true, false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2}
		res, body := Get(t, &http.Client{Transport: tr}, "https://"+p.Addr+"/")
		want := "HTTP/1.1 https 1.1 roost"
		if h2 {
			want = "HTTP/1.1 https 2.0 roost"
		}
		if (res.ProtoMajor == 2) != h2 || body != want {
			t.Errorf("%s: %q", res.Proto, body)
		}
		tr.CloseIdleConnections()
	}
}

func (engine subject) TestGRPCGoesToItsNodeByHTTP2AndItsTrailersComeBack(t *testing.T) {
	n := h2node(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/only" { // a trailers-only answer
			w.Header().Set("Grpc-Status", "5")
			return
		}
		rc.Flush()
		b := make([]byte, 4)
		for { // ping-pong: what comes goes back before the next comes
			if _, err := io.ReadFull(r.Body, b); err != nil {
				break
			}
			w.Write(b)
			rc.Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	})
	p := engine.start(t, nil, n) // the pool's protocol is auto
	c := h2client(t)
	r, w := io.Pipe()
	req, _ := http.NewRequest("POST", "http://"+p.Addr+"/Service/Method", r)
	req.Header.Set("Content-Type", "application/grpc+proto")
	req.Header.Set("Te", "trailers")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	for i := range 10 {
		fmt.Fprintf(w, "%04d", i)
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != fmt.Sprintf("%04d", i) {
			t.Fatalf("message %d: %q, %v", i, b, err)
		}
	}
	w.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "fine" {
		t.Errorf("trailers %v", res.Trailer)
	}

	req, _ = http.NewRequest("POST", "http://"+p.Addr+"/only", strings.NewReader("abcd"))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	if res, err = c.Do(req); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 || res.Header.Get("Grpc-Status") != "5" {
		t.Errorf("%q, %v, %v", b, err, res.Header)
	}
}

func (engine subject) TestAResetStreamEndsTheRequestAtItsNode(t *testing.T) {
	for _, back := range []string{"h1", "h2"} {
		began, gone := make(chan bool), make(chan bool)
		h := func(w http.ResponseWriter, r *http.Request) {
			began <- true
			<-r.Context().Done()
			close(gone)
		}
		addr := Node(t, h)
		if back == "h2" {
			addr = h2node(t, h)
		}
		p := engine.start(t, func(s *Setup) {
			if back == "h2" {
				s.Pool.Protocol = roost.ProtocolH2C
			}
		}, addr)
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.Addr+"/", nil)
		failed := make(chan error)
		go func() { _, err := h2client(t).Do(req); failed <- err }()
		<-began
		cancel()
		<-gone
		<-failed
		if r := p.Wait(1); r.Fault != roost.FaultClientGone || r.Tries != 1 {
			t.Errorf("%s: record %+v", back, r)
		}
		if l := p.Snap.Load().Pools[0].Nodes[0].Live; l.Broken.Load() != 0 {
			t.Errorf("%s: the node was blamed", back)
		}
	}
}

func (engine subject) TestABrokenAnswerResetsTheStream(t *testing.T) {
	for _, raw := range []string{
		CRLF("HTTP/1.1 200 OK", "Content-Length: 10") + "01234",
		CRLF("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "5\r\n01234\r\n",
	} {
		p := engine.start(t, nil, replies(t, raw, true))
		res, err := h2client(t).Get("http://" + p.Addr + "/")
		if err != nil {
			continue // reset before the head was out
		}
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%q looked complete: %q", raw, b)
		}
		res.Body.Close()
	}
}

func (engine subject) TestFaultsOfHTTP2NodesArePrecise(t *testing.T) {
	h1only := Node(t, func(w http.ResponseWriter, r *http.Request) {})
	for addr, code := range map[string]string{"127.0.0.1:1": "node_refused", "169.254.1.1:80": "node_forbidden", h1only: "node_reset"} {
		p := engine.start(t, func(s *Setup) { s.Pool.Protocol = roost.ProtocolH2C; s.Pool.MaxTries = 1 }, addr)
		res, body := Get(t, Client(t), "http://"+p.Addr+"/")
		if res.StatusCode != 502 || !strings.Contains(body, code) {
			t.Errorf("%s: got %d %q, want %s", addr, res.StatusCode, body, code)
		}
		if r := p.Wait(1); r.Cause == "" {
			t.Errorf("%s: no cause", addr)
		}
	}
}

// What a node thinks of one request says nothing of the node, whatever a client sends: only a connection that breaks does.
func (engine subject) TestAStreamThatANodeResetsIsNoBrokenConnection(t *testing.T) {
	n := h2node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panics" {
			panic(http.ErrAbortHandler)
		}
	})
	p := engine.start(t, func(s *Setup) { s.Pool.Protocol = roost.ProtocolH2C }, n)
	live := p.First.Pools[0].Nodes[0].Live
	for i, c := range []struct {
		target string
		errors uint64
	}{{"/%zz", 0}, {"/%zz", 0}, {"/panics", 1}} {
		_, br := p.Send(CRLF("POST "+c.target+" HTTP/1.1", "Host: h", "Content-Length: 1") + "x")
		res, body := ReadAnswer(t, br, "POST")
		if res.StatusCode != 502 || !strings.Contains(body, "node_reset") {
			t.Errorf("%s: %d %q", c.target, res.StatusCode, body)
		}
		if live.Broken.Load() != 0 || live.Errors.Load() != c.errors || live.Requests.Load() != uint64(i+1) {
			t.Errorf("%s: %d broken, %d errors of %d requests", c.target, live.Broken.Load(), live.Errors.Load(), live.Requests.Load())
		}
	}
	if p.First.Pools[0].Live.Retries.Load() != 0 {
		t.Error("a malformed request was tried again")
	}
}

func (engine subject) TestManyStreamsAtOnce(t *testing.T) {
	n := h2node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header()["Of"] = []string{r.Header.Get("Of"), r.Header.Get("Of") + "too"}
		w.Write(b)
	})
	p := engine.start(t, func(s *Setup) { s.Pool.Protocol = roost.ProtocolH2C }, n)
	c := h2client(t)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			of := fmt.Sprint(i)
			want := strings.Repeat(of, 1000)
			req, _ := http.NewRequest("POST", "http://"+p.Addr+"/", strings.NewReader(want))
			req.Header.Set("Of", of)
			res, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != want {
				t.Errorf("stream %d: %d bytes, %v", i, len(b), err)
			}
			if got := res.Header["Of"]; !slices.Equal(got, []string{of, of + "too"}) {
				t.Errorf("stream %d has the field of %v", i, got)
			}
		})
	}
	all.Wait()
}

func (engine subject) TestStreamsOfADrainingBalancerAreAnswered(t *testing.T) {
	began, finish := make(chan bool), make(chan bool)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		began <- true
		<-finish
		io.WriteString(w, "done")
	})
	p := engine.start(t, nil, n)
	result := make(chan string)
	go func() {
		_, body := Get(t, h2client(t), "http://"+p.Addr+"/")
		result <- body
	}()
	<-began
	drained := make(chan error)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { drained <- p.E.Drain(ctx) }()
	close(finish)
	if body := <-result; body != "done" {
		t.Errorf("got %q", body)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
