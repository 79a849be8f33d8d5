//go:build linux

package reactor

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"roost"
)

// Far more are refused, and stay, than may linger. Each asks at once, as clients do, and reads.
func TestEveryoneWhoIsRefusedIsTold(t *testing.T) {
	p := start(t, func(s *setup) { s.l.MaxConns = 1 }, node(t, func(c *net.TCPConn, _ int) {
		for br := bufio.NewReader(c); ; {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	c, br := p.dial(get)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	const clients, each = 50, 40
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close() // not before all have asked: who leaves makes room
				c.SetDeadline(time.Now().Add(20 * time.Second))
				io.WriteString(c, get) // it may be refused already
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || res.StatusCode != 503 {
					t.Errorf("not told: %v, %v", res, err)
					continue
				}
				if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), "too_many_connections") {
					t.Errorf("%q, %v", b, err)
				}
			}
		})
	}
	all.Wait()
	io.WriteString(c, get)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 {
		t.Errorf("%v, %v: who was served before is not any more", res, err)
	}
	if !t.Failed() {
		p.wait(2 + clients*each) // each is in the log
	}
}

// Another engine needs a descriptor of its own for what it is given. Without one the request is answered, and the next one
// is given again.
func TestWhatCannotBePassedOnIsAnswered(t *testing.T) {
	passed := make(chan Passed, 1)
	p := start(t, func(s *setup) { s.p.Protocol = roost.ProtocolH2C }, "192.0.2.1:80")
	p.pass = func(g Passed) { passed <- g }
	c, br := p.dial("")
	for n := int64(0); n == 0; runtime.Gosched() {
		n = p.e.Connections(0)
	}
	var limit, none syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none.Max = limit.Max
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none)
	io.WriteString(c, asks)
	res, err := http.ReadResponse(br, nil)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(res.Body)
	}
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err != nil || res.StatusCode != 503 || !strings.Contains(string(b), "out_of_resources") {
		t.Fatalf("%q, %v", b, err)
	}
	if r := p.wait(1); r.Status != 503 || r.Fault != roost.FaultLocal {
		t.Errorf("%+v", r)
	}
	io.WriteString(c, asks)
	g := <-passed
	if string(g.Ahead) != asks || !g.Served {
		t.Errorf("passed on with %q, served %v", g.Ahead, g.Served)
	}
	g.Conn.Close()
	g.Done()
}
