package enginetest

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
	"time"
)

// Deadline is a context that ends with the test, or before.
func Deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func (engine subject) TestAListenerThatLeavesUnderLoadFailsNoAcceptedRequest(t *testing.T) {
	for name, leave := range map[string]func(p *Proxy) error{
		"drain": func(p *Proxy) error { return p.E.Drain(Deadline(t, 10*time.Second)) },
		"retire": func(p *Proxy) error {
			p.E.Retire(0)
			err := <-p.Served
			p.Served <- nil
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { engine.leaveUnderLoad(t, leave) })
	}
}

func (engine subject) leaveUnderLoad(t *testing.T, leave func(p *Proxy) error) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	p := engine.start(t, nil, n)
	var clients sync.WaitGroup
	var served atomic.Int64
	warm := make(chan bool, 1000)
	for i := range 20 {
		clients.Go(func() {
			for { // a connection after the other, until none is accepted any more
				c, err := net.Dial("tcp", p.Addr)
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
	if c, err := net.Dial("tcp", p.Addr); err == nil {
		c.Close()
		t.Error("a connection was accepted afterwards")
	}
	t.Logf("%d requests", served.Load())
}

func (engine subject) TestADrainClosesIdleConnectionsAndWaitsForBusyOnes(t *testing.T) {
	t.Parallel()
	began, finish := make(chan bool), make(chan bool)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- true
			<-finish
		}
	})
	p := engine.start(t, nil, n)
	_, idle := p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	ReadAnswer(t, idle, "GET")
	_, silent := p.Send("")
	_, busy := p.Send(CRLF("GET /slow HTTP/1.1", "Host: h"))
	<-began
	drained := make(chan error)
	go func() { drained <- p.E.Drain(Deadline(t, 10*time.Second)) }()
	Ended(t, idle)
	Ended(t, silent)
	select {
	case err := <-drained:
		t.Fatalf("drained before the request was answered: %v", err)
	default:
	}
	close(finish)
	if res, _ := ReadAnswer(t, busy, "GET"); res.StatusCode != 200 || !res.Close {
		t.Errorf("got %d, close %v", res.StatusCode, res.Close)
	}
	Ended(t, busy)
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func (engine subject) TestADrainsDeadlineCutsAndCounts(t *testing.T) {
	began := make(chan bool, 3)
	n := RawNode(t, func(c net.Conn, _ int) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") != "" {
			io.WriteString(c, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"))
		}
		began <- true
		io.Copy(io.Discard, c)
	})
	p := engine.start(t, nil, n)
	_, tunnel := p.Send(Upgrade)
	http.ReadResponse(tunnel, nil)
	p.Send(CRLF("GET / HTTP/1.1", "Host: h"))
	p.Send(CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 10") + "half")
	for range 3 {
		<-began
	}
	err := p.E.Drain(Deadline(t, 30*time.Millisecond))
	if err == nil || !strings.Contains(err.Error(), "3 connections") {
		t.Errorf("got %v", err)
	}
	for i := range 3 {
		if r := p.Wait(i + 1); !r.Aborted {
			t.Errorf("record %+v", r)
		}
	}
	if l := p.Snap.Load().Pools[0].Nodes[0].Live; l.Broken.Load() != 0 {
		t.Error("the node was blamed for what was cut off")
	}
}
