package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// witness is a node that remembers which calls reached it.
type witness struct {
	http.Handler
	mu  sync.Mutex // guards saw
	saw map[int]int
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if n, err := strconv.Atoi(r.URL.Query().Get("call")); err == nil {
		w.mu.Lock()
		w.saw[n]++
		w.mu.Unlock()
	}
	w.Handler.ServeHTTP(rw, r)
}

func TestTermFailsNoAcceptedRequest(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { testTerm(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { testTerm(t, true) })
}

func testTerm(t *testing.T, h2c bool) {
	w := &witness{Handler: echo("n"), saw: map[int]int{}}
	b := serve(t, "--nodes", newNode(t, w)+","+newNode(t, w)+","+newNode(t, w))
	client := newClient(t, h2c)
	body := []byte(strings.Repeat("body ", 1000))
	l := startLoad(t, 500, func(ctx context.Context, c *call) {
		var content []byte
		if c.n%2 == 1 {
			content = body
		}
		exchange(ctx, client, b.url(fmt.Sprintf("/r/f%d?ms=100&call=%d", c.n%50, c.n)), content, c)
	})
	l.begun(t, 300)
	// One that takes long holds the drain open.
	slow := make(chan call, 1)
	go func() {
		var c call
		exchange(context.Background(), newClient(t, h2c), b.url("/slow?ms=2000&call=-1"), body, &c)
		slow <- c
	}()
	eventually(t, patience, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.saw[-1] == 0 {
			return "the slow call has not reached a node"
		}
		return ""
	})

	termed := time.Now()
	b.signal(t, syscall.SIGTERM)
	eventually(t, patience, func() string { // while the slow call still runs
		conn, err := net.DialTimeout("tcp", b.addr, patience)
		if err == nil {
			conn.Close()
			return "connects are accepted"
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err.Error()
		}
		return ""
	})
	refused := time.Since(termed)
	select {
	case <-b.gone:
		t.Error("the balancer ended with a call in flight")
	default:
	}
	if code := b.wait(t, patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	ended := time.Since(termed)
	if c := <-slow; c.failed() {
		t.Errorf("the slow call: %v", &c)
	}

	errs := few{t: t}
	defer errs.close()
	var served, turned, raced int
	for _, c := range l.finish() {
		switch {
		case w.saw[c.n] > 1:
			errs.Errorf("was cut, and tried again by the client: %v", c)
		case c.err == nil && c.status == http.StatusOK:
			if served++; c.connections > 1 {
				raced++ // met the closing of an idle connection, which HTTP/1.1 cannot avoid
			}
		case w.saw[c.n] > 0:
			errs.Errorf("reached a node, and failed: %v", c)
		case c.end.Before(termed):
			errs.Errorf("failed before SIGTERM: %v", c)
		case errors.Is(c.err, syscall.ECONNREFUSED):
			turned++
		case c.reused && c.status == 0:
			raced++
		default:
			errs.Errorf("neither served nor refused: %v", c)
		}
	}
	t.Logf("connects refused %v after SIGTERM, ended after %v; %d calls served, %d refused, %d sent on a connection that was just closed for being idle",
		refused.Round(time.Millisecond), ended.Round(time.Millisecond), served, turned, raced)
	if turned == 0 {
		t.Error("no call came after SIGTERM: the test proves nothing")
	}
}

// TestDrainDeadlineCutsTunnelsAndSaysSo holds a WebSocket open, which ends only when somebody ends it.
func TestDrainDeadlineCutsTunnelsAndSaysSo(t *testing.T) {
	t.Parallel()
	room := newRoom()
	b := serve(t, "--nodes", newNode(t, room), "--drain", "300ms")
	conn := dialRoom(t, b.url("/rooms/1"))
	defer conn.CloseNow()
	if code := b.term(t); code != 1 {
		t.Errorf("exit code %d, want 1: something was cut", code)
	}
	lines, _, _ := b.stderr.from(0)
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "drain deadline passed") }) {
		t.Errorf("it does not say that it cut something:\n%s", b.stderr.tail(5))
	}
}
