package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tlsLoader is a load generator that speaks TLS: closed loop, a goroutine per connection. It costs more than the epoll
// loop of loader; what counts is the proxy's CPU, and the proxy has the other core.
type tlsLoader struct {
	load   Load
	to     target
	body   []byte
	start  time.Time
	from   time.Duration // when the measured window begins; no latency counts of requests that began before
	end    time.Duration
	done   atomic.Int64
	errors atomic.Int64
	wrong  atomic.Int64
}

// tlsClient is one connection after another, or one for all.
type tlsClient struct {
	i      int
	conn   net.Conn
	answer answer
	req    []byte
	buf    []byte
	hist   Hist
}

func (l *tlsLoader) run(ctx context.Context) (s Sample, err error) {
	clients := make([]tlsClient, l.load.Case.Conns)
	for i := range clients {
		c := &clients[i]
		*c = tlsClient{i: i, req: request(l.load.Case, userKey(i)), buf: make([]byte, 64<<10)}
		if l.load.Case.PerRequest {
			continue
		}
		dial, cancel := context.WithTimeout(ctx, dialTimeout)
		c.conn, err = l.to.connect(dial, i)
		cancel()
		if err != nil {
			return s, fmt.Errorf("connect: %w", err)
		}
	}
	l.from = seconds(l.load.Warm)
	l.end = l.from + seconds(l.load.Seconds)
	l.start = time.Now()
	ctx, cancel := context.WithDeadline(ctx, l.start.Add(l.end+grace))
	defer cancel()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { l.client(ctx, &clients[i]) })
	}
	time.Sleep(l.from)
	n0, e0 := l.done.Load(), l.errors.Load()
	before, err := l.load.look(l.start)
	if err != nil {
		return s, err
	}
	time.Sleep(time.Until(l.start.Add(l.end)))
	n1, e1 := l.done.Load(), l.errors.Load()
	after, err := l.load.look(l.start)
	if err != nil {
		return s, err
	}
	wg.Wait()
	if l.errors.Load() > maxErrors {
		return s, fmt.Errorf("more than %d errors", maxErrors)
	}
	var hist Hist
	for i := range clients {
		hist.Merge(&clients[i].hist)
	}
	return between(before, after, n1-n0, e1-e0, l.wrong.Load(), &hist), nil
}

// client sends requests until the window ends.
func (l *tlsLoader) client(ctx context.Context, c *tlsClient) {
	for l.errors.Load() <= maxErrors {
		since := time.Since(l.start)
		if since >= l.end {
			break
		}
		if err := l.once(ctx, c); err != nil {
			if err == errWrong {
				l.wrong.Add(1)
			}
			l.errors.Add(1)
			c.hangUp()
			continue
		}
		l.done.Add(1)
		if since >= l.from {
			c.hist.Add(int64(time.Since(l.start) - since))
		}
	}
	c.hangUp()
}

// once sends one request, over a connection that stands or a new one.
func (l *tlsLoader) once(ctx context.Context, c *tlsClient) (err error) {
	if c.conn == nil {
		if c.conn, err = l.to.connect(ctx, c.i); err != nil {
			c.conn = nil
			return err
		}
		c.conn.SetDeadline(l.start.Add(l.end + grace))
	}
	if err := ask(c.conn, &c.answer, c.req, l.body, c.buf); err != nil {
		return err
	}
	if c.answer.close || l.load.Case.PerRequest {
		c.hangUp()
	}
	return nil
}

func (c *tlsClient) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
