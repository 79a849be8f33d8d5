package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// crowd is what a balancer in the middle of its day has to carry: WebSockets that talk all the time, and calls at a steady
// rate, every tenth of them on a connection of its own. It notices everything that goes wrong.
type crowd struct {
	url     func(path string) string
	load    *load
	stop    chan struct{}
	talkers []*talker
	wg      sync.WaitGroup
}

// talker is one WebSocket.
type talker struct {
	conn *websocket.Conn
	n    int   // messages that came back
	err  error // what went wrong
}

const (
	// talkEvery is how often a WebSocket sends a message, and waits for it to come back.
	talkEvery = time.Second
	// idleAtMost is less than the balancer leaves an idle connection of a listener that it closes (500 ms), which is how a
	// client stays clear of the race in which its request crosses the close.
	idleAtMost = 300 * time.Millisecond
)

// lounge is a node for both: WebSockets below /rooms/ echo, and everything else does.
func lounge(name string) http.Handler {
	calls := echo(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/rooms/") {
			calls.ServeHTTP(w, r)
			return
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
}

func lounges(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for i := range n {
		addrs = append(addrs, newNode(t, lounge(fmt.Sprintf("n%d", i+1))))
	}
	return addrs
}

// gather fills the place: n WebSockets, and rate calls per second.
func gather(t testing.TB, n, rate int, url func(path string) string) *crowd {
	t.Helper()
	c := &crowd{url: url, stop: make(chan struct{})}
	c.join(t, n)
	kept, fresh := newClient(t, false), newClient(t, false)
	kept.Transport.(*http.Transport).IdleConnTimeout = idleAtMost
	fresh.Transport.(*http.Transport).DisableKeepAlives = true
	c.load = startLoad(t, rate, func(ctx context.Context, k *call) {
		client := kept
		if k.n%10 == 0 {
			client = fresh
		}
		var body []byte
		if k.n%3 == 0 {
			body = []byte("some words")
		}
		exchange(ctx, client, url(fmt.Sprintf("/r/f%d?ms=%d", k.n%200, k.n%30)), body, k)
	})
	return c
}

// join opens n more WebSockets.
func (c *crowd) join(t testing.TB, n int) {
	t.Helper()
	for range n {
		k := &talker{conn: dialRoom(t, c.url(fmt.Sprintf("/rooms/%d", len(c.talkers))))}
		t.Cleanup(func() { k.conn.CloseNow() })
		c.talkers = append(c.talkers, k)
		c.wg.Go(func() { k.talk(c.stop) })
	}
}

// talk sends and waits for what comes back until stop, and says goodbye.
func (k *talker) talk(stop <-chan struct{}) {
	tick := time.NewTicker(talkEvery)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-stop:
			last = true // whoever is quiet would not notice that it was dropped
		case <-tick.C:
		}
		if k.err = k.say(fmt.Sprintf("message %d", k.n)); k.err != nil {
			return
		}
		k.n++
		if last {
			k.err = k.conn.Close(websocket.StatusNormalClosure, "")
			return
		}
	}
}

func (k *talker) say(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := k.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := k.conn.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%q came back as %q", text, got)
	}
	return err
}

// disperse ends it all, and fails for every WebSocket that was dropped and every call that failed.
func (c *crowd) disperse(t testing.TB) {
	t.Helper()
	calls := c.load.finish(t)
	close(c.stop)
	c.wg.Wait()
	few := few{t: t}
	defer few.close()
	failed, dropped, messages := 0, 0, 0
	for _, k := range calls {
		if k.failed() {
			failed++
			few.Errorf("%v", k)
		}
	}
	for i, k := range c.talkers {
		messages += k.n
		if k.err != nil {
			dropped++
			few.Errorf("WebSocket %d, after %d messages: %v", i, k.n, k.err)
		}
	}
	t.Logf("%d calls, %d failed; %d WebSockets with %d messages, %d dropped", len(calls), failed, len(c.talkers), messages, dropped)
}
