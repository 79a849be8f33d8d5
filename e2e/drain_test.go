package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
	const rate = 500
	needQuiet(t, rate)
	w := &witness{Handler: echo("n"), saw: map[int]int{}}
	b := serve(t, "--nodes", newNode(t, w)+","+newNode(t, w)+","+newNode(t, w))
	client := newClient(t, h2c)
	body := []byte(strings.Repeat("body ", 1000))
	l := startLoad(t, rate, func(ctx context.Context, c *call) {
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
	for _, c := range l.finish(t) {
		switch {
		case w.saw[c.n] > 1:
			errs.Errorf("was cut, and tried again by the client: %v", c)
		case c.err == nil && c.status == http.StatusOK:
			if served++; c.connections > 1 {
				raced++
			}
		case w.saw[c.n] > 0:
			errs.Errorf("reached a node, and failed: %v", c)
		case c.end.Before(termed):
			errs.Errorf("failed before SIGTERM: %v", c)
		case dialFailed(c.err):
			turned++
		case c.status == 0: // no node saw it
			raced++
		default:
			errs.Errorf("neither served nor refused: %v", c)
		}
	}
	t.Logf("connects refused %v after SIGTERM, ended after %v; %d calls served, %d refused, %d met the closing of a connection that was idle for too long",
		refused.Round(time.Millisecond), ended.Round(time.Millisecond), served, turned, raced)
	if turned == 0 {
		t.Error("no call came after SIGTERM: the test proves nothing")
	}
}

// dialFailed tells that no connection came about. One that is asked for in the moment in which the listener closes may
// be reset instead of refused.
func dialFailed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// TestRequestsOnOpenConnectionsAreServedWhileDraining sends on connections that were idle when SIGTERM came, for which
// a client cannot know better.
func TestRequestsOnOpenConnectionsAreServedWhileDraining(t *testing.T) {
	t.Parallel()
	b := serve(t, "--nodes", nodeList(echoes(t, 2)...))
	var conns []net.Conn
	for i := range 20 {
		conn, err := net.DialTimeout("tcp", b.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		if conns = append(conns, conn); i%2 == 0 { // every second one has served before
			if resp := ask(t, conn, "/before"); resp.Close {
				t.Error("closed before the drain")
			}
		}
	}
	b.signal(t, syscall.SIGTERM)
	eventually(t, patience, func() string { // the log says it a moment earlier
		conn, err := net.DialTimeout("tcp", b.addr, patience)
		if err != nil {
			return ""
		}
		conn.Close()
		return "it takes connections"
	})
	for _, conn := range conns {
		if resp := ask(t, conn, "/after"); !resp.Close {
			t.Error("an answer during the drain does not say that the connection closes")
		}
	}
	if code := b.wait(t, patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// ask sends a GET on a connection and reads the whole answer.
func ask(t *testing.T, conn net.Conn, target string) *http.Response {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(text) != target {
		t.Fatalf("%s %q %v", resp.Status, text, err)
	}
	return resp
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
