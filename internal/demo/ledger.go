package demo

import (
	"slices"
	"sync"
	"time"
)

// Side is what was counted on one side.
type Side struct {
	Calls     int // answered or failed
	Failed    int
	Late      int           // calls that went out late: this machine was too busy
	Called    int           // functions called at least once
	Cold      int           // cold starts
	P50, P99  time.Duration // latency over the last two seconds, from when a call was due
	PerSecond []int         // cold starts in each of the last seconds, oldest first
	Kill      *Kill         // nil: not yet
}

// PerFunction is cold starts per function called: 1 is the least there can be.
func (s *Side) PerFunction() float64 { return share(s.Cold, s.Called) }

// Kill is what was counted before and after a node died.
type Kill struct {
	At       time.Duration
	Cold     int // cold starts until then
	Called   int // functions called until then
	P50, P99 time.Duration
	Homes    int // functions whose last call went to the dead node
	Back     int // of those, functions called again
	Restarts int // cold starts of those
	Moved    int // functions of living nodes that were called on another node since
	Again    int // cold starts of functions of living nodes
	First    int // cold starts of functions that were never called before
}

// PerFunction is cold starts per function called, until the kill.
func (k *Kill) PerFunction() float64 { return share(k.Cold, k.Called) }

// now is what a kill at this moment would begin with.
func (s *Side) now() *Kill { return &Kill{Cold: s.Cold, Called: s.Called, P50: s.P50, P99: s.P99} }

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// ledger keeps one side's books. Nodes and clients write it, the view reads it.
type ledger struct {
	mu     sync.Mutex // guards what follows
	side   Side
	fns    []function
	recent []answer // of the last window, oldest first
	dead   int      // node; -1: none
	start  time.Time
	second int              // that was counted in last
	colds  [lastSeconds]int // cold starts by second, modulo lastSeconds
}

// lastSeconds is how far back cold starts are kept by the second.
const lastSeconds = 24

// function is what is known of one function.
type function struct {
	last  int  // node of the last call; -1: never called
	home  int  // last, when a node died; -1: never called until then
	since bool // called since
	moved bool // since, to another node although its home lives
}

type answer struct{ at, took time.Duration }

// window is what latencies are shown of: long enough to hold some calls, short enough to show a change.
const window = 2 * time.Second

func newLedger(functions int) *ledger {
	l := &ledger{fns: make([]function, functions), dead: -1, start: time.Now()}
	for i := range l.fns {
		l.fns[i] = function{last: -1, home: -1}
	}
	return l
}

// begin sets the time that all others are counted from.
func (l *ledger) begin(start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = start
}

// called counts a call where it arrives.
func (l *ledger) called(fn, node int, cold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fn < 0 || fn >= len(l.fns) {
		return // not of this load: nodes take calls from anyone on this host
	}
	f := &l.fns[fn]
	if f.last < 0 {
		l.side.Called++
	}
	f.last = node
	if cold {
		l.side.Cold++
		l.turn(time.Since(l.start))
		l.colds[l.second%lastSeconds]++
	}
	if l.dead >= 0 {
		l.side.Kill.count(f, l.dead, cold)
	}
}

// turn goes on to the second that it is.
func (l *ledger) turn(now time.Duration) {
	second := int(now / time.Second)
	for s := max(l.second+1, second-lastSeconds+1); s <= second; s++ {
		l.colds[s%lastSeconds] = 0
	}
	l.second = max(l.second, second)
}

// count tells apart why a function was called where it was, after a node died.
func (k *Kill) count(f *function, dead int, cold bool) {
	n := 0
	if cold {
		n = 1
	}
	switch {
	case f.home < 0:
		k.First += n
	case f.home == dead:
		k.Restarts += n
		if !f.since {
			k.Back++
		}
	default:
		k.Again += n
		if f.last != f.home && !f.moved {
			f.moved = true
			k.Moved++
		}
	}
	f.since = true
}

// answered counts a call where it came from.
func (l *ledger) answered(at, took time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.side.Calls++
	if !ok {
		l.side.Failed++
		return
	}
	l.recent = append(l.recent, answer{at, took})
	l.forget(at)
}

// late counts a call that went out late.
func (l *ledger) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.side.Late++
}

// forget drops answers that are older than the window.
func (l *ledger) forget(now time.Duration) {
	i := 0
	for i < len(l.recent) && l.recent[i].at < now-window {
		i++
	}
	l.recent = slices.Delete(l.recent, 0, i)
}

// kill opens the books of what follows a node's death.
func (l *ledger) kill(node int, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.side.P50, l.side.P99 = l.quantiles(at)
	k := l.side.now()
	k.At = at
	l.dead = node
	for i := range l.fns {
		f := &l.fns[i]
		f.home = f.last
		if f.home == node {
			k.Homes++
		}
	}
	l.side.Kill = k
}

// figures returns the state of the books.
func (l *ledger) figures(now time.Duration) Side {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.side
	s.P50, s.P99 = l.quantiles(now)
	l.turn(now)
	s.PerSecond = nil
	for i := max(0, l.second-lastSeconds+1); i < l.second; i++ { // without the one that is not over
		s.PerSecond = append(s.PerSecond, l.colds[i%lastSeconds])
	}
	if s.Kill != nil {
		k := *s.Kill
		s.Kill = &k
	}
	return s
}

func (l *ledger) quantiles(now time.Duration) (p50, p99 time.Duration) {
	l.forget(now)
	if len(l.recent) == 0 {
		return 0, 0
	}
	took := make([]time.Duration, len(l.recent))
	for i, a := range l.recent {
		took[i] = a.took
	}
	slices.Sort(took)
	return took[(len(took)-1)/2], took[(len(took)-1)*99/100]
}
