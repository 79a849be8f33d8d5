package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// call is one request of a load, and what became of it.
type call struct {
	n           int // from 0
	key         int
	post        bool
	begin, end  time.Time
	status      int
	node, why   string
	err         error // no whole answer, or a wrong one
	connections int   // it was tried on; more than one: the client's transport tried again
}

func (c *call) failed() bool { return c.err != nil || c.status != http.StatusOK || c.connections > 1 }

func (c *call) String() string {
	method := "GET"
	if c.post {
		method = "POST"
	}
	return fmt.Sprintf("%s #%d of key %d, %v to %v: status %d from node %q (%s), %d connections, error %v", method, c.n, c.key,
		c.begin.Format("05.000"), c.end.Format("05.000"), c.status, c.node, c.why, c.connections, c.err)
}

// load is an open loop: calls begin at their times, however slow the answers are.
type load struct {
	cancel  context.CancelFunc
	done    chan struct{}
	waiting atomic.Int64
	overrun atomic.Bool // it ended because too many calls wait

	mu    sync.Mutex // guards calls and marks
	calls []*call
	marks map[int]chan struct{}
}

// maxWaiting bounds the calls in flight: beyond it the balancer, or the machine, cannot keep the pace.
const maxWaiting = 4000

// startLoad makes rate calls per second until finish, each by do in a goroutine of its own.
func startLoad(t testing.TB, rate int, do func(context.Context, *call)) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, done: make(chan struct{}), marks: map[int]chan struct{}{}}
	t.Cleanup(func() {
		cancel()
		<-l.done
	})
	go l.pace(ctx, rate, do)
	return l
}

func (l *load) pace(ctx context.Context, rate int, do func(context.Context, *call)) {
	var wg sync.WaitGroup
	defer close(l.done)
	defer wg.Wait()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); n < due; n++ {
			if l.waiting.Load() >= maxWaiting {
				l.overrun.Store(true)
				return
			}
			c := &call{n: n}
			l.add(c)
			l.waiting.Add(1)
			wg.Go(func() {
				defer l.waiting.Add(-1)
				c.begin = time.Now()
				do(context.WithoutCancel(ctx), c) // a finished load still waits for its answers
				c.end = time.Now()
			})
		}
	}
}

func (l *load) add(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	if mark := l.marks[len(l.calls)]; mark != nil {
		close(mark)
	}
}

// begun waits until n more calls have begun.
func (l *load) begun(t testing.TB, n int) {
	t.Helper()
	l.mu.Lock()
	n += len(l.calls)
	mark := make(chan struct{})
	l.marks[n] = mark
	l.mu.Unlock()
	select {
	case <-mark:
	case <-l.done:
		l.finish(t)
	case <-time.After(patience):
		t.Fatalf("call %d has not begun after %v", n, patience)
	}
}

// finish begins no more calls, waits for those in flight and returns all.
func (l *load) finish(t testing.TB) []*call {
	t.Helper()
	l.cancel()
	<-l.done
	if l.overrun.Swap(false) {
		busy(t, fmt.Sprintf("%d calls waited for an answer", maxWaiting))
	}
	return l.calls
}

// busy ends a test whose load could not be carried. On a developer's machine other work is the likely cause; in CI
// nothing else runs.
func busy(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("the load is more than the balancer can carry: " + what)
	}
	t.Skip("SKIP: this machine is too busy for the load: " + what)
}

// needQuiet skips a test whose load the machine cannot carry at the moment even without a balancer, because other work
// runs on it. In CI the test decides.
func needQuiet(t *testing.T, rate int) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		return
	}
	n := startProcess(t, "direct", "127.0.0.1:0")
	client := newClient(t, false)
	l := startLoad(t, rate, func(ctx context.Context, c *call) {
		exchange(ctx, client, "http://"+n.addr+"/direct", nil, c)
	})
	l.begun(t, rate)
	var longest time.Duration
	for _, c := range l.finish(t) {
		longest = max(longest, c.end.Sub(c.begin))
	}
	const most = 250 * time.Millisecond // an idle machine of two cores: 10 ms
	if longest > most {
		busy(t, fmt.Sprintf("of %d calls per second straight to a node one took %v", rate, longest.Round(time.Millisecond)))
	}
}

// exchange makes a call by c: a GET, or a POST whose body must come back.
func exchange(ctx context.Context, client *http.Client, url string, body []byte, c *call) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { c.connections++ }})
	method, content := http.MethodGet, io.Reader(nil)
	if c.post = body != nil; c.post {
		// A plain reader: the transport could not send it twice if it wanted to.
		method, content = http.MethodPost, struct{ io.Reader }{bytes.NewReader(body)}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		c.err = err
		return
	}
	req.ContentLength = int64(len(body))
	resp, err := client.Do(req)
	if err != nil {
		c.err = err
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	// A node says who it is; where none answered, the balancer says whom it asked last.
	c.node = cmp.Or(resp.Header.Get("Node"), resp.Header.Get("Roost-Node"))
	c.status, c.why, c.err = resp.StatusCode, resp.Header.Get("Roost-Why"), err
	if err != nil || c.status != http.StatusOK {
		if err == nil {
			c.err = fmt.Errorf("%.200s", got)
		}
		return
	}
	want := []byte(req.URL.RequestURI())
	if c.post {
		want = body
	}
	if !bytes.Equal(got, want) {
		c.err = fmt.Errorf("the answer has %d bytes that are not those sent (%d)", len(got), len(want))
	}
}
