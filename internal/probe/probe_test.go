package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"roost"
)

// world is a network in virtual time: it answers probes over pipes and writes down what it saw.
type world struct {
	mu      sync.Mutex // guards all below
	started map[string][]time.Time
	open    map[string]int // probes running now
	most    int            // that ran at once
	overlap bool           // two probes of one address ran at once
	hang    map[string]bool
	deaf    time.Duration // a connect takes as long, whether its context ends or not
	fail    error         // of every connect
	results []roost.ProbeResult
}

func newWorld() *world {
	return &world{started: map[string][]time.Time{}, open: map[string]int{}, hang: map[string]bool{}}
}

func (w *world) dial(_ context.Context, t *roost.Target) (net.Conn, error) {
	addr := t.Addr
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started[addr] = append(w.started[addr], time.Now())
	if w.fail != nil {
		return nil, w.fail
	}
	w.open[addr]++
	w.overlap = w.overlap || w.open[addr] > 1
	all := 0
	for _, n := range w.open {
		all += n
	}
	w.most = max(w.most, all)
	if w.deaf > 0 {
		w.mu.Unlock()
		<-time.After(w.deaf)
		w.mu.Lock()
	}
	near, far := net.Pipe()
	go answer(far, w.hang[addr])
	return &conn{Conn: near, closed: sync.OnceFunc(func() {
		w.mu.Lock()
		w.open[addr]--
		w.mu.Unlock()
	})}, nil
}

// conn tells when the probe has closed it.
type conn struct {
	net.Conn
	closed func()
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}

func answer(c net.Conn, hang bool) {
	defer c.Close()
	if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && !hang {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
	io.Copy(io.Discard, c) // until the probe closes
}

func (w *world) report(r roost.ProbeResult) {
	w.mu.Lock()
	w.results = append(w.results, r)
	w.mu.Unlock()
}

// probes returns when addr was probed, as time since the start.
func (w *world) probes(addr string, since time.Time) (at []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.started[addr] {
		at = append(at, t.Sub(since))
	}
	return at
}

// in runs f beside a running Prober in virtual time, then ends it and waits for it.
func in(t *testing.T, f func(t *testing.T, w *world, p *Prober)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := New(Options{Report: w.report})
		p.dial = w.dial
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		f(t, w, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
		synctest.Wait()
		if w.overlap {
			t.Error("a node was probed twice at once")
		}
	})
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func target(n int, interval, timeout time.Duration) roost.Target {
	name := fmt.Sprintf("n%d", n)
	return roost.Target{Pool: "p", Node: roost.NodeID(name), Addr: name + ":80",
		Settings: roost.HealthSettings{Kind: roost.HealthHTTP, Path: "/", Interval: interval, Timeout: timeout}}
}

func TestFirstProbesComeSoonAndLaterOnesAtTheIntervalWithJitter(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		start := time.Now()
		var targets []roost.Target
		for i := range 100 {
			targets = append(targets, target(i, 10*time.Second, time.Second))
		}
		p.Set(targets)
		pass(10 * time.Minute)
		var firsts, gaps []time.Duration
		for _, tg := range targets {
			at := w.probes(tg.Addr, start)
			firsts = append(firsts, at[0])
			for i := 1; i < len(at); i++ {
				gaps = append(gaps, at[i]-at[i-1])
			}
		}
		if last := slices.Max(firsts); last >= firstWithin || last < firstWithin/2 {
			t.Errorf("the last first probe came after %v", last)
		}
		if low, high := slices.Min(gaps), slices.Max(gaps); low < 8500*time.Millisecond || low > 9*time.Second || high > 11500*time.Millisecond || high < 11*time.Second {
			t.Errorf("gaps from %v to %v, want nearly 8.5 s to 11.5 s", low, high)
		}
		if n := len(gaps); n < 5500 || n > 6500 {
			t.Errorf("%d gaps, want about 5,900", n)
		}
		for _, r := range w.results {
			if !r.OK || r.Reason != "" || r.Pool != "p" || r.Addr == "" || r.At < start.UnixNano() {
				t.Fatalf("result %+v", r)
			}
		}
	})
}

func TestSlowProbesOfANodeNeverOverlap(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		w.hang["n0:80"] = true
		p.Set([]roost.Target{target(0, time.Second, 3*time.Second)})
		pass(time.Minute)
		if n := len(w.results); n != 19 {
			t.Errorf("%d results in a minute, want 19: one in 3 s", n)
		}
		want(t, w.results[0].Reason, "GET /: no answer within 3s")
	})
}

func TestNoMoreThanMaxProbesRunAtOnceAndAllComeToTurn(t *testing.T) {
	if raced {
		t.Skip("SKIP: crowded bubbles crash the race detector, golang/go#78156; the test runs without it")
	}
	in(t, func(t *testing.T, w *world, p *Prober) {
		var targets []roost.Target
		for i := range 3 * maxProbes {
			targets = append(targets, target(i, time.Second, time.Second))
			w.hang[targets[i].Addr] = true
		}
		p.Set(targets)
		pass(4500 * time.Millisecond)
		if w.most != maxProbes {
			t.Errorf("%d probes at once, want %d", w.most, maxProbes)
		}
		if n := len(w.started); n != len(targets) {
			t.Errorf("%d of %d targets were probed", n, len(targets))
		}
	})
}

func TestUnchangedTargetsKeepTheirSchedule(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		start := time.Now()
		for i := range 100 { // targets come and change beside n0, faster than it is probed
			p.Set([]roost.Target{target(0, 10*time.Second, time.Second), target(1, time.Duration(i+1)*time.Second, time.Second)})
			pass(time.Second)
		}
		at := w.probes("n0:80", start)
		if len(at) < 9 || len(at) > 12 {
			t.Errorf("%d probes in 100 s, want about 10", len(at))
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 8500*time.Millisecond || gap > 11500*time.Millisecond {
				t.Errorf("probes %v apart", gap)
			}
		}
	})
}

func TestWhatIsFoundOfARemovedTargetIsNotReported(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		w.hang["n0:80"] = true
		p.Set([]roost.Target{target(0, time.Second, 10*time.Second)})
		pass(time.Second) // the first probe hangs
		p.Set(nil)
		pass(time.Minute)
		if len(w.started["n0:80"]) != 1 || len(w.results) != 0 {
			t.Errorf("%d probes, results %+v", len(w.started["n0:80"]), w.results)
		}
	})
}

func TestAReplacedTargetWaitsForTheEndOfItsLastProbe(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		w.deaf = 2 * time.Second
		for i := range 50 {
			p.Set([]roost.Target{target(0, time.Duration(i+1)*time.Second, 10*time.Second)})
			pass(600 * time.Millisecond)
		}
		pass(10 * time.Second)
		if n := len(w.started["n0:80"]); n < 10 || n > 20 {
			t.Errorf("%d probes of 2 s each in 40 s", n)
		}
	})
}

func TestTargetsWithoutProbesAreLeftAlone(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		passive := target(0, time.Second, time.Second)
		passive.Settings.Kind = roost.HealthNone
		p.Set([]roost.Target{passive})
		pass(time.Minute)
		if len(w.started) != 0 {
			t.Errorf("probed: %v", w.started)
		}
	})
}

func TestAnUrgedNodeIsProbedAtOnceAndInABurst(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		p.Urge("p", "n0") // unknown: nothing
		p.Set([]roost.Target{target(0, 10*time.Second, time.Second), target(1, 10*time.Second, time.Second)})
		pass(5 * time.Second)
		start := time.Now()
		for range 30 { // urged on and on for three seconds, as by requests that fail
			p.Urge("p", "n0")
			pass(100 * time.Millisecond)
		}
		at := w.probes("n0:80", start)[1:]
		if want := []time.Duration{0, urgedGap, 2 * urgedGap}; !slices.Equal(at, want) {
			t.Errorf("probes at %v, want %v", at, want)
		}
		pass(8700 * time.Millisecond)
		if n := len(w.started["n0:80"]); n != 5 {
			t.Errorf("%d probes of the urged node, want 5: it went back to its interval", n)
		}
		if n := len(w.probes("n1:80", start)); n > 2 {
			t.Errorf("%d probes of the other node", n)
		}
		at = w.probes("n0:80", start)
		p.Urge("p", "n0")
		pass(time.Second)
		if n := len(w.started["n0:80"]); n != len(at)+urgedProbes {
			t.Errorf("an interval later an urge made %d probes, want %d", n-len(at), urgedProbes)
		}
	})
}

func TestAShortageHereIsNotReportedAsAnyNodesState(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		w.fail = &net.OpError{Op: "dial", Err: syscall.EMFILE}
		p.Set([]roost.Target{target(0, time.Second, time.Second)})
		pass(time.Minute)
		if len(w.results) != 0 || len(w.started["n0:80"]) < 50 {
			t.Errorf("%d probes, results %+v", len(w.started["n0:80"]), w.results)
		}
		w.mu.Lock()
		w.fail = errors.New("odd\x1b")
		w.mu.Unlock()
		pass(2 * time.Second)
		want(t, w.results[0].Reason, "connect: odd?")
	})
}

func TestATargetWithoutAnIntervalIsNotProbedInALoop(t *testing.T) {
	in(t, func(t *testing.T, w *world, p *Prober) {
		p.Set([]roost.Target{target(0, 0, time.Second)})
		pass(time.Second)
		if n := len(w.started["n0:80"]); n < 80 || n > 120 {
			t.Errorf("%d probes in a second, want about 100", n)
		}
	})
}

func TestTargetsMayBeSetBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := New(Options{Report: w.report})
		p.dial = w.dial
		p.Set([]roost.Target{target(0, time.Second, time.Second)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil || len(w.started["n0:80"]) < 50 {
			t.Errorf("%d probes, error %v", len(w.started["n0:80"]), err)
		}
	})
}
