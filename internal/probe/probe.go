// Package probe asks nodes whether they are well, over the network, on a schedule.
//
// Guarantee: two probes of a target never overlap, nor do those before and after a change of it; what was found of
// a removed target is not reported; and Run returns only after every goroutine it started has ended.
//
// Trap: a result is one finding, not a verdict. Package health judges, with thresholds.
package probe

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"roost"
)

const (
	// maxProbes is how many probes run at once. A probe of a silent node holds its place for the whole timeout, so with
	// a timeout of half the interval 500 nodes may fall silent together before the probes of the others come late; and
	// 256 descriptors are a small part of the 1,024 that is the least common limit.
	maxProbes = 256

	// firstWithin spreads the first probes of all targets: soon, so that a start knows its nodes, and not in one burst.
	firstWithin = 500 * time.Millisecond

	// jitter is the part of the interval by which each wait is longer or shorter, so that balancers that started
	// together do not probe together forever.
	jitter = 0.15

	// minInterval keeps a target whose settings have no interval from being probed in a loop.
	minInterval = 10 * time.Millisecond

	// An urged node is probed urgedProbes times, urgedGap apart: enough for any usual rise or fall within 300 ms, and a
	// gap in which a restarting process gets on. Further urges within one interval add nothing: a node that keeps
	// failing costs at most four times its probes.
	urgedProbes = 3
	urgedGap    = 100 * time.Millisecond
)

// Options are what a Prober is given.
type Options struct {
	Report  func(roost.ProbeResult) // gets every result, from many goroutines at once; it must not block for long
	Log     *slog.Logger            // nil: discarded
	Version string                  // of Roost, for the User-Agent
}

// Prober probes a set of targets, each on its own schedule. Make one with New, give it targets with Set, run it once.
type Prober struct {
	report    func(roost.ProbeResult)
	log       *slog.Logger
	userAgent string
	dial      func(context.Context, *roost.Target) (net.Conn, error)
	places    chan struct{} // one for each probe that runs
	starved   atomic.Bool   // this machine lacks what a probe needs; said once
	changed   chan struct{} // want is new

	mu      sync.Mutex // guards what follows
	want    []roost.Target
	watches map[id]*watch
	trusts  map[roost.Digest]*tls.Config // by NodeTLS.ID; those of targets that are gone go with the next Set
}

type id struct {
	pool roost.PoolID
	node roost.NodeID
}

// watch is the schedule of one target; one goroutine runs it.
type watch struct {
	target roost.Target
	cancel context.CancelFunc
	urge   chan struct{}   // room for one: urged again is urged
	after  <-chan struct{} // closed when the watch that this one replaces has ended
	done   chan struct{}
}

// New makes a Prober without targets.
func New(o Options) *Prober {
	p := &Prober{report: o.Report, log: o.Log, userAgent: "roost-probe/" + o.Version, dial: dial,
		places: make(chan struct{}, maxProbes), changed: make(chan struct{}, 1), watches: map[id]*watch{}, trusts: map[roost.Digest]*tls.Config{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p
}

// Run probes until ctx ends; then it ends all probes, waits for them and returns nil.
func (p *Prober) Run(ctx context.Context) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
			p.apply(ctx, &watches)
		}
	}
}

// Set replaces the targets. One that did not change keeps its schedule; one that is gone, or whose address or settings
// changed, is given up at once. A target of kind HealthNone is not probed. Set never blocks and may be called before
// Run.
func (p *Prober) Set(targets []roost.Target) {
	p.mu.Lock()
	p.want = slices.Clone(targets)
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default: // Run has not seen the last change yet and will see this one with it
	}
}

// Urge asks for a probe of a node now, because requests met trouble there. It never blocks; an unknown node is ignored.
func (p *Prober) Urge(pool roost.PoolID, node roost.NodeID) {
	p.mu.Lock()
	w := p.watches[id{pool, node}]
	p.mu.Unlock()
	if w == nil {
		return
	}
	select {
	case w.urge <- struct{}{}:
	default:
	}
}

// apply makes the watches what is wanted.
func (p *Prober) apply(ctx context.Context, watches *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.watches
	p.watches = make(map[id]*watch, len(p.want))
	clear(p.trusts)
	for _, t := range p.want {
		k := id{t.Pool, t.Node}
		if t.Settings.Kind == roost.HealthNone || p.watches[k] != nil {
			continue
		}
		if w := old[k]; w != nil && reflect.DeepEqual(w.target, t) {
			p.watches[k] = w
			delete(old, k)
			continue
		}
		w := &watch{target: t, urge: make(chan struct{}, 1), done: make(chan struct{})}
		if before := old[k]; before != nil {
			w.after = before.done
		}
		var own context.Context
		own, w.cancel = context.WithCancel(ctx)
		p.watches[k] = w
		watches.Go(func() { w.run(own, p) })
	}
	for _, w := range old {
		w.cancel()
	}
}

// run probes one target until ctx ends.
func (w *watch) run(ctx context.Context, p *Prober) {
	defer close(w.done)
	defer w.cancel()
	if w.after != nil {
		<-w.after
	}
	interval := max(w.target.Settings.Interval, minInterval)
	timer := time.NewTimer(rand.N(min(interval, firstWithin)))
	defer timer.Stop()
	urged := 0          // probes of the current burst still to come
	var quiet time.Time // until then urges add nothing
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.urge:
			if time.Now().Before(quiet) {
				continue
			}
			urged, quiet = urgedProbes, time.Now().Add(interval)
		}
		if ctx.Err() != nil {
			return // given up while its time had come: select takes either
		}
		began := time.Now()
		p.probe(ctx, &w.target)
		wait := time.Duration((1 - jitter + 2*jitter*rand.Float64()) * float64(interval))
		if urged = max(urged-1, 0); urged > 0 {
			wait = urgedGap
		}
		timer.Reset(max(0, wait-time.Since(began)))
	}
}

// probe makes one probe and reports it, unless ctx ended meanwhile or it says nothing about the node.
func (p *Prober) probe(ctx context.Context, t *roost.Target) {
	select {
	case p.places <- struct{}{}:
	case <-ctx.Done():
		return
	}
	err := p.check(ctx, t)
	<-p.places
	if ctx.Err() != nil {
		return
	}
	if isLocal(err) {
		if !p.starved.Swap(true) {
			p.log.Error("cannot probe: this machine is short of what a connection needs", "error", err)
		}
		return
	}
	if p.starved.Swap(false) {
		p.log.Info("probing again")
	}
	r := roost.ProbeResult{Pool: t.Pool, Node: t.Node, Addr: t.Addr, OK: err == nil, At: time.Now().UnixNano()}
	if err != nil {
		r.Reason = clean(err.Error())
	}
	p.report(r)
}
