package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// openers is how many connections of a crowd are opened at a time: fewer than any backlog, and than any pool of
	// connections to nodes.
	openers = 32
	// patience is how long one connection of a crowd may take for what it does at once.
	patience = 10 * time.Second
	// warmers are opened and closed before the memory of a proxy is looked at the first time.
	warmers = 64
	// prompt is how soon a flooded proxy answers whom it takes; whoever hears nothing by then is asked again at the end.
	prompt = 100 * time.Millisecond
	// late is how long those have, all together.
	late = 2 * time.Second
)

// member is one connection of a crowd.
type member struct {
	conn   net.Conn
	answer answer
}

// crowd calls f for 0 to n-1, some at a time, until one fails, and waits for all.
func crowd(n int, f func(i int, buf []byte) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make(chan error, openers)
	var wg sync.WaitGroup
	for range min(openers, n) {
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if err := f(i, buf); err != nil {
					failed.Store(true)
					errs <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// open makes n connections and has one exchange on each.
func (l *Load) open(ctx context.Context, n int) ([]member, error) {
	ms := make([]member, n)
	err := crowd(n, func(i int, buf []byte) (err error) {
		m := &ms[i]
		dial, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if m.conn, err = l.target().connect(dial, i); err != nil {
			return err
		}
		within(m.conn, patience)
		if l.Case.Upgrade {
			if err := upgrade(m.conn, request(l.Case, userKey(i))); err != nil {
				return err
			}
		}
		return l.exchange(m, i, buf)
	})
	return ms, err
}

// exchange does on a connection what the case is about.
func (l *Load) exchange(m *member, i int, buf []byte) error {
	within(m.conn, patience)
	if l.Case.Upgrade {
		return echo(m.conn)
	}
	return ask(m.conn, &m.answer, request(l.Case, userKey(i)), body(bodySize(l.Case.Path)), buf)
}

func hangUp(ms []member) {
	for i := range ms {
		if ms[i].conn != nil {
			ms[i].conn.Close()
		}
	}
}

// idle opens the connections of the case, has one exchange on each, lets them rest for the seconds of the load, and sees
// what memory they cost the proxy. Afterwards all must still work.
func (l *Load) idle(ctx context.Context) (s Sample, err error) {
	ms, err := l.open(ctx, warmers)
	hangUp(ms)
	if err != nil {
		return s, err
	}
	time.Sleep(seconds(l.Warm))
	before, err := memory(l.PIDs)
	if err != nil {
		return s, err
	}
	ms, err = l.open(ctx, l.Case.Conns)
	defer func() { hangUp(ms) }()
	if err != nil {
		return s, err
	}
	time.Sleep(seconds(l.Seconds))
	after, err := memory(l.PIDs)
	if err != nil {
		return s, err
	}
	used, err := usage(l.PIDs)
	if err != nil {
		return s, err
	}
	var lost atomic.Int64
	crowd(len(ms), func(i int, buf []byte) error {
		if err := l.exchange(&ms[i], i, buf); err != nil {
			lost.Add(1)
		}
		return nil
	})
	return Sample{Requests: int64(len(ms)), Memory: float64(after-before) / float64(len(ms)), RSS: used.RSS, Errors: lost.Load()}, nil
}

// flood opens more connections than the proxy is to take, with a request on each, and counts what became of them. Then
// those that were served ask once more.
func (l *Load) flood(ctx context.Context) (s Sample, err error) {
	ms := make([]member, l.Case.Conns)
	defer func() { hangUp(ms) }()
	want := body(bodySize(l.Case.Path))
	fate := make([]error, len(ms))
	crowd(len(ms), func(i int, buf []byte) error {
		m := &ms[i]
		dial, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if m.conn, fate[i] = l.target().connect(dial, i); fate[i] != nil {
			return nil
		}
		within(m.conn, prompt)
		fate[i] = ask(m.conn, &m.answer, request(l.Case, userKey(i)), want, buf)
		return nil
	})
	limit := time.Now().Add(late)
	buf := make([]byte, 64<<10)
	for i := range ms {
		if m := &ms[i]; m.conn != nil && timedOut(fate[i]) {
			m.conn.SetDeadline(limit)
			fate[i] = hear(m.conn, &m.answer, want, buf)
		}
	}
	var kept atomic.Int64
	crowd(len(ms), func(i int, buf []byte) error {
		if fate[i] == nil && l.exchange(&ms[i], i, buf) == nil {
			kept.Add(1)
		}
		return nil
	})
	s.Requests, s.Kept = int64(len(ms)), kept.Load()
	for _, err := range fate {
		switch {
		case err == nil:
			s.Served++
		case err == errRefused:
			s.Refused++
		case timedOut(err):
			s.Silent++
		case err == errWrong:
			s.Wrong++
		default:
			s.Closed++
		}
	}
	used, err := usage(l.PIDs)
	s.RSS = used.RSS
	return s, err
}

// timedOut tells an answer that did not come from a connection that ended.
func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
