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
	buffers buffers
	swept   atomic.Int64 // Unix nanoseconds

	mu       sync.Mutex // guards the two below; taken per connection and listener, never per request
	conns    map[*conn]struct{}
	fronts   map[*front]struct{}
	draining atomic.Bool
	changed  chan struct{} // has an element after one of the two lost one

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
	e := &Engine{o: o, conns: map[*conn]struct{}{}, fronts: map[*front]struct{}{}, changed: make(chan struct{}, 1)}
	e.nodes.lend = &e.buffers
	e.nodes.links.open(&e.nodes.dialer, &e.buffers)
	return e
}

// front is one listener being served.
type front struct {
	e     *Engine
	ln    net.Listener
	id    roost.ListenerID
	tls   *tls.Config
	ctx   context.Context // Serve's; dials and handshakes hang on it
	conns atomic.Int64
	shed  atomic.Int64
	wg    sync.WaitGroup // the connections' goroutines
}

// Serve accepts connections from ln, the listener id of every snapshot, until Drain or the end of ctx. conf nil means
// clear text; else its NextProtos decide about HTTP/2. Serve returns when the last connection has ended: the end of ctx
// cuts them off, Drain lets them finish. The error is one of the listener, nil after either end.
func (e *Engine) Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
	if ctx.Err() != nil || e.draining.Load() {
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

func (e *Engine) enter(f *front) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining.Load() {
		return false
	}
	e.fronts[f] = struct{}{}
	return true
}

func (e *Engine) leave(f *front) {
	e.mu.Lock()
	delete(e.fronts, f)
	e.mu.Unlock()
	e.poke()
}

func (e *Engine) poke() {
	select {
	case e.changed <- struct{}{}:
	default: // who waits has not yet seen the last one
	}
}

// watch cuts the listener and its connections off at the end of its context. Meanwhile it sweeps idle node connections.
func (f *front) watch(ended <-chan struct{}) {
	const every = 5 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-f.ctx.Done():
			f.ln.Close()
			f.e.cut(f)
			return
		case now := <-tick.C:
			last := f.e.swept.Load() // one sweep is enough for all listeners
			if now.UnixNano()-last >= int64(every/2) && f.e.swept.CompareAndSwap(last, now.UnixNano()) {
				f.e.nodes.sweep(f.e.o.Snapshot.Load(), f.e.o.Now())
			}
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
