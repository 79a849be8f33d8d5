package std

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAListenerThatLeavesUnderLoadFailsNoAcceptedRequest(t *testing.T) {
	for name, leave := range map[string]func(p *proxy) error{
		"drain": func(p *proxy) error { return p.e.Drain(deadline(t, 10*time.Second)) },
		"retire": func(p *proxy) error {
			p.e.Retire(0)
			err := <-p.served
			p.served <- nil
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { leaveUnderLoad(t, leave) })
	}
}

func leaveUnderLoad(t *testing.T, leave func(p *proxy) error) {
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	p := start(t, nil, n)
	var clients sync.WaitGroup
	var served atomic.Int64
	warm := make(chan bool, 1000)
	for i := range 20 {
		clients.Go(func() {
			for { // a connection after the other, until none is accepted any more
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					return
				}
				br := bufio.NewReader(c)
				for j := 0; ; j++ {
					body := fmt.Sprint(i, " ", j)
					if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil && j > 0 {
						t.Errorf("client %d, request %d: %v", i, j, err)
						return
					}
					res, err := http.ReadResponse(br, nil)
					if err != nil {
						if j == 0 {
							return // queued by the kernel after we had stopped to accept
						}
						t.Errorf("client %d, request %d: %v", i, j, err)
						return
					}
					if got, err := io.ReadAll(res.Body); err != nil || string(got) != body {
						t.Errorf("client %d, request %d: %q, %v", i, j, got, err)
					}
					served.Add(1)
					select {
					case warm <- true:
					default:
					}
					if res.Close {
						break
					}
				}
				c.Close()
			}
		})
	}
	for range cap(warm) {
		<-warm
	}
	if err := leave(p); err != nil {
		t.Error(err)
	}
	clients.Wait()
	if c, err := net.Dial("tcp", p.addr); err == nil {
		c.Close()
		t.Error("a connection was accepted afterwards")
	}
	t.Logf("%d requests", served.Load())
}

func TestADrainClosesIdleConnectionsAndWaitsForBusyOnes(t *testing.T) {
	t.Parallel()
	began, finish := make(chan bool), make(chan bool)
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- true
			<-finish
		}
	})
	p := start(t, nil, n)
	_, idle := p.send(crlf("GET / HTTP/1.1", "Host: h"))
	readAnswer(t, idle, "GET")
	_, silent := p.send("")
	_, busy := p.send(crlf("GET /slow HTTP/1.1", "Host: h"))
	<-began
	drained := make(chan error)
	go func() { drained <- p.e.Drain(deadline(t, 10*time.Second)) }()
	ended(t, idle)
	ended(t, silent)
	select {
	case err := <-drained:
		t.Fatalf("drained before the request was answered: %v", err)
	default:
	}
	close(finish)
	if res, _ := readAnswer(t, busy, "GET"); res.StatusCode != 200 || !res.Close {
		t.Errorf("got %d, close %v", res.StatusCode, res.Close)
	}
	ended(t, busy)
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestADrainsDeadlineCutsAndCounts(t *testing.T) {
	began := make(chan bool, 3)
	n := rawNode(t, func(c net.Conn, _ int) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") != "" {
			io.WriteString(c, crlf("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"))
		}
		began <- true
		io.Copy(io.Discard, c)
	})
	p := start(t, nil, n)
	_, tunnel := p.send(upgrade)
	http.ReadResponse(tunnel, nil)
	p.send(crlf("GET / HTTP/1.1", "Host: h"))
	p.send(crlf("POST / HTTP/1.1", "Host: h", "Content-Length: 10") + "half")
	for range 3 {
		<-began
	}
	err := p.e.Drain(deadline(t, 30*time.Millisecond))
	if err == nil || !strings.Contains(err.Error(), "3 connections") {
		t.Errorf("got %v", err)
	}
	for i := range 3 {
		if r := p.wait(i + 1); !r.Aborted {
			t.Errorf("record %+v", r)
		}
	}
	if l := p.snap.Load().Pools[0].Nodes[0].Live; l.Broken.Load() != 0 {
		t.Error("the node was blamed for what was cut off")
	}
}

// A waiting connection gives its buffer back after a moment, keeps its idle limit to the second, and is woken early by
// a limit that changes.
func TestAWaitingConnectionKeepsItsLimitWithoutABuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var lend buffers
		var w wire
		w.open(near, &lend)
		var limit atomic.Int64
		limit.Store(int64(time.Minute))
		since := time.Now()
		done := make(chan error)
		bare := false // when it was woken last
		await := func() {
			done <- w.await(time.Now, since, func() time.Duration {
				bare = w.buf == nil
				return time.Duration(limit.Load())
			})
		}
		go await()
		if err := <-done; !isTimeout(err) || time.Since(since) != time.Minute || !bare {
			t.Errorf("ended with %v after %v, without a buffer: %v", err, time.Since(since), bare)
		}

		since = time.Now()
		go await()
		<-time.After(quiet / 2) // of the bubble's clock
		near.SetReadDeadline(unknown)
		<-time.After(30 * time.Second)
		limit.Store(int64(31 * time.Second))
		near.SetReadDeadline(unknown)
		if err := <-done; !isTimeout(err) || time.Since(since) != 31*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(since))
		}

		since = time.Now()
		limit.Store(0)
		go await()
		<-time.After(time.Hour)
		go far.Write([]byte("hello"))
		if err := <-done; err != nil || string(w.pending()) != "h" {
			t.Errorf("%q, %v", w.pending(), err)
		}
		if err := w.fill(time.Now); err != nil || string(w.pending()) != "hello" {
			t.Errorf("%q, %v", w.pending(), err)
		}
		near.Close()
		far.Close()
	})
}
