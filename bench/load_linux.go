package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Load is one run of the load generator.
type Load struct {
	Case    Case
	Port    int // of the proxy, on loopback
	Seconds float64
	Warm    float64
	PIDs    []int // of the proxy: their CPU is read at both ends of the measured window
	Ours    []int // other processes of the bench, so that they do not count as others
}

const (
	// dialTimeout bounds the opening of all connections, before the clock runs.
	dialTimeout = 5 * time.Second
	// grace is how long an open loop waits, after its window, for answers that are due: those that take longer count as
	// errors.
	grace = time.Second
	// maxErrors ends a run that only produces errors.
	maxErrors = 100_000
)

// loader is a load generator: all its connections in one epoll loop.
//
// Closed loop: each connection sends its next request when the last is answered. Open loop: request i is due at i/rate
// whatever happened to those before; it goes out when it is due and a connection is idle, and its latency counts from
// when it was due, so that a stall is charged to every request it held up (no coordinated omission).
type loader struct {
	load   Load
	poll   *poller
	conns  []loadConn
	idle   []int // connections without a request, used in turn, open loop only
	start  time.Time
	from   time.Duration // when the measured window begins; no latency counts of requests that were due before
	next   int64         // open loop: the number of the request that is due next
	done   int64
	hist   Hist
	errors int64
	wrong  int64
	err    error // ends the run
	open   int   // connections established
	body   []byte
	buf    [256 << 10]byte
}

func (l *Load) target() target {
	t := target{port: l.Port}
	if l.Case.Front == TLS {
		t.tls = clientTLS(nil)
	}
	return t
}

// runLoad does to a proxy what the case says and prints a Sample.
func runLoad(load Load, out io.Writer) (err error) {
	var s Sample
	ctx := context.Background() // whoever started us ends us
	switch {
	case load.Case.Kind == Idle:
		s, err = load.idle(ctx)
	case load.Case.Kind == Flooded:
		s, err = load.flood(ctx)
	case load.Case.Front == TLS:
		l := &tlsLoader{load: load, to: load.target(), body: body(bodySize(load.Case.Path))}
		s, err = l.run(ctx)
	default:
		s, err = runLoader(load)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(s)
}

func runLoader(load Load) (s Sample, err error) {
	// Sleeping to the due time must not be rounded up by the usual 50 us.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return s, fmt.Errorf("set the timer slack: %w", err)
	}
	p, err := newPoller()
	if err != nil {
		return s, err
	}
	l := &loader{load: load, poll: p, conns: make([]loadConn, load.Case.Conns), body: body(bodySize(load.Case.Path))}
	return l.run()
}

func (l *loader) run() (Sample, error) {
	var s Sample
	c := &l.load.Case
	for i := range l.conns {
		l.conns[i] = loadConn{fd: -1, req: request(*c, userKey(i))}
		if c.PerRequest {
			continue
		}
		if err := l.dial(i); err != nil {
			return s, err
		}
	}
	if !c.PerRequest {
		if err := l.established(); err != nil {
			return s, err
		}
	}
	l.from = seconds(l.load.Warm)
	end := l.from + seconds(l.load.Seconds)
	l.start = time.Now()
	for i := range l.conns {
		l.free(i, 0)
	}
	if err := l.until(l.from, end); err != nil {
		return s, err
	}
	n0, e0 := l.done, l.errors
	before, err := l.load.look(l.start)
	if err != nil {
		return s, err
	}
	if err := l.until(end, end); err != nil {
		return s, err
	}
	n1 := l.done
	after, err := l.load.look(l.start)
	if err != nil {
		return s, err
	}
	if c.Rate > 0 {
		if err := l.drain(end); err != nil {
			return s, err
		}
	}
	return between(before, after, n1-n0, l.errors-e0, l.wrong, &l.hist), nil
}

// between is the sample of what happened from one sight to the next.
func between(before, after sight, requests, errors, wrong int64, latencies *Hist) Sample {
	s := Sample{Requests: requests, Seconds: (after.at - before.at).Seconds(), Errors: errors, Wrong: wrong, RSS: after.proxy.RSS,
		Others: before.machine.others(after.machine, after.all()-before.all(), int64(after.at-before.at))}
	s.count(latencies, before.proxy, after.proxy)
	return s
}

// sight is what is seen at one end of the measured window.
type sight struct {
	at          time.Duration
	proxy, ours Usage
	machine     Machine
}

func (s sight) all() int64 { return s.proxy.Run + s.ours.Run }

func (l *Load) look(start time.Time) (s sight, err error) {
	s.at = time.Since(start)
	if s.proxy, err = usage(l.PIDs); err != nil {
		return s, err
	}
	if s.ours, err = usage(append(l.Ours, os.Getpid())); err != nil {
		return s, err
	}
	s.machine, err = machine()
	return s, err
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// established waits until every connection stands.
func (l *loader) established() error {
	limit := time.Now().Add(dialTimeout)
	for l.open < len(l.conns) {
		events, err := l.poll.wait(time.Until(limit))
		if err != nil {
			return err
		}
		for _, ev := range events {
			c := &l.conns[ev.Fd]
			if ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				return errors.New("the proxy refuses connections")
			}
			if ev.Events&unix.EPOLLOUT != 0 && !c.up {
				c.up = true
				l.open++
			}
		}
		if len(events) == 0 && time.Now().After(limit) {
			return fmt.Errorf("%d of %d connections stand after %v", l.open, len(l.conns), dialTimeout)
		}
	}
	return nil
}

// until runs to a time from the start; end is the window's.
func (l *loader) until(t, end time.Duration) error {
	for {
		now := time.Since(l.start)
		if now >= t {
			return nil
		}
		wait := t - now
		if l.load.Case.Rate > 0 {
			wait = min(wait, l.fire(now, end))
		}
		if err := l.turn(wait); err != nil {
			return err
		}
	}
}

// drain waits for the answers to all requests of an open loop that were due before the end of the window.
func (l *loader) drain(end time.Duration) error {
	for {
		now := time.Since(l.start)
		l.fire(now, end)
		busy := int64(len(l.conns) - len(l.idle))
		late := max(int64(end.Seconds()*l.load.Case.Rate)-l.next, 0)
		if busy == 0 && late == 0 {
			return nil
		}
		if now >= end+grace {
			l.errors += busy + late
			return nil
		}
		if err := l.turn(end + grace - now); err != nil {
			return err
		}
	}
}

// fire sends every request that is due, as far as connections are idle, and returns how long until the next is due.
func (l *loader) fire(now, end time.Duration) time.Duration {
	for {
		due := seconds(float64(l.next) / l.load.Case.Rate)
		if due >= end {
			return end
		}
		if due > now {
			return due - now
		}
		if len(l.idle) == 0 {
			return end // an answer will wake us
		}
		i := l.idle[0]
		l.idle = append(l.idle[:0], l.idle[1:]...)
		l.next++
		l.send(i, due)
	}
}

// turn waits once and handles what is ready.
func (l *loader) turn(wait time.Duration) error {
	events, err := l.poll.wait(max(wait, 0))
	if err != nil {
		return err
	}
	for _, ev := range events {
		if c := &l.conns[ev.Fd]; c.fd >= 0 && c.gen == ev.Pad {
			l.ready(int(ev.Fd))
		}
	}
	if l.errors > maxErrors {
		return fmt.Errorf("more than %d errors", maxErrors)
	}
	return l.err
}
