//go:build linux

package reactor

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
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
