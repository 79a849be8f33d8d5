package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"roost"
)

const (
	// tickEvery is how often tallies are read and time passes: what requests met becomes a verdict within 100 ms, at 30 to
	// 70 µs of CPU per tick and 1,000 nodes.
	tickEvery = 100 * time.Millisecond

	// inboxLen is how many events may wait. Most steps take less than a microsecond, and those that publish 1,000 nodes 0.2
	// ms, so that it fills only while a large table is built: there is room for two seconds at 500 probes per second. Probe
	// results beyond it are dropped and counted; the next probe says the same again.
	inboxLen = 1024
)

// ErrEnded is returned by Configure, Edit and List when Run has returned.
var ErrEnded = errors.New("control has ended")

// Options are what a Loop is given.
type Options struct {
	Snapshot    *atomic.Pointer[roost.Snapshot] // where snapshots are published
	Log         *slog.Logger                    // nil: discarded
	Now         func() time.Time                // nil: time.Now
	Incarnation roost.Incarnation               // of this process: the leader in the epochs of its tables
	Version     string                          // told by Status
	// Targets and Urge give work to the prober. They are called by the goroutine of Run and must not block. Nil: nobody
	// probes.
	Targets func([]roost.Target)
	Urge    func(roost.PoolID, roost.NodeID)
	// Tables are the last ones that a process before published: the first tables of their pools follow them, so that a restart
	// moves no key. For that, edits and listings come before the first configuration. Keep is given each table that was
	// published under a new epoch, to be known then. Listeners is told of the listeners of a snapshot before it is published,
	// when they are others. Both are called by the goroutine of Run; Keep must not block. Nil: nobody asks.
	Tables    []*roost.Table
	Keep      func(*roost.Table)
	Listeners func([]roost.ListenerView)
}

// Loop drives a World. Make one with New and run it once.
type Loop struct {
	o       Options
	start   time.Time
	inbox   chan message
	done    chan struct{} // closed when Run has returned
	facts   atomic.Pointer[Facts]
	dropped atomic.Uint64 // probe results that found the inbox full
}

// message is an event and, when someone waits for the end of its step, where to tell what came of it.
type message struct {
	event  Event
	answer chan<- error
}

// New makes a Loop without configuration.
func New(o Options) *Loop {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Loop{o: o, start: o.Now(), inbox: make(chan message, inboxLen), done: make(chan struct{})}
}

// Run owns the world until ctx ends; then it returns nil.
func (l *Loop) Run(ctx context.Context) error {
	defer close(l.done)
	w := NewWorld(l.o.Incarnation, l.o.Tables...)
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var dropped uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-l.inbox:
			err := l.act(w.Step(l.now(), m.event))
			if m.answer != nil {
				m.answer <- err
			}
		case <-tick.C:
			l.act(w.Step(l.now(), Tick{}))
			if d := l.dropped.Load(); d != dropped {
				l.o.Log.Warn("control was too busy for some probe results", "dropped", d-dropped)
				dropped = d
			}
		}
	}
}

// Configure applies cfg, which must not change afterwards, and returns once the snapshot was published. On an error
// everything stands as before; but if ctx ended first, cfg may still be applied.
func (l *Loop) Configure(ctx context.Context, cfg *roost.Config) error {
	return l.await(ctx, Configured{cfg})
}

// Edit takes e in place of the edits before, as Configure does. Before the first configuration they are kept for it.
func (l *Loop) Edit(ctx context.Context, e *roost.Edits) error { return l.await(ctx, Edited{e}) }

// List takes what a source lists in a pool in place of what it listed there before, as Edit does.
func (l *Loop) List(ctx context.Context, listing roost.Listing) error {
	return l.await(ctx, Listed{listing})
}

// await hands over an event and waits for the end of its step.
func (l *Loop) await(ctx context.Context, e Event) error {
	answer := make(chan error, 1)
	select {
	case l.inbox <- message{e, answer}:
	case <-ctx.Done():
		return fmt.Errorf("wait for control: %w", context.Cause(ctx))
	case <-l.done:
		return ErrEnded
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for control: %w", context.Cause(ctx))
	case <-l.done:
	}
	select {
	case err := <-answer: // the last thing that Run did
		return err
	default:
		return ErrEnded
	}
}

// Probed takes a probe's result. It never blocks; with the inbox full the result is dropped and counted.
func (l *Loop) Probed(r roost.ProbeResult) {
	select {
	case l.inbox <- message{event: Probed{r}}:
	default:
		l.dropped.Add(1)
	}
}

// Status tells the state of this moment, from any goroutine and without waiting for the loop. Its Started, Ready,
// Draining, and the listeners' addresses in use, are its caller's to fill in.
func (l *Loop) Status() roost.Status {
	s := roost.Status{Listeners: []roost.ListenerStatus{}, Pools: []roost.PoolStatus{}}
	if f := l.facts.Load(); f != nil {
		s = f.Status(l.o.Now().UnixNano())
	}
	s.Version = l.o.Version
	return s
}

// now is Unix nanoseconds as of the start plus what the monotonic clock measured since: it never goes back.
func (l *Loop) now() int64 {
	return l.start.UnixNano() + l.o.Now().Sub(l.start).Nanoseconds()
}

// act does what the world decided. The error is that of a refused event.
func (l *Loop) act(actions []Action) (err error) {
	for _, a := range actions {
		switch a := a.(type) {
		case Listeners:
			if l.o.Listeners != nil {
				l.o.Listeners(a.Views)
			}
		case Publish:
			l.o.Snapshot.Store(a.Snapshot)
		case Show:
			l.facts.Store(a.Facts)
		case Keep:
			if l.o.Keep != nil {
				l.o.Keep(a.Table)
			}
		case Targets:
			if l.o.Targets != nil {
				l.o.Targets(a.Nodes)
			}
		case Urge:
			if l.o.Urge != nil {
				l.o.Urge(a.Pool, a.Node)
			}
		case Refuse:
			err = a.Err
		case Log:
			l.o.Log.LogAttrs(context.Background(), a.Level, a.Message, a.Attrs...)
		}
	}
	return err
}
