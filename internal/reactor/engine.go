//go:build linux

package reactor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/carry"
)

// Options are what an engine is given.
type Options struct {
	Snapshot *atomic.Pointer[roost.Snapshot] // set before Serve
	Record   func(*roost.Record)             // called after each exchange, by several loops at a time; what it points to dies with the call. Nil: nobody asks
	Log      *slog.Logger                    // nil: discarded
	Now      func() time.Time                // nil: time.Now
	Loops    int                             // at least 1
	Pass     func(Passed)                    // takes what loops cannot do; it must not wait
	Permits  chan struct{}                   // as many at a time do heavy work beside the loops; nil: no bound
}

// Passed is a client's connection that another engine goes on with: it is that one's to close.
type Passed struct {
	Listener roost.ListenerID
	Conn     net.Conn // a *net.TCPConn, a *net.UnixConn, or a *tls.Conn whose handshake is done
	Peer     carry.Peer
	Ahead    []byte // bytes read, and not yet understood
	Served   bool   // it carried requests before
	Done     func() // to be called once, when it is closed
}

// Engine carries HTTP/1.1 and bytes from listeners to nodes, on loops.
type Engine struct {
	o       Options
	born    time.Time
	loops   []*loop
	living  context.Context // ends with Run, for what loops start beside them
	die     context.CancelFunc
	running sync.WaitGroup // the loops
	beside  sync.WaitGroup // goroutines that loops started
	hands   chan struct{}  // as many TLS handshakes as compute now
	ended   atomic.Bool

	mu       sync.Mutex // guards the three below; taken per listener, never per connection
	fronts   map[*front]struct{}
	draining bool
	counts   map[roost.ListenerID]*atomic.Int64 // of open connections, those of retired listeners included

	// Panics counts connections that a bug of ours ended. Each is logged.
	Panics atomic.Uint64
}

// New makes an engine. It does nothing until Run.
func New(o Options) (*Engine, error) {
	return newEngine(o, func() (kernel, error) { return openSystem() })
}

func newEngine(o Options, open func() (kernel, error)) (*Engine, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Record == nil {
		o.Record = func(*roost.Record) {}
	}
	living, die := context.WithCancel(context.Background())
	e := &Engine{o: o, living: living, die: die, born: o.Now(), fronts: map[*front]struct{}{}, counts: map[roost.ListenerID]*atomic.Int64{},
		hands: make(chan struct{}, max(cap(o.Permits), 1))}
	for i := range max(o.Loops, 1) {
		k, err := open()
		if err != nil {
			for _, l := range e.loops {
				l.k.closed()
			}
			return nil, fmt.Errorf("open an event loop: %w", err)
		}
		e.loops = append(e.loops, newLoop(e, i, k))
	}
	return e, nil
}

// Run turns the loops until ctx ends. It is the last to end: Serve must have returned before.
func (e *Engine) Run(ctx context.Context) error {
	for _, l := range e.loops {
		e.running.Go(l.serve)
	}
	<-ctx.Done()
	e.die()
	e.ended.Store(true)
	for _, l := range e.loops {
		l.k.wake()
	}
	e.running.Wait()
	e.beside.Wait()
	return nil
}

// Serve accepts connections from ln, the listener id of the snapshots, until Retire, Drain, HandOver or the end of ctx. The
// sockets are those of ln's method Sockets() []net.Listener, or ln itself; each belongs to one loop. conf is asked for each
// connection: nil means clear text; a nil conf is clear text always. An id may be served again while connections of its
// retired listener live on.
//
// Serve returns when the last connection has ended, passed ones included: the end of ctx cuts them off, all else lets them
// finish. The error is one of the listener, nil after any of these ends.
func (e *Engine) Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf func() *tls.Config) error {
	if conf == nil {
		conf = func() *tls.Config { return nil }
	}
	set := e.o.Snapshot.Load().Listener(id).Settings
	f := &front{e: e, ln: ln, id: id, tls: conf, protocol: set.Protocol, introduced: set.ProxyProtocol, left: make(chan struct{}), empty: make(chan struct{})}
	f.users.Store(1)
	if !e.enter(f) {
		return ln.Close()
	}
	err := f.open()
	if err != nil {
		f.dismiss(0, true)
	}
	select {
	case <-f.left:
	case <-ctx.Done():
		f.dismiss(1, true)
		<-f.left
		f.cut()
	}
	f.leave()
	select {
	case <-f.empty:
	case <-ctx.Done():
		f.cut()
		<-f.empty
	}
	e.mu.Lock()
	delete(e.fronts, f)
	e.mu.Unlock()
	return err
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

// Retire ends one listener, and nothing else: it stops accepting, lets what was accepted finish with Connection: close,
// and closes idle connections. Tunnels live on until they end by themselves; Serve returns when the last connection has
// ended. Retire does not wait, and may be repeated.
func (e *Engine) Retire(id roost.ListenerID) {
	for _, f := range e.all() {
		if f.id == id {
			f.dismiss(idleGrace, false)
		}
	}
}

// Drain ends all listeners as Retire does. At the end of ctx it cuts off what is left, tunnels above all, and says how many
// connections that were.
func (e *Engine) Drain(ctx context.Context) error { return e.end(ctx, idleGrace, false) }

// HandOver is Drain for listeners whose sockets another process holds as well, and serves: they are closed at once, and
// what the kernel has queued is the other's.
func (e *Engine) HandOver(ctx context.Context) error { return e.end(ctx, handOverGrace, true) }

func (e *Engine) end(ctx context.Context, grace time.Duration, atOnce bool) error {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	fronts := e.all()
	for _, f := range fronts {
		f.dismiss(grace, atOnce)
	}
	cut := 0
	for _, f := range fronts {
		select {
		case <-f.empty:
			continue
		case <-ctx.Done():
		}
		cut += f.cut()
	}
	if cut > 0 {
		return fmt.Errorf("%d connections cut off", cut)
	}
	return nil
}

func (e *Engine) all() (fronts []*front) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for f := range e.fronts {
		fronts = append(fronts, f)
	}
	return fronts
}

// Connections is how many client connections a listener has open now, those from before it was retired, and passed ones,
// included.
func (e *Engine) Connections(id roost.ListenerID) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.counts[id]; n != nil {
		return n.Load()
	}
	return 0
}

// Loops are the loops' figures, by loop.
func (e *Engine) Loops() []roost.LoopStats {
	all := make([]roost.LoopStats, len(e.loops))
	for i, l := range e.loops {
		s := &l.stats
		all[i] = roost.LoopStats{Turns: s.turns.Load(), LongestTurn: time.Duration(s.longest.Swap(0)), Connections: l.clients.Load(),
			Accepted: s.accepted.Load(), Given: s.given.Load(), Passed: s.passed.Load(), Resting: s.resting.Load(),
			Shaken: s.shaken.Load(), Unshaken: s.unshaken.Load(), Shaking: s.shaking.Load()}
	}
	return all
}

var errNotSocket = errors.New("not a socket")
