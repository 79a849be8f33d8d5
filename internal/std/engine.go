package std

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"roost"
)

// Options are what an engine is given.
type Options struct {
	Snapshot *atomic.Pointer[roost.Snapshot] // set before Serve
	Record   func(*roost.Record)             // called after each exchange; what it points to dies with the call. Nil: nobody asks
	Log      *slog.Logger                    // nil: discarded
	Now      func() time.Time                // nil: time.Now
}

// Engine carries HTTP from listeners to nodes.
type Engine struct {
	o       Options
	nodes   nodes
	lines   lines
	works   sync.Pool // of *work
	streams sync.Pool // of *stream
	buffers buffers

	keeping sync.Mutex // guards the two below; upkeep never waits for it
	kept    time.Time  // the last round
	swept   time.Time

	mu       sync.Mutex // guards those below; taken per connection and listener, never per request
	conns    map[*conn]struct{}
	fronts   map[*front]struct{}                // those that accept
	guests   map[roost.ListenerID]*front        // what connections taken from another engine hang on
	counts   map[roost.ListenerID]*atomic.Int64 // of open connections
	draining bool
	empty    chan struct{} // closed when, in a drain, the first two have become empty

	house      context.Context // of guests, until Host ends
	closeHouse context.CancelFunc
	lodged     sync.WaitGroup // the guests' goroutines

	// Panics counts exchanges that a bug of ours ended. Each is logged.
	Panics atomic.Uint64
}

// New makes an engine. It does nothing until Serve.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Record == nil {
		o.Record = func(*roost.Record) {}
	}
	e := &Engine{o: o, conns: map[*conn]struct{}{}, fronts: map[*front]struct{}{}, counts: map[roost.ListenerID]*atomic.Int64{},
		empty: make(chan struct{})}
	e.guests = map[roost.ListenerID]*front{}
	e.house, e.closeHouse = context.WithCancel(context.Background())
	e.nodes.lend = &e.buffers
	e.nodes.links.open(&e.nodes.dialer, &e.buffers)
	return e
}

// front is one listener being served, here or, with no ln, by the engine that passes its connections on.
type front struct {
	e     *Engine
	ln    net.Listener
	id    roost.ListenerID
	tls   func() *tls.Config
	ctx   context.Context // Serve's or Host's; dials and handshakes hang on it
	grace atomic.Int64    // not 0: it leaves, and idle connections may bring a request for so many nanoseconds
	conns *atomic.Int64   // all of the listener id, those of a front that left before included
	shed  atomic.Int64
	wg    sync.WaitGroup // the connections' goroutines
}

// leaving tells whether the front accepts no more, and its connections finish what they have.
func (f *front) leaving() bool { return f.grace.Load() != 0 }

// Serve accepts connections from ln, the listener id of the snapshots, until Retire, Drain, HandOver or the end of ctx.
// conf is asked for each connection: nil means clear text, else its NextProtos decide about HTTP/2; a nil conf is clear
// text always. An id may be served again while connections of its retired listener live on.
//
// Serve returns when the last connection has ended: the end of ctx cuts them off, all else lets them finish. The error is
// one of the listener, nil after any of these ends.
func (e *Engine) Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf func() *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if conf == nil {
		conf = func() *tls.Config { return nil }
	}
	f := &front{e: e, ln: ln, id: id, tls: conf, ctx: ctx}
	if !e.enter(f) {
		return ln.Close()
	}
	ended := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { f.watch(ended) })
	err := f.accept()
	ln.Close()
	e.leave(f)
	if ctx.Err() != nil || f.leaving() {
		err = nil
	} else {
		err = fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		cancel() // who asked for this listener must know at once
	}
	f.wg.Wait()
	close(ended)
	watcher.Wait()
	return err
}

// settings are the listener's in s. One that is not in it serves nobody any more: what its connections still bring is read
// and refused within these limits.
func (f *front) settings(s *roost.Snapshot) *roost.ListenerSettings {
	if v := s.Listener(f.id); v.Name != "" {
		return &v.Settings
	}
	return &roost.ListenerSettings{HeadTimeout: lingerFor, IdleTimeout: idleGrace, BodyTimeout: lingerFor, SendTimeout: lingerFor}
}

func (e *Engine) enter(f *front) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		return false
	}
	e.fronts[f] = struct{}{}
	if e.counts[f.id] == nil {
		e.counts[f.id] = &atomic.Int64{}
	}
	f.conns = e.counts[f.id]
	return true
}

func (e *Engine) leave(f *front) {
	e.mu.Lock()
	delete(e.fronts, f)
	e.settle()
	e.mu.Unlock()
}

// watch cuts the listener and its connections off at the end of its context. Meanwhile it does the upkeep.
func (f *front) watch(ended <-chan struct{}) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-f.ctx.Done():
			f.ln.Close()
			f.e.cut(func(o *front) bool { return o == f })
			return
		case now := <-tick.C:
			f.e.upkeep(now)
		}
	}
}

// accept hands each connection to its goroutine until the listener ends.
func (f *front) accept() error {
	var pause time.Duration
	for {
		nc, err := f.ln.Accept()
		if err == nil {
			pause = 0
			c := newConn(f, nc)
			f.wg.Go(c.serve)
			continue
		}
		if f.ctx.Err() != nil || !passing(err) {
			return err
		}
		if pause == 0 {
			f.e.o.Log.Warn("cannot accept connections for the moment", "listener", f.ln.Addr().String(), "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-f.ctx.Done():
		}
		t.Stop()
	}
}

// passing tells errors of accept that concern one connection, or a lack that may end.
func passing(err error) bool {
	return anyOf(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.ECONNRESET) && !errors.Is(err, net.ErrClosed)
}
